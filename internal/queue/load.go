package queue

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// plan is what a load is to bring in: a chunk of messages in [from, to), and
// delayed ones that are due.
type plan struct {
	from, to          uint64
	messages, bytes   int    // of the chunk, at most
	recall, recallEnd uint64 // the taken ones among these, ahead of the rest
	now               time.Time
	due               bool
	nextDue           int64  // where that begins
	nextLate          uint64 // the same
	putDue            int64  // the earliest due time put since the load began, 0 if none
	void              bool   // the lane was purged since
	cancelled         map[Position]bool
	pass              func(error) bool // see store.Iter.PassOver
	live              bool             // what has expired is passed over
}

// chunk is what a load found.
type chunk struct {
	messages []loadedMessage
	through  uint64 // everything below is in it, or missing
	missing  []missing
	expired  []expired
	taken    []loadedMessage
	recalled uint64 // everything below that was taken is in it
	delayed  []delayedMessage
	nextDue  int64 // of the first one left, 0 if none
	nextLate uint64
	late     []lateGap
}

type loadedMessage struct {
	Content
	seq     uint64
	segment *segment // that it lies in
	mark    mark
	err     error // why the message cannot be read
	gone    bool  // was settled
}

type delayedMessage struct {
	Content
	due int64
	seq uint64
}

// loader brings what is on disk into memory, a chunk at a time.
type loader struct {
	q       *Lane
	loading bool
	plan    plan   // of the load under way
	probed  uint64 // see Lane.probe
}

// start has a chunk read in the background, if there is anything to
// read and nobody is at it. The engine is never read under the baton.
func (l *loader) start(t *store.Turn) {
	q := l.q
	due := q.delays.left() > 0 && q.meta.nextDue <= t.Now().UnixNano()
	p := plan{from: q.loaded, to: q.loaded, now: t.Now(), due: due}
	p.nextDue, p.nextLate = q.meta.nextDue, q.delays.nextSeq
	p.messages, p.bytes = q.line.chunk()
	p.live = q.expiry.passesBy()
	if q.line.low() {
		p.to = q.shown
	}
	if !q.crash.recalled() {
		p.recall, p.recallEnd = max(q.crash.through, q.loaded), q.crash.end
	}
	if l.loading || q.closed || p.from == p.to && !due && p.recall >= p.recallEnd {
		return
	}
	l.plan = p
	load := p // which escapes; most calls have returned by now
	l.loading = t.Spawn(func(ctx context.Context) { l.run(ctx, load) })
}

// expiredMessages is how many a load passes over at most, because all of them are looked at under the
// baton.
const expiredMessages = 32 * chunkMessages

// The pause after a load that could not be carried out, because the disk is full
// or failing, at first and at most.
const (
	loadRetry    = 100 * time.Millisecond
	loadRetryMax = 10 * time.Second
)

// patience is how often a read that fails is tried again before it passes over what it
// cannot read. It takes six seconds. What is damaged is passed over at once.
const patience = 6

func (l *loader) run(ctx context.Context, p plan) {
	q := l.q
	q.loader.persist(ctx, func(ctx context.Context, pass func(error) bool) (store.Op, error) {
		p.pass = pass
		c, err := l.read(ctx, p)
		return &install{q: q, c: c}, err
	})
}

// persist reads something and takes it into memory with an Op, and tries again
// until that works.
func (l *loader) persist(ctx context.Context, read func(context.Context, func(error) bool) (store.Op, error)) {
	q := l.q
	for try := 0; ; try++ {
		eased := q.s.Eased()
		op, err := read(ctx, func(err error) bool { return store.IsDamage(err) || try >= patience })
		if err == nil {
			err = q.s.Do(store.WithDurability(ctx, store.NoSync), op, store.NoSync)
		}
		if err == nil || q.s.Cause() != nil {
			return
		}
		if try == 0 {
			q.s.Log().Error("cannot read waiting messages, will try again", "queue", q.name, "error", err)
		}
		if !store.PauseUntil(ctx, eased, min(loadRetry<<min(try, patience), loadRetryMax)) {
			return
		}
	}
}

