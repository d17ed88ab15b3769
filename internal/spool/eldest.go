package spool

import (
	"context"
	"errors"
)

// Eldest returns what finds out when the one message was born that is not younger
// than any other, delayed ones aside; 0 if there is none. That reads from the disk, so
// it is called without the baton.
func (q *Spool) Eldest() func(context.Context) (int64, error) {
	low, next := q.meta.low, q.meta.next
	indexed := sooner(q.expiry.next, q.expiry.retained)
	return func(ctx context.Context) (int64, error) {
		first, err := q.firstInOrder(ctx, low, next)
		if err != nil || indexed == 0 {
			return first, err
		}
		other, err := q.firstInIndex(ctx, indexed)
		return sooner(first, other), err
	}
}

// firstInOrder returns when the first message was born that is not in the index.
func (q *Spool) firstInOrder(ctx context.Context, low, next uint64) (at int64, err error) {
	entries, err := q.s.Iter(ctx, seqKey(q.layout.Entry, q.place, low), seqKey(q.layout.Entry, q.place, next))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, entries.Close()) }()
	for ok := entries.First(); ok; ok = entries.Next() {
		v, err := entries.Value()
		if err != nil {
			return 0, err
		}
		if c, err := decodeEntry(v); err == nil && c.Expires == 0 {
			return q.bornOf(&c), nil
		}
	}
	return 0, nil
}

// firstInIndex returns when the first message was born that is in the index. Some of
// that may have been purged.
func (q *Spool) firstInIndex(ctx context.Context, from int64) (at int64, err error) {
	lo, hi := q.span(q.layout.Expiry)
	index, err := q.s.Iter(ctx, lo, hi)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	for ok := index.Seek(dueKey(q.layout.Expiry, q.place, from, 0)); ok; ok = index.Next() {
		at, seq, err := decodeDueKey(index.Key())
		if err != nil {
			return 0, err
		}
		v, err := q.s.Get(seqKey(q.layout.Entry, q.place, seq))
		if err != nil {
			return 0, err
		}
		if v != nil {
			return at, nil
		}
	}
	return 0, nil
}
