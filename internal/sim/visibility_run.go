package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func (p *visibilityPart) drawRun() args {
	w, a := p.w, p.drawQueue()
	if a == nil || p.named(a["queue"]).config.VisibilityTimeout < visibility.MinRunVisibility {
		return nil
	}
	a["n"] = oneOf(w, "1", "2", "8")
	a["span"] = oneOf(w, "1s", "1m", "10m")
	if w.chance(3) {
		a["attempts"] = oneOf(w, "1", "2", "5")
	}
	if w.chance(3) {
		a["batches"] = "yes"
	}
	if w.likes("calm handlers") {
		a["calm"] = "yes"
	}
	return a
}

// vrun is a Run under way.
type vrun struct {
	*client
	p        *visibilityPart
	q, dead  *vqueue
	began    uint64
	from     time.Time
	calm     bool
	attempts int
	handled  map[*vmessage]int
	last     map[*vmessage]error // how its latest handler has ended
	at       map[*vmessage]uint64
}

// run lets handlers take messages for a span.
func (p *visibilityPart) run(c *client, a args) {
	q := p.named(a["queue"])
	if q == nil || q.config.VisibilityTimeout < visibility.MinRunVisibility || q.running > 0 {
		return
	}
	c.within = 0 // it waits for its handlers
	attempts := a.int("attempts")
	if attempts == 0 {
		attempts = 20
	}
	r := &vrun{
		client: c, p: p, q: q, dead: p.graveOf(q), began: c.event(), from: wall(), attempts: attempts, calm: a.has("calm"),
		handled: make(map[*vmessage]int), last: make(map[*vmessage]error), at: make(map[*vmessage]uint64),
	}
	ready := p.ready(q, wall())
	ends := []func() bool{q.use(), r.dead.use()}
	q.running++
	o := callWith(c, q.q, func(ctx context.Context, queue *visibility.Queue) error {
		ctx, stop := context.WithTimeout(ctx, a.span("span"))
		defer stop()
		opts := &visibility.RunOptions{Concurrency: a.int("n"), MaxAttempts: a.int("attempts")}
		opts.Middleware = append(opts.Middleware, middleware[*visibility.Received](p.w, q.name, a)...)
		if a.has("batches") {
			opts.BatchSize = 5
			return queue.RunBatch(ctx, r.handleBatch, opts)
		}
		return queue.Run(ctx, r.handle, opts)
	})
	q.running--
	c.tellCall("run on %s: %d messages handled, error %v", q.name, len(r.handled), o.err)
	quiet := ends[0]()
	quiet = ends[1]() && quiet
	c.expects(o, "run on "+q.name, q.deleted(), r.dead.deleted(), r.mayHang(o))
	r.finish(o, a, ready, quiet)
}

// graveAfter is the queue that takes the place of one for dead letters that was deleted, if a Run
// may need it again.
func (p *visibilityPart) graveAfter(dead *vqueue) []*vqueue {
	source := p.byName(strings.TrimSuffix(dead.name, ".dead"))
	if !dead.isGrave() || source == nil || source.running == 0 {
		return nil
	}
	return []*vqueue{p.graveOf(source)}
}

// mayHang is the error of a Run whose outcomes the disk did not confirm.
func (r *vrun) mayHang(o outcome) error {
	if r.disk.wasWell(o.from) {
		return nil
	}
	return pebblemq.ErrUnknownOutcome
}

// graveOf returns where Run puts what has failed for good: it creates the queue when it needs it.
func (p *visibilityPart) graveOf(q *vqueue) *vqueue {
	if q.dead != nil {
		return q.dead
	}
	name := q.name + ".dead"
	if dead := p.byName(name); dead != nil {
		return dead
	}
	dead := &vqueue{part: p, name: name, mayBeLost: true, attempts: make(map[string]vattempt)}
	dead.config.FIFO = q.config.FIFO
	p.queues = append(p.queues, dead)
	return dead
}

// handleBatch is handle for several messages.
func (r *vrun) handleBatch(ctx context.Context, batch []*visibility.Received) error {
	errs := make(pebblemq.BatchError, len(batch))
	for n, m := range batch {
		v := r.enter(m)
		if v == nil {
			continue
		}
		switch kind := r.p.w.hash(fmt.Sprint(m.ID, m.ReceiveCount)) % 8; {
		case r.calm || kind < 4:
		case kind < 6:
			errs[n] = errRefused
		case kind == 6:
			errs[n] = pebblemq.Release(time.Second)
		default:
			errs[n] = pebblemq.Reject(errRefused)
		}
		r.leave(v, errs[n])
	}
	if !slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		return nil
	}
	return errs
}

// handle ends in a way that the message and its attempt determine.
func (r *vrun) handle(ctx context.Context, m *visibility.Received) (err error) {
	v := r.enter(m)
	if v == nil {
		return nil
	}
	ended := errRefused // of a panic and of runtime.Goexit
	defer func() { r.leave(v, ended) }()
	kind := r.p.w.hash(fmt.Sprint(m.ID, m.ReceiveCount)) % 16
	if r.calm {
		kind = 0
	}
	switch kind {
	case 0, 1, 2, 3, 4, 5:
	case 6, 7:
		err = errRefused
	case 8:
		panic("a handler of the simulator")
	case 9:
		runtime.Goexit()
	case 10, 11:
		r.rest(ctx, time.Second)
	case 12:
		r.rest(ctx, 2*r.q.config.VisibilityTimeout)
	case 13:
		err = pebblemq.Release(time.Second)
	case 14:
		err = pebblemq.Reject(errRefused)
	case 15:
		err = visibility.ErrKeep
	}
	if ctx.Err() != nil && err == nil {
		err = ctx.Err()
	}
	ended = err
	return err
}

