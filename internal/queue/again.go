package queue

import (
	"context"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// The pause before another try to read a stretch, at first and at most. It is longer
// than a load waits for its own reads.
const (
	againPause    = 10 * time.Second
	againPauseMax = 5 * time.Minute
)

// tryAgain has what may be read again be read, after a pause.
func (u *unreadable) tryAgain(t *store.Turn) {
	if u.timer.Armed() || u.reading || u.q.closed {
		return
	}
	u.pause = min(max(2*u.pause, againPause), againPauseMax)
	t.Arm(u.timer, t.Now().Add(u.pause))
}

// readAgain is what the timer calls.
func (u *unreadable) readAgain(t *store.Turn) {
	q := u.q
	if q.closed {
		return
	}
	q.delays.readAgain()
	if at := q.expiry.again; at != 0 {
		q.expiry.again, q.expiry.from, q.expiry.fromSeq = 0, min(q.expiry.from, at), 0
		q.expiry.next = sooner(q.expiry.next, at)
		q.expiry.arm(t)
	}
	q.delays.arm(t)
	if len(u.groups) > 0 {
		q.groups.wanted, u.groups = append(q.groups.wanted, u.groups...), nil
		q.groups.readBack(t)
	}
	o := reread{q: q}
	for _, s := range u.stretches {
		if s.passing {
			o.parts = append(o.parts, s.span)
		}
	}
	if len(o.parts) == 0 {
		return
	}
	u.reading = t.Spawn(func(ctx context.Context) {
		q.loader.persist(ctx, func(ctx context.Context, _ func(error) bool) (store.Op, error) {
			again := o
			return &again, again.read(ctx)
		})
	})
}

// reread is the Op that takes in what could not be read before.
type reread struct {
	q     *Lane
	parts []span
	found []chunk // of each part
	came  int
}

func (o *reread) read(ctx context.Context) error {
	o.found = make([]chunk, len(o.parts))
	for i, part := range o.parts {
		c := &o.found[i]
		c.through = part.to
		p := plan{from: part.from, to: part.to, messages: chunkMessages, bytes: chunkBytes, pass: func(error) bool { return true }}
		if err := o.q.loader.readEntries(ctx, p, c); err != nil {
			return err
		}
	}
	return nil
}

// Frees lets it in on a disk that is nearly full: it is what consumers wait for.
func (o *reread) Frees() {}
func (o *reread) Undo()  {}

func (o *reread) Run(t *store.Turn) error {
	q := o.q
	q.bad.reading = false
	defer q.order.forgetIdle()
	if q.closed {
		return nil
	}
	for i, part := range o.parts {
		o.replace(t, span{part.from, o.found[i].through}, &o.found[i])
	}
	if o.came > 0 {
		q.bad.pause = 0
		q.s.Log().Info("messages can be read again", "queue", q.name, "messages", o.came)
	}
	if slices.ContainsFunc(q.bad.stretches, func(s stretch) bool { return s.passing }) {
		q.bad.tryAgain(t)
	}
	return nil
}

// replace takes in what was found in a part, and leaves the rest of it noted. What has
// been purged, or taken in, since the read began is in no stretch any more.
func (o *reread) replace(t *store.Turn, part span, c *chunk) {
	q := o.q
	came := slices.DeleteFunc(c.messages, func(l loadedMessage) bool { return !q.bad.stretches.has(l.seq) || q.order.gone(&l) })
	var left []stretch
	for _, m := range c.missing {
		for _, r := range m.parts() {
			for _, s := range q.bad.stretches {
				both := span{max(r.from, s.from), min(r.to, s.to)}
				left = append(left, stretch{both, min(r.messages, s.messages), !store.IsDamage(m.err)})
			}
		}
	}
	q.bad.stretches.cut(part)
	for _, s := range left {
		q.bad.stretches.add(s)
	}
	for _, l := range came {
		m := q.crash.bringBack(t, l)
		q.expiry.mayEnd(t, m)
		q.retention.mayAge(t, m)
	}
	o.came += len(came)
}

func (o *reread) Visible(t *store.Turn) { o.q.ready(t) }