func (l *loader) read(ctx context.Context, p plan) (*chunk, error) {
	q := l.q
	c := &chunk{through: p.to}
	if p.from < p.to {
		if err := l.readEntries(ctx, p, c); err != nil {
			return nil, err
		}
	}
	if p.recall < p.recallEnd {
		if err := q.crash.read(ctx, p, c); err != nil {
			return nil, err
		}
	}
	if p.due {
		if err := q.delays.readDue(ctx, p, c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (l *loader) readEntries(ctx context.Context, p plan, c *chunk) (err error) {
	q := l.q
	r, err := newReader(ctx, q, p.from, p.pass)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	size := 0
	for {
		m, ok, err := r.glance()
		if err != nil {
			return err
		}
		if !ok || m.seq >= p.to {
			break
		}
		if p.live && m.expired(p.now) {
			if len(c.expired) == expiredMessages {
				c.through = m.seq
				break
			}
			c.expired = append(c.expired, expired{m.seq, m.size(), m.segment})
			continue
		}
		if size += len(m.Data); len(c.messages) == p.messages || size > p.bytes && len(c.messages) > 0 {
			c.through = m.seq
			break
		}
		m.Data = bytes.Clone(m.Data)
		c.add(m)
	}
	return q.bad.search(ctx, r, c)
}

// add takes a message in, or notes that it cannot be read.
func (c *chunk) add(m loadedMessage) {
	if m.err != nil {
		c.missing = append(c.missing, missing{span: span{m.seq, m.seq + 1}, messages: 1, err: m.err})
		return
	}
	c.messages = append(c.messages, m)
}

// iter is an iterator that passes over what cannot be read, if pass agrees.
func (l *loader) iter(ctx context.Context, lo, hi []byte, pass func(error) bool) (*store.Iter, error) {
	it, err := l.q.s.Iter(ctx, lo, hi)
	if err == nil {
		it.PassOver(ctx, pass)
	}
	return it, err
}

// install is the Op that takes a chunk into memory.
type install struct {
	q     *Lane
	c     *chunk
	moved []*Message
	after []func(*store.Turn)
}

// Frees lets it in on a disk that is nearly full: it is what consumers wait for.
func (i *install) Frees() {}

func (i *install) Run(t *store.Turn) error {
	q := i.q
	q.loader.loading = false
	defer q.order.forgetIdle()
	if q.closed {
		return nil
	}
	if q.loader.plan.void {
		q.delays.arm(t) // it may have fired in vain while the load was under way
		return nil
	}
	for _, m := range i.c.messages {
		q.loader.take(t, m)
	}
	q.loaded = max(q.loaded, i.c.through)
	q.expiry.passOver(i.c.expired)
	q.bad.miss(t, i.c.missing)
	q.crash.takeBack(t, i.c)
	if q.loader.plan.due {
		i.promote(t)
	}
	q.delays.arm(t)
	return nil
}

// take brings one message into memory, in the state that it was left in.
func (r *loader) take(t *store.Turn, l loadedMessage) {
	q := r.q
	if q.order.isKnown(&l) {
		return
	}
	m := q.restore(&l)
	q.crash.accuse(m, &l)
	if q.crash.runs(t, &l) {
		q.crash.adopt(m)
		q.crash.leased(t, m)
		return
	}
	switch {
	case m.prime:
		q.wait(m)
	case !q.groups.passes(t, m, true):
		q.move(m, inWindow)
	}
	q.crash.comeBack(t, m, l.mark)
}

func (i *install) Undo() {}

func (i *install) Visible(t *store.Turn) {
	for _, m := range i.moved {
		i.q.Show(t, m)
	}
	for _, shown := range i.after {
		shown(t)
	}
	i.q.crash.recall(t)
	if i.q.groups != nil {
		i.q.groups.walker.goOn(t)
	}
	i.q.ready(t)
}