// rest takes some time, unless the handler is to end.
func (r *vrun) rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// enter notes that a message is being handled, and complains if it may not be.
func (r *vrun) enter(got *visibility.Received) *vmessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, now := r.p.byID[got.ID], wall()
	if m == nil {
		r.fail("a handler of %s has %q, which nobody has sent", r.q.name, got.ID)
		return nil
	}
	if r.born != r.life {
		return nil
	}
	r.tellCall("%s: handle %s, attempt %d", r.q.name, m.id, got.ReceiveCount)
	what := fmt.Sprintf("%s, handled in %s for the %d. time,", m.id, r.q.name, got.ReceiveCount)
	switch last, before := r.last[m]; {
	case m.changed < r.began && !m.mayBeIn(r.q, now):
		r.fail("%s is a message of %s", what, m.home.name)
	case m.changed < r.began && !m.mayBeHere:
		r.fail("%s is gone", what)
	case m.changed < r.began && !m.free.maybe(now):
		r.fail("%s is hidden for %s more", what, m.free.first.Sub(now))
	case !m.due.maybe(now):
		r.fail("%s is delayed for %s more", what, m.due.first.Sub(now))
	case m.handling > 0 && m.entered == m.changed && r.disk.wasWell(r.from):
		r.fail("%s is being handled", what)
	case before && last == nil && r.at[m] == m.changed && r.disk.wasWell(r.from):
		r.fail("%s was handled before, without an error", what)
	}
	if r.q.config.FIFO && r.q.busyGroup(m) && r.disk.wasWell(r.from) {
		r.fail("%s is of group %s, of which another message is being handled", what, m.group)
	}
	m.handling++
	r.handled[m]++
	r.p.move(r.client, m, r.q)
	m.blur(now.Add(r.q.config.VisibilityTimeout))
	m.changed = r.event()
	m.entered = m.changed
	return m
}

// busyGroup reports that another message of a group is being handled.
func (q *vqueue) busyGroup(m *vmessage) bool {
	return slices.ContainsFunc(q.messages, func(o *vmessage) bool {
		return o != m && o.group == m.group && o.handling > 0 && o.entered == o.changed
	})
}

// leave notes how a handler has ended.
func (r *vrun) leave(m *vmessage, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tellCall("%s: handled %s, error %v", r.q.name, m.id, err)
	m.handling--
	m.changed = r.event()
	r.last[m], r.at[m] = err, m.changed
	m.mayBeGone, m.touched = true, true
	if dead := r.p.graveOf(r.q); err != nil && !slices.Contains(m.others, dead) {
		m.others = append(m.others, dead)
	}
}

// finish notes what is known after the end of a Run: it has settled what its handlers had, and
// released the rest.
func (r *vrun) finish(o outcome, a args, ready []*vmessage, quiet bool) {
	well := r.disk.wasWell(o.from) && o.done()
	for _, m := range ready {
		if well && quiet && r.calm && a.span("span") > time.Second && r.handled[m] == 0 && r.q.config.MaxInFlight == 0 && !r.q.config.FIFO && !m.expires().maybe(o.to) {
			r.fail("%s of %s is visible, and a Run of %s has not handled it", m.id, r.q.name, a["span"])
		}
	}
	until := o.to.Add(r.q.config.VisibilityTimeout + time.Minute)
	r.dead = r.p.graveOf(r.q) // another one, if that was deleted meanwhile
	for m, err := range r.last {
		untouched := m.changed == r.at[m]
		m.changed = r.event()
		m.blur(until)
		if well && untouched && err != nil && !m.expires().maybe(o.to) {
			m.mayBeGone = m.handling > 0
		}
		if well && untouched && err == nil && quiet {
			m.fate, m.wentAt = gone, r.event()
			r.lose(func() { m.mayBeHere = true })
		}
	}
	r.digAgain()
	r.q.blur(outcome{to: until}, 0)
	r.dead.blur(outcome{to: until}, 0)
	r.openGrave()
}

// digAgain notes that the queue for dead letters was deleted during the Run, which creates it
// again when it needs it: what has died may be there, or have gone with the other one.
func (r *vrun) digAgain() {
	dead := r.p.graveOf(r.q)
	if dead == r.dead {
		return
	}
	r.dead = dead
	for m, err := range r.last {
		if err != nil {
			m.mayBeGone, m.others = true, append(m.others, dead)
		}
	}
}

// openGrave looks whether a queue for dead letters was created.
func (r *vrun) openGrave() {
	dead := r.dead
	if dead.q != nil || r.born != r.life {
		return
	}
	var q *visibility.Queue
	o := r.call(func(ctx context.Context) (err error) {
		q, err = visibility.LookupQueue(ctx, r.db, dead.name)
		return err
	})
	if o.done() {
		dead.q, dead.config, dead.mayBeLost = q, q.Config(), true
	}
}
