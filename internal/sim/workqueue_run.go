package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// errHandling is why a handler fails, errStop why it ends its Run.
var (
	errHandling = errors.New("the handler fails")
	errStop     = errors.New("the handler stops")
)

func (p *workqueuePart) drawRun() args {
	w := p.w
	a := p.drawQueue()
	if a == nil {
		return nil
	}
	a["n"], a["span"] = oneOf(w, "1", "1", "4"), oneOf(w, "1s", "10s", "2m")
	if w.likes("attempts") && w.chance(2) {
		a["attempts"] = oneOf(w, "1", "2", "5")
	}
	if w.likes("keys of handlers") && w.chance(2) {
		a["by"] = "a"
	}
	if w.likes("timeouts of handlers") && w.chance(2) {
		a["timeout"] = "2s"
	}
	if w.likes("batches of handlers") && w.chance(2) {
		a["batch"] = oneOf(w, "1", "3", "100")
	}
	return a
}

// wrun is a Run of handlers.
type wrun struct {
	p        *workqueuePart
	c        *client
	k        *wconsumer
	a        args
	attempts map[*wcopy]int
	ends     map[*wdelivery]string // how its latest handler ended
	running  int
	keys     map[string]bool // that have a handler running
}

func (p *workqueuePart) run(c *client, a args) {
	q := p.usable(a["queue"])
	if q == nil || a.int("n") == 0 {
		return
	}
	q.refresh(p)
	prefetch := max(workqueue.DefaultPrefetch, a.int("n")*max(1, a.int("batch")))
	if a.has("by") {
		prefetch = 1024
	}
	r := &wrun{p: p, c: c, a: a, attempts: make(map[*wcopy]int), ends: make(map[*wdelivery]string), keys: make(map[string]bool)}
	r.k = &wconsumer{name: "run", q: q, prefetch: prefetch, begun: c.event()}
	q.open = append(q.open, r.k)
	q.attended = c.event()
	span := a.span("span")
	if c.within > 0 {
		span, c.within = min(span, c.within), 0 // it waits for its handlers after that
	}
	end := q.use()
	o := callWith(c, q.q, func(ctx context.Context, queue *workqueue.Queue) error {
		ctx, stop := context.WithTimeout(ctx, span)
		defer stop()
		return r.runQueue(ctx, queue)
	})
	end(o)
	c.tellCall("run on %s: %v", q.name, o.err)
	r.judge(o)
	if !o.other {
		r.k.ended, r.k.closed = true, true
		r.settle(o)
		r.k.drain(c, o.began)
		p.giveAllBack(r.k)
	}
}

func (r *wrun) options() *workqueue.RunOptions {
	o := &workqueue.RunOptions{Concurrency: r.a.int("n"), MaxAttempts: r.a.int("attempts"), Timeout: r.a.span("timeout"), BatchSize: r.a.int("batch")}
	if r.a.has("by") {
		o.Key = func(d *workqueue.Delivery) string { return d.Headers[r.a["by"]] }
	}
	return o
}

// judge complains about the end of a Run.
func (r *wrun) judge(o outcome) {
	d := r.c.disk
	switch {
	case errors.Is(o.err, errStop):
		for _, end := range r.ends {
			if end == "stop" {
				return
			}
		}
		r.c.fail("a Run on %s was stopped, but not by a handler", r.k.q.name)
	case errors.Is(o.err, pebblemq.ErrUnknownOutcome) && (!d.well() || d.wellSince.After(o.from) || d.slow.Load() > 0):
	default:
		r.c.expects(o, "run on "+r.k.q.name, workqueue.ErrQueueDeleted)
	}
}

// handle is the handler. It is called on a goroutine of the library.
func (r *wrun) handle(ctx context.Context, d *workqueue.Delivery) error {
	w := r.p.w
	w.mu.Lock()
	if r.late(d) {
		w.mu.Unlock()
		return errHandling
	}
	h := r.begin(d)
	if h == nil {
		w.mu.Unlock()
		return nil
	}
	key := d.Headers[r.a["by"]]
	if r.running++; r.running > r.a.int("n") {
		w.fail("%d handlers of a Run at a time, not %s", r.running, r.a["n"])
	}
	if r.a.has("by") && key != "" && r.keys[key] {
		w.fail("two handlers of the key %s at a time", key)
	}
	r.keys[key] = true
	end := r.fateOf(h)
	r.ends[h] = "" // it may end in any way until it has
	w.mu.Unlock()
	if end == "sleep" || w.hash("nap"+h.x.m.name)%4 == 0 {
		sleepOr(ctx, 3*time.Second)
	}
	w.mu.Lock()
	r.running--
	delete(r.keys, key)
	r.note(h, end)
	w.mu.Unlock()
	return act(end)
}

