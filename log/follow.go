package log

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Records returns the records of all partitions, each partition's in order, waiting for new
// ones at the end. It begins at from in each, and commits nothing. Partitions that the topic
// gets meanwhile are read from their beginning. It ends with the error of ctx, a DamageError,
// ErrClosed, ErrTopicDeleted, or ErrFailed once all has been read. It ends with an OffsetError
// if from is out of range in a partition, or records were trimmed before they were read (see
// From.Or). A Reader reads one partition; the members of a Group share the partitions, and go
// on where they were.
func (t *Topic) Records(ctx context.Context, from From) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		t.followed.CompareAndSwap(nil, new(followed))
		t.followed.Load().by.Add(1)
		defer t.followed.Load().by.Add(-1)
		f, err := t.follow(ctx, from)
		for err == nil {
			var r Record
			if r, err = f.next(ctx); err == nil && !yield(r, nil) {
				return
			}
		}
		yield(Record{}, err)
	}
}

// followed is what a topic knows of calls of Records.
type followed struct {
	by    atomic.Int32 // calls under way
	moved store.Signal // fires when a partition has moved, or there are more
}

// tellFollowers wakes the calls of Records, if there are any.
func (t *Topic) tellFollowers() {
	if f := t.followed.Load(); f != nil && f.by.Load() > 0 {
		f.moved.Fire()
	}
}

// follower reads all partitions of a topic.
type follower struct {
	t       *Topic
	reset   Reset
	readers []*reader
	turn    int
	served  int // records in a row from the partition whose turn it is
}

func (t *Topic) follow(ctx context.Context, from From) (*follower, error) {
	if err := errors.Join(from.check(), t.readableIn(ctx)); err != nil {
		return nil, err
	}
	f := &follower{t: t, reset: from.reset}
	for _, p := range t.partitions() {
		if err := p.ready(ctx); err != nil {
			return nil, err
		}
		next, err := p.resolve(ctx, from)
		if err != nil {
			return nil, err
		}
		f.readers = append(f.readers, &reader{p: p, next: next, reset: f.reset})
	}
	return f, nil
}

// next waits for a record.
func (f *follower) next(ctx context.Context) (r Record, err error) {
	for {
		if ok, err := f.step(ctx, &r); ok || err != nil {
			return r, err
		}
		moved := f.t.followed.Load().moved.C()
		if ok, err := f.step(ctx, &r); ok || err != nil {
			return r, err
		}
		if err := f.wait(ctx, moved); err != nil {
			return r, err
		}
	}
}

// step reads a record from the partition whose turn it is, or else from any.
func (f *follower) step(ctx context.Context, r *Record) (ok bool, err error) {
	for _, p := range f.t.partitions()[len(f.readers):] { // it starts empty, at 0
		f.readers = append(f.readers, &reader{p: p, reset: f.reset})
	}
	if f.served >= fairShare {
		f.turn, f.served = f.turn+1, 0
	}
	for range f.readers {
		ok, err = f.readers[f.turn%len(f.readers)].read(ctx, r)
		if ok || err != nil {
			f.served++
			return ok, err
		}
		f.turn, f.served = f.turn+1, 0
	}
	return false, nil
}

func (f *follower) wait(ctx context.Context, moved <-chan struct{}) error {
	if err := f.t.readableIn(ctx); err != nil {
		return err
	}
	select {
	case <-moved:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-f.t.s.Down():
		return f.t.s.Cause()
	}
}
