package pebblemq

import (
	"bytes"
	"context"
	"iter"

	"github.com/pebblemq/pebblemq/internal/store"
)

// MaxTxBytes is the largest transaction, 64 MiB: the keys, values and payloads that
// it writes, together.
const MaxTxBytes = store.MaxTx

// Tx is a transaction in the making. It is passed to the function of Update or
// View, is valid until that returns, and is for that function's goroutine.
//
// The layers' verbs take part through their In methods:
//
//	orders.In(tx).Append(record)
//	broker.In(tx).Publish("events", "order.paid", message)
//
// They are collected and carried out together when the function has returned
// nil; a refusal of any one (a stale receipt, a full queue) refuses all. A verb that
// is called without In has no part in it: it is a change of its own, and stays if the
// transaction does not.
type Tx struct {
	x *store.Tx
}

// Update runs f once and commits what it did as one change: application keys,
// and every queue operation of any layer. If f returns an error, panics or ends its
// goroutine, or if any operation is refused, nothing happened. Update returns the
// error; a panic or runtime.Goexit continues in the caller.
//
// The application's keyspace is serialisable: the first Get or Scan takes a lock
// that other transactions, which read as well or have written and are about to
// commit, wait for until this one is ordered, so keep f short from there on.
// Writes alone and queue operations take no lock. An Update within f that would
// wait for the lock of its own caller returns ErrNested.
//
// Update returns when the commit is durable, or at once with NoSync. If ctx
// ends before the commit nothing happened and its error is returned. If it ends
// later the outcome is returned, or ErrUnknownOutcome when the disk does not answer
// within a second.
//
// What f reads may be on its way to the disk still; it is there when Update has
// returned nil. View waits for it.
func (db *DB) Update(ctx context.Context, f func(*Tx) error) error {
	if f == nil {
		return store.Invalid("Update without a function")
	}
	x, err := db.s.Begin(ctx)
	if err != nil {
		return err
	}
	return run(x, f)
}

// View runs f on a stable view of the application's keyspace that holds every
// change made before the call. Writes return ErrReadOnly. It takes no lock and
// works on a store that has failed.
func (db *DB) View(ctx context.Context, f func(*Tx) error) error {
	if f == nil {
		return store.Invalid("View without a function")
	}
	x, err := db.s.BeginView(ctx)
	if err != nil {
		return err
	}
	return run(x, f)
}

func run(x *store.Tx, f func(*Tx) error) error {
	defer x.End()
	if err := f(&Tx{x}); err != nil {
		return err
	}
	return x.Commit()
}

// Get returns a copy of the value of key as the transaction sees it, its own
// writes included, or nil if there is none; an empty value is not nil.
func (tx *Tx) Get(key []byte) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return tx.x.Get(key)
}

// Set writes a key. Both slices are copied. A nil value is stored as empty.
func (tx *Tx) Set(key, value []byte) error {
	if err := checkKey(key); err != nil {
		return tx.x.Fail(err)
	}
	return tx.x.Set(key, value)
}

// Delete removes a key; that it does not exist is no error.
func (tx *Tx) Delete(key []byte) error {
	if err := checkKey(key); err != nil {
		return tx.x.Fail(err)
	}
	return tx.x.Delete(key)
}

// Entry is a key and its value.
type Entry struct{ Key, Value []byte }

// Scan walks the keys in [from, to) in order, as the transaction sees them when
// Scan is called; nil bounds are open. Key and Value are copies. An error ends
// the walk. Writes during the walk do not show in it.
func (tx *Tx) Scan(from, to []byte) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		it, err := tx.x.Scan(from, to)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		stopped := true // until scan returns: the caller's loop may panic
		defer func() {
			if closing := it.Close(); !stopped && err == nil && closing != nil {
				yield(Entry{}, closing)
			}
		}()
		if stopped, err = scan(it, yield); err != nil {
			yield(Entry{}, err)
		}
	}
}

// scan reports stopped if the caller broke the walk off.
func scan(it *store.Iter, yield func(Entry, error) bool) (stopped bool, err error) {
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			return false, err
		}
		e := Entry{Key: bytes.Clone(store.AppKey(it.Key())), Value: append([]byte{}, v...)}
		if !yield(e, nil) {
			return true, nil
		}
	}
	return false, nil
}

// MaxKeyBytes is the longest key of the application's keyspace.
const MaxKeyBytes = 64 << 10

func checkKey(key []byte) error {
	if len(key) > MaxKeyBytes {
		return store.TooLarge("application key in bytes", int64(len(key)), MaxKeyBytes)
	}
	return nil
}
