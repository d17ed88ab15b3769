package pebblemq

import (
	"bytes"
	"context"
	"iter"

	"github.com/pebblemq/pebblemq/internal/store"
)

// MaxTxBytes is the largest transaction, 64 MiB: the keys, values and payloads that
// it writes, together.
const MaxTxBytes = 64 << 20

var _ = [1]struct{}{}[MaxTxBytes-store.MaxTx] // the two are equal

// Tx is a transaction in the making. It is passed to the function of Update or
// View, is valid until that returns, and is for that function's goroutine.
//
// The layers' verbs take part through their In methods:
//
//	orders.In(tx).Append(record)
//	broker.In(tx).Publish("events", "order.paid", message)
//
// They are collected and carried out together when the function has returned nil; a refusal of
// any one (a stale receipt, a full queue) refuses all. Calls made without In are separate
// commits. They are not rolled back with the transaction.
type Tx struct {
	x *store.Tx
}

// Update runs f once and commits what it did as one change: application keys,
// and every queue operation of any layer. If f returns an error, panics or ends its
// goroutine, or if any operation is refused, nothing happened. Update returns the
// error; a panic or runtime.Goexit continues in the caller.
//
// The application's keyspace is serialisable. The first Get or Scan takes a lock until the
// transaction is sequenced. Other transactions that read wait for it, and those that have
// written wait before their commit. Keep f short from the first read on. Writes alone and queue
// operations take no lock. An Update within f that would wait for the lock of its own caller
// returns ErrNested.
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
// works on a store that has failed. On a full disk, and after a failure, the view lacks
// what was accepted and has not reached the disk: NoSync changes, and those whose caller
// got ErrUnknownOutcome.
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

// Delete removes a key. A missing key is not an error.
func (tx *Tx) Delete(key []byte) error {
	if err := checkKey(key); err != nil {
		return tx.x.Fail(err)
	}
	return tx.x.Delete(key)
}

// Entry is a key and its value.
type Entry struct{ Key, Value []byte }

// ScanOptions say which keys a Scan walks, and how. Nil is all of them, in order.
type ScanOptions struct {
	// Prefix is what all keys begin with. Default: nothing.
	Prefix []byte

	// From is the lowest key and To the one below which the walk stays. They count beside
	// Prefix. Default: no bound.
	From, To []byte

	// Reverse walks from the highest key to the lowest.
	Reverse bool

	// Limit is the most entries that the walk returns. Default: no limit.
	Limit int
}

// bounds returns [from, to), whose ends may be nil.
func (o *ScanOptions) bounds() (from, to []byte, err error) {
	if o.Limit < 0 {
		return nil, nil, store.Invalid("ScanOptions.Limit is %d", o.Limit)
	}
	from, to = o.From, o.To
	if len(o.Prefix) == 0 {
		return from, to, nil
	}
	if bytes.Compare(from, o.Prefix) < 0 {
		from = o.Prefix
	}
	if end := store.PrefixEnd(o.Prefix); end != nil && (to == nil || bytes.Compare(end, to) < 0) {
		to = end
	}
	return from, to, nil
}

// Scan walks keys in order, as the transaction sees them when the walk begins. Key and
// Value are copies. An error ends the walk. Writes during the walk do not show in it.
func (tx *Tx) Scan(o *ScanOptions) iter.Seq2[Entry, error] {
	if o == nil {
		o = &ScanOptions{}
	}
	return func(yield func(Entry, error) bool) {
		from, to, err := o.bounds()
		if err != nil {
			yield(Entry{}, err)
			return
		}
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
		if stopped, err = scan(it, o, yield); err != nil {
			yield(Entry{}, err)
		}
	}
}

// scan reports stopped if the caller broke the walk off.
func scan(it *store.Iter, o *ScanOptions, yield func(Entry, error) bool) (stopped bool, err error) {
	first, next := it.First, it.Next
	if o.Reverse {
		first, next = it.Last, it.Prev
	}
	n := 0
	for ok := first(); ok && (o.Limit == 0 || n < o.Limit); ok = next() {
		v, err := it.Value()
		if err != nil {
			return false, err
		}
		e := Entry{Key: bytes.Clone(store.AppKey(it.Key())), Value: append([]byte{}, v...)}
		if !yield(e, nil) {
			return true, nil
		}
		n++
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
