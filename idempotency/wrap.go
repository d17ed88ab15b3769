package idempotency

import (
	"context"
	"errors"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Wrapper makes handlers of messages harmless to run twice. M is whatever the queue delivers: a
// log.Record, a *workqueue.Delivery, a *visibility.Received, or a message from elsewhere. The
// handlers fit the Run of each. A Wrapper is not changed by its methods, and what they return
// is as concurrent as the handler.
//
//	w := idempotency.Wrapper[*workqueue.Delivery]{
//		Keys: seen,
//		Key:  func(d *workqueue.Delivery) ([]byte, error) { return []byte(d.MessageID), nil },
//	}
//	err := broker.Run(ctx, "payments", w.Leased(charge), nil)
type Wrapper[M any] struct {
	Keys *Namespace

	// Key tells which messages are the same, by an id, a header, or KeyOf some
	// of the payload. No bytes, or ErrNoKey, say that a message has no key.
	Key func(M) ([]byte, error)

	// Fingerprint may tell payloads apart that come under one key, which is
	// then ErrMismatch. Default: all are alike.
	Fingerprint func(M) []byte

	// RunWithoutKey runs the handler each time a message without a key is
	// delivered. Default: such a message is refused with ErrNoKey.
	RunWithoutKey bool

	// NoWait refuses a message with ErrInProgress while another with the same
	// key is being handled. Default: wait for the result of that.
	NoWait bool
}

// Leased makes a handler of messages from h, for effects outside the store:
// see Namespace.Do. A message that was handled already gives nil, and what Run does
// with that is to settle it. A final error is returned for each delivery, so
// that the queue's limit takes the message to the dead letters.
//
// The claim given to h has no key if RunWithoutKey let the message through.
func (w Wrapper[M]) Leased(h func(context.Context, M, Claim) error) func(context.Context, M) error {
	return func(ctx context.Context, m M) error {
		key, err := w.key(m, h != nil)
		if err != nil {
			return err
		}
		if key == nil {
			return h(ctx, m, Claim{})
		}
		o := &DoOptions{Fingerprint: w.fingerprint(m), NoWait: w.NoWait}
		_, err = w.Keys.Do(ctx, key, func(ctx context.Context, c Claim) ([]byte, error) { return nil, h(ctx, m, c) }, o)
		return err
	}
}

// Transactional makes a handler of messages from h, for effects inside the store. One commit
// has the changes of h, the key, and the settlement of the message by settle: an
// acknowledgement, a deletion or a commit. A message that was handled already is settled by
// itself. The effect happens exactly once for each key. If the delivery was lost meanwhile, the
// whole transaction is refused. Settle may be nil if Run settles the message, as that of a
// log.Group always does. A crash in between causes a redelivery, and the key makes that
// harmless.
//
// A final error rolls back what h has done, and is returned for each delivery,
// so that the queue's limit takes the message to the dead letters. NoWait has no
// meaning: of two at once both run, and one is committed.
func (w Wrapper[M]) Transactional(db *pebblemq.DB, h, settle func(*pebblemq.Tx, M) error) func(context.Context, M) error {
	if settle == nil {
		settle = func(*pebblemq.Tx, M) error { return nil }
	}
	return func(ctx context.Context, m M) error {
		key, err := w.key(m, h != nil)
		if err != nil {
			return err
		}
		both := func(tx *pebblemq.Tx) ([]byte, error) {
			if err := h(tx, m); err != nil {
				return nil, err
			}
			return nil, settle(tx, m)
		}
		if key == nil {
			return db.Update(ctx, func(tx *pebblemq.Tx) error { _, err := both(tx); return err })
		}
		res, err := w.Keys.Once(ctx, key, both, &OnceOptions{Fingerprint: w.fingerprint(m)})
		if err == nil && res.Replayed {
			return db.Update(ctx, func(tx *pebblemq.Tx) error { return settle(tx, m) })
		}
		return err
	}
}

// key returns the key of a message, or nil if it has none and needs none.
func (w Wrapper[M]) key(m M, complete bool) ([]byte, error) {
	if !complete || w.Keys == nil || w.Key == nil {
		return nil, store.Invalid("Wrapper without Keys, Key or handler")
	}
	key, err := w.Key(m)
	if err == nil && len(key) > 0 {
		return key, nil
	}
	if err != nil && !errors.Is(err, ErrNoKey) {
		return nil, err
	}
	if w.RunWithoutKey {
		return nil, nil
	}
	return nil, ErrNoKey
}

func (w Wrapper[M]) fingerprint(m M) []byte {
	if w.Fingerprint == nil {
		return nil
	}
	return w.Fingerprint(m)
}
