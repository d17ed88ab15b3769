package log

import (
	"bytes"
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// AppendAfter appends records of one key on the condition that the newest record of
// that key is at last, Nowhere if it is to have none: who has read the events of an
// account appends only if nobody else did since. Otherwise it is a KeyConflictError,
// which says where the newest record is. A record that was trimmed counts as none.
// The topic must have IndexKeys.
//
// Kafka has been asked for this since 2015 and does not have it.
func (t *Topic) AppendAfter(ctx context.Context, last Position, records ...Record) ([]Position, error) {
	o, err := t.newAppendAfter(ctx, last, records, newBuffer)
	if err != nil {
		return nil, err
	}
	if err := t.s.Do(ctx, o, store.Default); err != nil {
		return nil, err
	}
	return o.positions(), nil
}

// AppendAfter is Topic.AppendAfter as a part of the transaction.
func (x TopicTx) AppendAfter(last Position, records ...Record) (*Result, error) {
	o, err := x.t.newAppendAfter(x.x.Context(), last, records, exactBuffer)
	return x.add(o, err)
}

func (t *Topic) newAppendAfter(ctx context.Context, last Position, records []Record, alloc func(int) *buffer) (*appendOp, error) {
	if err := t.indexed(); err != nil {
		return nil, err
	}
	if last != Nowhere && (last.Offset < 0 || last.Partition < 0 || last.Partition >= t.Partitions()) {
		return nil, store.Invalid("%v is no position in topic %q", last, t.name)
	}
	for i := range records {
		if records[i].Key == nil || !bytes.Equal(records[i].Key, records[0].Key) {
			return nil, &RecordError{Index: i, Err: store.Invalid("all records must have one key")}
		}
	}
	if err := t.ready(ctx); err != nil { // any of its partitions may hold the newest
		return nil, err
	}
	o, err := t.newAppend(ctx, anyPartition, records, alloc)
	if err == nil {
		o.guard = &after{key: bytes.Clone(records[0].Key), last: last}
	}
	return o, err
}

// after is the guard of AppendAfter.
type after struct {
	key  []byte
	last Position
}

func (a *after) admit(t *store.Turn, o *appendOp) (repeated bool, err error) {
	v, err := t.Get(indexKey(o.t.id, a.key))
	if err != nil {
		return false, o.t.lostKey(a.key, err)
	}
	at, err := o.t.newest(v)
	if err == nil && at != a.last {
		err = &KeyConflictError{Topic: o.t.name, Key: a.key, Expected: a.last, Actual: at}
	}
	return false, err
}

// KeyConflictError refuses an AppendAfter whose condition does not hold. Nothing was
// appended. It is ErrConflict.
type KeyConflictError struct {
	Topic    string
	Key      []byte
	Expected Position
	Actual   Position // of the newest record, which may not be readable yet
}

func (e *KeyConflictError) Error() string {
	return fmt.Sprintf("%v: topic %q, key %q: the newest record is at %v, not %v", ErrConflict, e.Topic, e.Key, e.Actual, e.Expected)
}

// Is makes errors.Is(e, ErrConflict) true.
func (e *KeyConflictError) Is(target error) bool { return target == ErrConflict }
