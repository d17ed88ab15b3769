package idempotency

import (
	"bytes"
	"context"
	"errors"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
)

// OnceOptions are choices of one call. Nil is the default.
type OnceOptions struct {
	// Fingerprint identifies the payload, as a hash of it does; at most 255
	// bytes. The same key with another one, or with none, is ErrMismatch.
	Fingerprint []byte
}

// Once runs f in a transaction that also completes the key with f's result:
// what f writes, the messages that it sends and acknowledges, the key and the
// result are one commit. The second time, f is not run and the result is
// replayed. f's effect on the store happens exactly once, by construction.
//
// Let f acknowledge the message that brought the key; when the result is
// Replayed, acknowledge it by itself: the work is done.
//
// Two calls at once may both run f, and the commit of one is refused; Once
// then returns the other's result, or runs f again if that has expired or was
// forgotten since. An error of f rolls everything back and is
// returned as it is; one that is marked with Final is then stored as the
// outcome, and replayed. Once fails with ErrInProgress while a Do holds the
// key. It is an Update of its own: inside of another one it is pebblemq.ErrNested if it
// would wait for that, and else stays even if the other is rolled back.
func (k *Namespace) Once(ctx context.Context, key []byte, f func(*pebblemq.Tx) ([]byte, error), o *OnceOptions) (Result, error) {
	if f == nil {
		return Result{}, store.Invalid("Once without a function")
	}
	var fingerprint, value []byte
	if o != nil {
		fingerprint = o.Fingerprint
	}
	return k.once(ctx, key, fingerprint, func(tx *pebblemq.Tx) (err error) {
		if value, err = f(tx); err != nil {
			return err
		}
		return k.In(tx).complete(key, completed, value, fingerprint)
	}, func() []byte { return value })
}

// once is Once with a function that completes the key itself. Value returns its
// result after the commit.
func (k *Namespace) once(ctx context.Context, key, fingerprint []byte, f func(*pebblemq.Tx) error, value func() []byte) (Result, error) {
	if err := errors.Join(checkKey(key), checkFingerprint(fingerprint)); err != nil {
		return Result{}, err
	}
	res, err := k.tryOnce(ctx, key, fingerprint, f, value)
	var other *DuplicateError
	if errors.As(err, &other) && other.Namespace == k.n.name && bytes.Equal(other.Key, key) {
		// The outcome that the commit was refused for has expired, or was forgotten, since. Or f
		// completes the key itself: then this fails again.
		return k.tryOnce(ctx, key, fingerprint, f, value)
	}
	return res, err
}

// tryOnce is once, but for a DuplicateError of the key if its outcome has gone by the time that the
// call looks at it.
func (k *Namespace) tryOnce(ctx context.Context, key, fingerprint []byte, f func(*pebblemq.Tx) error, value func() []byte) (Result, error) {
	if r, ok, err := k.look(ctx, key); ok || err != nil {
		return r.replay(fingerprint, err)
	}
	err := k.db.Update(ctx, f)
	var final *FinalError
	if errors.As(err, &final) {
		failure := err
		err = k.db.Update(ctx, func(tx *pebblemq.Tx) error {
			return k.In(tx).complete(key, failed, []byte(failure.Error()), fingerprint)
		})
		if err == nil {
			return Result{}, failure
		}
	}
	if errors.Is(err, ErrDuplicate) { // perhaps of a key of f's own
		if r, ok, lookErr := k.look(ctx, key); ok || lookErr != nil {
			return r.replay(fingerprint, lookErr)
		}
	}
	if err != nil {
		return Result{}, err
	}
	return Result{Value: value()}, nil
}

// replay is the outcome of a call that found r.
func (r record) replay(fingerprint []byte, err error) (Result, error) {
	if err == nil {
		err = differ(r.fingerprint, fingerprint)
	}
	if err != nil {
		return Result{}, err
	}
	return r.outcome()
}
