package log

import (
	"context"
	"errors"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// retention is what a topic remembers of its retention. It is under the baton.
//
// Records leave by whole batches, from the start on: a binary search over the
// running fields of the headers finds the first batch that stays, and the start
// moves there. Nothing polls: the timer fires when the oldest batch is old enough,
// or when a partition has grown well beyond its limit.
type retention struct {
	background
	timer *store.Timer
	armed bool
	again bool // something was written, or altered, during the pass under way
}

// retentionSlack is the part of a limit by which records may outstay it, so that
// they go many at a time.
const (
	retentionSlack    = 16
	maxRetentionDelay = time.Minute
)

// armRetention has the records looked at from a moment on.
func (t *Topic) armRetention(turn *store.Turn, at time.Time) {
	c := t.config.Load()
	if t.gone.Load() || c.RetentionTime == 0 && c.RetentionBytes == 0 {
		return
	}
	t.retention.armed = true
	turn.Arm(t.retention.timer, at)
}

// retainMore is called for each batch that is written.
func (t *Topic) retainMore(turn *store.Turn, p *partition) {
	c := t.config.Load()
	if t.retention.running {
		t.retention.again = true
		return
	}
	if n := c.RetentionBytes; n > 0 && int64(p.tail.bytes-p.floor) > n+n/retentionSlack {
		t.armRetention(turn, turn.Now())
		return
	}
	if c.RetentionTime > 0 && !t.retention.armed {
		t.armRetention(turn, c.outdated(p.tail.retainTime))
	}
}

// outdated returns when a batch with that running time is to go, or soon after.
func (c *TopicConfig) outdated(retainTime int64) time.Time {
	slack := min(c.RetentionTime/retentionSlack, maxRetentionDelay)
	return time.Unix(0, retainTime).Add(c.RetentionTime + slack)
}

// startRetention is what the timer calls.
func (t *Topic) startRetention(turn *store.Turn) {
	t.retention.armed = false
	if t.gone.Load() {
		return
	}
	if t.retention.running { // by a config that may be another now
		t.retention.again = true
		return
	}
	var next time.Time // to look again
	work := func(ctx context.Context) (err error) {
		if next, err = t.retain(ctx); err != nil && t.inUse() {
			next = t.s.Now().Add(maxRetentionDelay)
		}
		return err
	}
	t.retention.start(t, turn, work, func(turn *store.Turn) {
		r := &t.retention
		if r.again && (next.IsZero() || turn.Now().Before(next)) {
			next = turn.Now()
		}
		r.again = false
		if !next.IsZero() {
			t.armRetention(turn, next)
		}
	})
}

// EnforceRetention applies the topic's retention now. It happens by itself, too, a
// little later: within a sixteenth of RetentionTime, a minute at most, or of
// RetentionBytes. A topic that was not opened since the store was is left alone.
// Disk space returns in the background.
func (t *Topic) EnforceRetention(ctx context.Context) error {
	if err := t.readable(); err != nil {
		return err
	}
	_, err := t.retain(ctx)
	return err
}

// retain moves the starts of the partitions, and returns when to look again; zero
// is when something was appended.
func (t *Topic) retain(ctx context.Context) (next time.Time, err error) {
	if err := t.s.Fence(ctx); err != nil { // what set the timer is not passed over
		return next, err
	}
	c, now := t.config.Load(), t.s.Now()
	var failed error
	for _, p := range t.partitions() {
		due, err := p.retain(ctx, c, now)
		for errors.Is(err, errMoved) {
			c = t.config.Load()
			due, err = p.retain(ctx, c, now)
		}
		switch {
		case store.IsUnread(err): // the others need not wait for it
			failed = errors.Join(failed, err)
		case err != nil:
			return next, errors.Join(failed, err)
		}
		if !due.IsZero() && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	return next, failed
}

func (p *partition) retain(ctx context.Context, c *TopicConfig, now time.Time) (due time.Time, err error) {
	if err := p.ready(ctx); err != nil {
		return due, err
	}
	start, end := p.start.Load(), p.end.Load()
	if start == end {
		return due, nil
	}
	total, err := p.bytesBelow(ctx, end)
	if err != nil {
		return due, err
	}
	oldest := now.Add(-c.RetentionTime).UnixNano()
	first, err := p.searchBatch(ctx, start, end, func(h header) bool {
		old := c.RetentionTime > 0 && h.retainTime < oldest
		much := c.RetentionBytes > 0 && total > h.bytes && total-h.bytes >= uint64(c.RetentionBytes)
		return !old && !much
	})
	if err != nil {
		return due, err
	}
	o := &trimOp{p: p, to: max(start, first.safe(end)), config: c} // what cannot be read may be young
	if o.floor, err = p.bytesBelow(ctx, o.to); err != nil {
		return due, err
	}
	if first.found && c.RetentionTime > 0 {
		due = c.outdated(first.retainTime)
	}
	return due, p.topic.s.Do(store.WithDurability(ctx, store.NoSync), o, store.NoSync)
}

// bytesBelow returns how many bytes the batches have, and had, that lie wholly below
// an offset, or fewer if the last of them cannot be read.
func (p *partition) bytesBelow(ctx context.Context, offset uint64) (n uint64, err error) {
	if n, err = p.readBytesBelow(ctx, offset); !store.IsDamage(err) {
		return n, err
	}
	last, _, err := p.lastReadable(ctx, 0, offset)
	return last.bytes, err
}

func (p *partition) readBytesBelow(ctx context.Context, offset uint64) (n uint64, err error) {
	it, err := p.topic.s.Iter(ctx, partitionKey(store.KindLogBatch, p.topic.id, p.index), batchKey(p.topic.id, p.index, offset))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.Last() {
		return 0, nil
	}
	h, _, _, err := batchAt(it)
	return h.bytes, err
}