// late reports that a handler is called when its life is over, or the world. That counts as a
// delivery, if it gets to the disk.
func (r *wrun) late(d *workqueue.Delivery) bool {
	w := r.p.w
	if r.c.born == w.life && w.fault == "" {
		return false
	}
	if m := r.p.messages[nameOf(d)]; m != nil {
		for _, x := range m.copies {
			if x.q == r.k.q {
				x.count.most++
			}
		}
	}
	return true
}

// sleepOr waits for some time, or until a context ends.
func sleepOr(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// begin judges a delivery. One that is handled again under its key is not a new one.
func (r *wrun) begin(d *workqueue.Delivery) *wdelivery {
	if m := r.p.messages[nameOf(d)]; m != nil {
		for _, x := range m.copies {
			if x.holder != nil && x.holder.d == d {
				return x.holder
			}
		}
	}
	now := wall()
	o := outcome{began: r.k.begun, from: now, to: now}
	h := r.p.judge(r.c, o, r.k.q, d, r.k, false)
	if h == nil {
		return nil
	}
	q := r.k.q
	q.held = q.held[:len(q.held)-1] // it is the handler's
	if r.a.has("timeout") || r.a.has("by") {
		h.over.last = someday
	}
	return h
}

// fateOf is how the handler of a message ends: that depends on the message and on how often it
// was tried.
func (r *wrun) fateOf(h *wdelivery) string {
	r.attempts[h.x]++
	h.x.m.handled++
	ends := []string{"nil", "nil", "nil", "nil", "error", "error", "panic", "goexit", "release", "reject", "sleep"}
	n := r.p.w.hash(fmt.Sprintf("handle %s %d", h.x.m.name, h.x.m.handled))
	if n%97 == 0 {
		return "stop"
	}
	return ends[n%uint64(len(ends))]
}

// note marks what the end of a handler may do to its message.
func (r *wrun) note(h *wdelivery, end string) {
	r.ends[h] = end
	x := h.x
	r.p.w.tellCall("handler of %s ends: %s", x.m.name, end)
	if x.holder != h {
		return
	}
	h.unsure = true
	n := x.count
	switch end {
	case "nil", "sleep":
		x.mayBeGone = true
		if end == "sleep" { // it may have taken too long
			r.failed(x)
		}
	case "error", "panic", "goexit":
		r.failed(x)
	case "reject":
		x.doom(workqueue.ReasonRejected)
		x.blur()
	default:
		x.blur()
		n.least = max(0, n.least-1)
	}
	if x.count = n; r.c.disk.wasFull(wall()) { // then it may be given back as one that was not handled
		x.count.least = max(0, n.least-1)
	}
}

// failed notes that a handler of a copy has failed.
func (r *wrun) failed(x *wcopy) {
	n := r.a.int("attempts")
	if n == 0 {
		n = workqueue.DefaultDeliveryLimit
	}
	if tried := x.count.most + r.attempts[x]; tried > n || x.q.limit() > 0 && tried > x.q.limit() {
		x.doom(workqueue.ReasonDeliveryLimit)
		x.doom(workqueue.ReasonRejected)
	}
	x.blur()
}

// act ends a handler.
func act(end string) error {
	switch end {
	case "error":
		return errHandling
	case "panic":
		panic("the handler panics")
	case "goexit":
		runtime.Goexit()
	case "release":
		return pebblemq.Release(time.Second)
	case "reject":
		return pebblemq.Reject(errHandling)
	case "stop":
		return pebblemq.Stop(errStop)
	}
	return nil
}

// settle notes what a Run that has ended has surely done.
func (r *wrun) settle(o outcome) {
	now := wall()
	for h, end := range r.ends {
		x := h.x
		if r.c.disk.wasFull(o.from) {
			x.count.least = max(0, x.count.least-1)
		}
		if x.holder != h || o.err != nil {
			continue
		}
		longest := time.Minute
		if x.q.config.Retry != nil {
			longest = max(longest, x.q.config.Retry.Max*2)
		}
		switch {
		case end == "nil" && !h.over.maybe(now) && x.mayBeHere && !r.c.disk.wasFull(o.from): // a full disk may refuse it
			x.fate, x.holder = gone, nil
			if !r.c.syncs(false) {
				r.c.lose(func() { x.mayBeHere = true })
			}
		case end == "sleep":
		default:
			x.giveBack(span{x.ready.begun, r.p.w.event()})
			x.delayed, x.due, x.astray = true, moment{time.Time{}, now.Add(longest)}, true
			x.ready.ended = 0
		}
	}
}
