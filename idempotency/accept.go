package idempotency

import (
	"bytes"
	"context"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Accept is Once for a producer's message: the same id is accepted once within Config.Expiry,
// which is the window, and every later call returns the original answer. The answer may hold
// values that are known only during the commit, such as the offset of an append. For this,
// publish returns a function. It is called when all operations of the transaction have been
// sequenced.
//
//	res, err := ids.Accept(ctx, id, func(tx *pebblemq.Tx) (func() ([]byte, error), error) {
//		placed, err := orders.In(tx).Append(record)
//		return func() ([]byte, error) {
//			at, err := placed.Positions()
//			return json.Marshal(at)
//		}, err
//	}, nil)
//
// That function runs with the whole store held, once or, if the commit is
// refused, without effect: it must only put together what it has, and not call
// the store. Its error, panic or runtime.Goexit refuses the transaction; nil in its place
// is an empty answer.
//
// Kafka and SQS have windows of their own, of a few minutes, and answer a
// duplicate like a new message; SQS with the original's id.
func (k *Namespace) Accept(ctx context.Context, id []byte, publish func(*pebblemq.Tx) (func() ([]byte, error), error), o *OnceOptions) (Result, error) {
	if publish == nil {
		return Result{}, store.Invalid("Accept without a function")
	}
	late := &answer{}
	if o != nil {
		late.fingerprint = bytes.Clone(o.Fingerprint)
	}
	return k.once(ctx, id, late.fingerprint, func(tx *pebblemq.Tx) (err error) {
		if late.f, err = publish(tx); err != nil {
			return err
		}
		t := k.In(tx)
		return t.x.Add(&txComplete{n: k.n, key: bytes.Clone(id), late: late}, len(id))
	}, func() []byte { return late.result })
}

// answer is a result that is known only as the transaction is carried out.
type answer struct {
	f           func() ([]byte, error)
	fingerprint []byte
	result      []byte
}

// record returns the encoded record, but for its times. A function that panics or
// exits must not poison the store, whose baton is held.
func (a *answer) record(n *keys) (value []byte, err error) {
	if a.f != nil {
		var result []byte
		err := store.Call("answer", func() (err error) {
			result, err = a.f()
			return err
		})
		if err != nil {
			return nil, err
		}
		if err := n.checkResult(result); err != nil {
			return nil, err
		}
		a.result = bytes.Clone(result)
	}
	return record{state: completed, fingerprint: a.fingerprint, result: a.result}.encode(), nil
}
