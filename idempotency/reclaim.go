package idempotency

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// An expired record answers for nothing from that moment on. Its space is
// given back later, many at a time.
const (
	reclaimChunk    = 256
	maxReclaimDelay = time.Minute
	reclaimRetry    = time.Second
)

// arm sets the timer for the next reclaim.
func (n *namespace) arm(t *store.Turn) {
	if n.meta.nextExpiry == 0 {
		t.Disarm(n.timer)
		return
	}
	delay := min(n.config.Expiry/8, maxReclaimDelay)
	t.Arm(n.timer, time.Unix(0, n.meta.nextExpiry).Add(delay))
}

// startReclaim runs when the timer fires.
func (n *namespace) startReclaim(t *store.Turn) {
	if n.running {
		return
	}
	now := t.Now().UnixNano()
	n.since = 0
	n.running = t.Spawn(func(ctx context.Context) { n.reclaim(ctx, now) })
}

// reclaim removes what expired before now, a chunk at a time.
func (n *namespace) reclaim(ctx context.Context, now int64) {
	for {
		op, err := n.collect(ctx, now)
		if err == nil {
			err = n.s.Do(store.WithDurability(ctx, store.NoSync), op, store.NoSync)
		}
		switch {
		case n.s.Cause() != nil:
			return
		case err != nil:
			n.s.Log().Error("reclaim idempotency keys", "namespace", n.name, "error", err)
			if !pause(ctx) {
				return
			}
		case op.last:
			return
		}
	}
}

func pause(ctx context.Context) bool {
	timer := time.NewTimer(reclaimRetry)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reclaimOp removes one chunk of expired entries.
type reclaimOp struct {
	n       *namespace
	now     int64 // when the reclaim began
	entries []expired
	next    int64 // expiry of the first entry left, 0 if none
	last    bool
}

type expired struct {
	expiry int64
	key    []byte
}

// collect reads the next chunk of the expiry index.
func (n *namespace) collect(ctx context.Context, now int64) (op *reclaimOp, err error) {
	lo, hi := store.Span(store.KindIdemExpiry, n.id)
	it, err := n.s.Iter(ctx, lo, hi)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	op = &reclaimOp{n: n, now: now, last: true}
	for ok := it.First(); ok; ok = it.Next() {
		expiry, key, err := decodeExpiryKey(it.Key())
		if err != nil {
			return nil, err
		}
		if full := len(op.entries) == reclaimChunk; full || expiry > now {
			op.next, op.last = expiry, !full
			return op, nil
		}
		op.entries = append(op.entries, expired{expiry, bytes.Clone(key)})
	}
	return op, nil
}

// Frees lets it in on a disk that is nearly full.
func (o *reclaimOp) Frees() {}

func (o *reclaimOp) Run(t *store.Turn) error {
	n := o.n
	var dead [][]byte
	for _, e := range o.entries {
		r, found, err := n.read(t, e.key)
		if err != nil {
			return err
		}
		if found && r.state != claimed && r.expiry == e.expiry {
			dead = append(dead, e.key)
		}
	}
	for _, key := range dead {
		t.Delete(recordKey(n.id, key))
	}
	n.meta.records -= uint64(len(dead))
	o.forget(t)
	n.meta.nextExpiry = o.next
	if n.since != 0 && (o.next == 0 || n.since < o.next) {
		n.meta.nextExpiry = n.since
	}
	n.since = 0
	t.Touch(n)
	if o.last {
		n.running = false
		n.arm(t)
	}
	return nil
}

// forget deletes the entries, as one range unless, the clock having gone back, one
// may have come in between.
func (o *reclaimOp) forget(t *store.Turn) {
	if len(o.entries) == 0 {
		return
	}
	end := o.entries[len(o.entries)-1]
	if since := o.n.since; since == 0 || since > end.expiry {
		lo, _ := store.Span(store.KindIdemExpiry, o.n.id)
		t.DeleteRange(lo, append(expiryKey(o.n.id, end.expiry, end.key), 0))
		return
	}
	for _, e := range o.entries {
		t.Delete(expiryKey(o.n.id, e.expiry, e.key))
	}
}

func (o *reclaimOp) Undo()               {}
func (o *reclaimOp) Visible(*store.Turn) {}
