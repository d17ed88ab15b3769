package idempotency

import (
	"bytes"
	"context"
	"errors"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Once runs f in a transaction that also completes the key with f's result:
// what f writes, the messages that it sends and acknowledges, the key and the
// result are one commit. The second time, f is not run and the result is
// replayed. f's effect on the store happens exactly once, by construction.
//
// Let f acknowledge the message that brought the key; when the result is
// Replayed, acknowledge it by itself: the work is done.
//
// Two calls at once may both run f, and the commit of one is refused; Once
// then returns the other's result. An error of f rolls everything back and is
// returned as it is.
func (k *Keys) Once(ctx context.Context, key []byte, f func(*pebblemq.Tx) ([]byte, error)) (Result, error) {
	if err := checkHandler(f == nil); err != nil {
		return Result{}, err
	}
	found, ok, err := k.Get(ctx, key)
	if ok || err != nil {
		return found, err
	}
	var value []byte
	err = k.db.Update(ctx, func(tx *pebblemq.Tx) (err error) {
		if value, err = f(tx); err != nil {
			return err
		}
		return k.In(tx).Complete(key, value)
	})
	var dup *DuplicateError
	if errors.As(err, &dup) && dup.Namespace == k.n.name && bytes.Equal(dup.Key, key) {
		return dup.Result, dup.final()
	}
	return Result{Value: value}, err
}

// Tx is a namespace within a transaction.
type Tx struct {
	k *Keys
	x *store.Tx
}

// In binds the namespace to a transaction, which must be of the same store.
func (k *Keys) In(tx *pebblemq.Tx) Tx {
	return Tx{k: k, x: bridge.Tx(tx).For(k.s, "namespace", k.n.name)}
}

// Complete marks a key completed with a result, which is copied. When the
// transaction commits it is refused with ErrDuplicate if the key is completed
// already, and with ErrInProgress if a Do holds it.
func (t Tx) Complete(key, result []byte) error {
	if err := errors.Join(checkKey(key), t.k.n.checkResult(result)); err != nil {
		return t.x.Fail(err)
	}
	op := &txComplete{n: t.k.n, key: bytes.Clone(key), result: bytes.Clone(result)}
	return t.x.Add(op, len(key)+len(result))
}

// txComplete completes a key that nobody has claimed.
type txComplete struct {
	n           *namespace
	key, result []byte
	before      meta
}

func (o *txComplete) String() string { return "complete a key of " + o.n.name }

func (o *txComplete) Run(t *store.Turn) error {
	n := o.n
	if n.claims[string(o.key)] != nil {
		return ErrInProgress
	}
	was, found, err := n.read(t, o.key)
	if err != nil {
		return err
	}
	if found && was.live(t.Now()) {
		e := &DuplicateError{Namespace: n.name, Key: o.key}
		var err error
		e.Result, err = was.outcome()
		errors.As(err, &e.Final)
		return e
	}
	o.before = n.meta
	n.write(t, o.key, record{state: completed, expiry: t.Now().Add(n.config.Expiry).UnixNano(), result: o.result}, was)
	return nil
}

func (o *txComplete) Undo()                 { o.n.meta = o.before }
func (o *txComplete) Visible(t *store.Turn) { o.n.arm(t) }
