package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Refer is that of a store.Referrer.
func (q *Queue) Refer(ctx context.Context, slot uint16, visit func(store.Payload)) error {
	var lane *Lane
	err := q.s.Do(store.WithDurability(ctx, store.NoSync), store.QuietFunc(func(*store.Turn) error {
		if n := int(slot / 2); n < len(q.byLane) {
			lane = q.byLane[n]
		}
		return nil
	}), store.NoSync)
	switch {
	case err != nil:
		return err
	case lane == nil:
		return fmt.Errorf("queue %q has no lane %d", q.name, slot/2)
	case slot%2 == slotDelayed:
		return referDelayed(ctx, lane, visit)
	}
	return referEntries(ctx, lane, visit)
}

// unsure ends a read at the first thing that cannot be read.
func unsure(error) bool { return false }

// referEntries calls visit with the payload of each message on disk. Some may be settled.
func referEntries(ctx context.Context, lane *Lane, visit func(store.Payload)) (err error) {
	r, err := newReader(ctx, lane, 0, unsure)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for {
		m, ok, err := r.glance()
		switch {
		case err != nil:
			return err
		case len(r.lost) > 0:
			return r.lost[0].err
		case !ok:
			return nil
		case m.err != nil:
			return m.err
		}
		visit(m.Payload)
	}
}

// referDelayed does so with the delayed ones.
func referDelayed(ctx context.Context, lane *Lane, visit func(store.Payload)) (err error) {
	lo, hi := lane.span(lane.layout.Delayed)
	it, err := lane.loader.iter(ctx, lo, hi, unsure)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			return err
		}
		c, err := decodeDelayed(v)
		if err != nil {
			return err
		}
		visit(c.Payload)
	}
	return nil
}
