package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/workqueue"
)

// check compares what Browse and Stats show with what is known.
func (p *workqueuePart) check(c *client) {
	if p.broker == nil {
		return
	}
	p.resolve(c)
	p.refresh()
	for _, q := range slices.Clone(p.queues) {
		if q.q == nil && q.mayBeHere {
			p.lookUp(c, q)
		}
		if q.q == nil || c.fault != "" {
			continue
		}
		shown := p.checkBrowse(c, q)
		p.checkStats(c, q)
		if len(p.w.unsynced) == 0 {
			q.compact(shown)
		}
	}
}

// compact drops the copies that are gone for good.
func (q *wqueue) compact(shown map[*wcopy]bool) {
	isGone := func(x *wcopy) bool { return x.fate == gone && !shown[x] }
	q.copies = slices.DeleteFunc(q.copies, isGone)
}

// checkBrowse compares each message that Browse shows.
func (p *workqueuePart) checkBrowse(c *client, q *wqueue) map[*wcopy]bool {
	shown := make(map[*wcopy]bool)
	begun := wall()
	var latest *wcopy
	o := callWith(c, q.q, func(ctx context.Context, queue *workqueue.Queue) error {
		for b, err := range queue.Browse(ctx, nil) {
			if err != nil {
				return err
			}
			x := p.checkShown(c, q, b, shown)
			if x == nil || c.fault != "" {
				return nil
			}
			shown[x] = true
			latest = p.checkPlace(c, x, b, latest)
		}
		return nil
	})
	c.expects(o, "browse "+q.name)
	if !o.done() || c.fault != "" {
		return shown
	}
	for _, x := range q.copies {
		if x.mayBeHere && !shown[x] {
			p.checkHidden(c, x, begun)
		}
	}
	return shown
}

// checkHidden judges a copy that Browse does not show.
func (p *workqueuePart) checkHidden(c *client, x *wcopy, now time.Time) {
	switch {
	case x.coupled || len(x.moved) > 0:
	case x.mayDie(now):
		if p.onlyDrops(x, now) {
			x.leave(p.w)
		}
	case x.fate == here:
		c.fail("%s does not show %s", x.q.name, x.m.name)
	case len(x.letters) == 0:
		x.leave(p.w)
	}
}

// leave notes that a copy that may be gone is; a crash may bring it back.
func (x *wcopy) leave(w *world) {
	was := x.fate
	x.fate = gone
	w.lose(func() { x.fate.mayBeHere = was.mayBeHere })
}

// onlyDrops reports that a copy that has died is nowhere.
func (p *workqueuePart) onlyDrops(x *wcopy, now time.Time) bool {
	for _, reason := range reasons {
		if x.mayDieOf(reason, now) && p.destinyOf(x, reason).route != nil {
			return false
		}
	}
	return true
}

// mayGrow reports that more messages may come from elsewhere, or when their delay is over.
func (q *wqueue) mayGrow() bool {
	return q.fed || slices.ContainsFunc(q.copies, func(x *wcopy) bool { return x.mayBeHere && x.delayed })
}

// checkShown judges a message that Browse shows, and returns the copy that it is.
func (p *workqueuePart) checkShown(c *client, q *wqueue, b *workqueue.Browsed, shown map[*wcopy]bool) *wcopy {
	now := wall()
	name := nameOf(&workqueue.Delivery{Message: b.Message})
	m := p.messages[name]
	if m == nil {
		c.fail("%s shows %q, which nobody has published", q.name, name)
		return nil
	}
	x := p.identify(q, m, b.Deaths)
	if x == nil {
		c.fail("%s shows %s, which did not come there: deaths %+v", q.name, name, b.Deaths)
		return nil
	}
	what := fmt.Sprintf("%s shows %s, %s, delivered %d times,", q.name, name, b.State, b.DeliveryCount)
	c.tellCall("  %s due %s", what, b.Due.Sub(now))
	p.judgeShown(c, x, b, now, what, shown[x])
	wasHere := x.fate == here
	p.see(x)
	if b.State == workqueue.Ready {
		if x.q.redrives == 0 {
			x.moved = nil
		}
		for reason := range x.dying { // something may be on its way that has no room
			if reason != workqueue.ReasonMaxLen || !q.mayGrow() {
				delete(x.dying, reason)
			}
		}
		if !wasHere && x.ready.ended == 0 {
			if x.ready.ended = c.event(); c.disk.slow.Load() == 0 { // else it may be due and wait for room before it gets its place
				x.place.ended = c.event()
			}
		}
	}
	if b.State != workqueue.Unacked && (b.DeliveryCount == 0) == (x.count.least == 0) {
		was := x.count.most
		x.count.set(b.DeliveryCount)
		c.lose(func() { x.count.most = max(x.count.most, was) }) // a crash may undo that it was released
	}
	return x
}

// judgeShown compares the state of a message with what is known.
func (p *workqueuePart) judgeShown(c *client, x *wcopy, b *workqueue.Browsed, now time.Time, what string, twice bool) {
	held := x.holder != nil && x.holder.surelyHeld(now)
	switch {
	case twice && !x.m.circles:
		c.fail("%s twice", what)
	case !x.mayBeHere:
		c.fail("%s which is gone", what)
	case held && b.State != workqueue.Unacked:
		c.fail("%s which is unacknowledged", what)
	case x.holder == nil && b.State == workqueue.Unacked && x.q.spare(nil) == 0 && !x.mayDie(now) && x.q.under == 0 && !x.q.cut:
		c.fail("%s and nobody has it", what)
	case b.State == workqueue.Delayed && (!x.delayed || x.due.last.Before(now)) && c.disk.caughtUp():
		c.fail("%s whose delay is over", what)
	case b.State != workqueue.Delayed && x.delayed && !x.due.maybe(now) && !x.mayDie(now):
		c.fail("%s which is delayed for %s more", what, x.due.first.Sub(now))
	case b.State == workqueue.Ready && x.expires.last.Before(now) && x.expires.last.After(p.since) && c.disk.isCalm() && !x.q.mayBeJammed(now):
		c.fail("%s which has expired %s ago", what, now.Sub(x.expires.last))
	case b.State == workqueue.Ready && x.q.limit() > 0 && b.DeliveryCount >= x.q.limit() && c.life == 0: // else it may have been out when the store was closed
		c.fail("%s which is as often as it may be", what)
	}
}

// checkPlace compares the order of two messages. It returns the one that the next ones must not
// go before.
func (p *workqueuePart) checkPlace(c *client, x *wcopy, b *workqueue.Browsed, latest *wcopy) *wcopy {
	if b.State == workqueue.Delayed || x.front.begun != 0 || x.astray {
		return latest
	}
	if latest == nil || latest.priority != x.priority {
		if latest != nil && latest.priority < x.priority {
			c.fail("%s shows %s before %s, which has a higher priority", x.q.name, latest.m.name, x.m.name)
		}
		return x
	}
	if x.goesBefore(latest) {
		c.fail("%s shows %s before %s, which came first", x.q.name, latest.m.name, x.m.name)
	}
	if x.place.begun > latest.place.begun {
		return x
	}
	return latest
}

// checkStats compares the counters.
func (p *workqueuePart) checkStats(c *client, q *wqueue) {
	now := wall()
	var s workqueue.QueueStats
	o := callWith(c, q.q, func(ctx context.Context, queue *workqueue.Queue) (err error) {
		s, err = queue.Stats(ctx)
		return err
	})
	if c.expects(o, "stats of "+q.name); !o.done() {
		return
	}
	var all, delayed, unacked counted
	back := 0
	for _, x := range q.copies {
		sure := x.fate == here && !x.mayDie(now) && len(x.moved) == 0
		all.count(sure, x.mayBeHere)
		delayed.count(sure && x.delayed && !x.due.maybe(now), x.mayBeHere && x.delayed && (!x.due.last.Before(now) || !c.disk.caughtUp()))
		unacked.count(sure && x.holder != nil && x.holder.surelyHeld(now), x.mayBeHere && (x.holder != nil || x.mayDie(now) || x.q.cut))
		if x.mayBeHere && (x.returned || x.m.message.Delay > 0 || x.holder != nil && x.holder.over.maybe(now)) {
			back++
		}
	}
	all.most += p.arrivals(q, now)
	unacked.most += q.spare(nil)
	for _, look := range []struct {
		what  string
		is    uint64
		known counted
	}{{"messages", s.Ready + s.Unacked + s.Delayed, all}, {"delayed messages", s.Delayed, delayed}, {"unacknowledged messages", s.Unacked, unacked}} {
		if !look.known.holds(int(look.is)) {
			c.fail("%s has %d %s, not %d to %d: %+v", q.name, look.is, look.what, look.known.least, look.known.most, s)
		}
	}
	p.judgeLimit(c, q, s, back)
	p.judgeIdle(c, q, s)
}

// arrivals is how many dead letters of other queues may be here that nobody has seen yet.
func (p *workqueuePart) arrivals(q *wqueue, now time.Time) (n int) {
	for _, other := range slices.Concat(p.queues, p.ghosts) {
		for _, x := range other.copies {
			if x.mayBeHere && (x.mayDie(now) && (q.fed || q.implicit) || x.moved[q]) {
				n++
			}
		}
	}
	return n
}

// judgeLimit complains about a queue that holds more than it may. What came back is not refused.
func (p *workqueuePart) judgeLimit(c *client, q *wqueue, s workqueue.QueueStats, back int) {
	n := int(s.Ready)
	if q.config.LimitTotal {
		n += int(s.Unacked + s.Delayed)
	}
	if q.config.MaxLength > 0 && n > q.config.MaxLength+back+q.spare(nil) {
		c.fail("%s holds %d messages, its limit is %d: %+v", q.name, n, q.config.MaxLength, s)
	}
}

// judgeIdle complains about consumers with room that do not get what is ready.
func (p *workqueuePart) judgeIdle(c *client, q *wqueue, s workqueue.QueueStats) {
	if s.Ready == 0 || q.paused != gone || q.config.SingleActive || len(q.open) == 0 || !c.disk.well() || c.disk.wasFull(wall()) || q.mayBeJammed(wall()) {
		return
	}
	room := 0
	for _, k := range q.open {
		if !k.ended && k.c != nil {
			room += k.prefetch
		}
	}
	waits := slices.ContainsFunc(q.copies, func(x *wcopy) bool { return x.passedOver(c) })
	if int(s.Unacked) < room && !waits {
		c.fail("%s has %d messages ready, and its consumers have room: %+v", q.name, s.Ready, s)
	}
}

// settle takes all that is left, and complains about what does not come.
func (p *workqueuePart) settle(c *client) {
	if p.broker == nil {
		return
	}
	p.resolve(c)
	for name := range p.consumers {
		p.closeConsumer(c, args{"consumer": name})
	}
	rounds := 0
	for empty := 0; empty < 2; { // a message may die in the last queue and come to the first one
		left := p.drainAll(c)
		if empty++; left {
			empty = 0
		}
		if rounds++; rounds == 100 || c.fault != "" {
			break
		}
		c.mu.Unlock()
		time.Sleep(time.Hour)
		c.mu.Lock()
	}
	p.refresh()
	now := wall()
	for _, q := range p.queues {
		for _, x := range q.copies {
			p.judgeLost(c, x, now)
		}
	}
}

// judgeLost complains about a copy that nobody has seen again.
func (p *workqueuePart) judgeLost(c *client, x *wcopy, now time.Time) {
	if c.fault != "" || !x.mayBeHere || x.mayBeGone && !x.coupled || len(x.moved) > 0 || p.mayVanish(x, now) || x.q.mayBeJammed(now) {
		return
	}
	if x.coupled && (len(x.letters) == 0 || slices.ContainsFunc(x.letters, func(y *wcopy) bool { return !y.mayBeHere || y.q.mayLose(now.Sub(x.m.sent.first)) })) {
		return
	}
	c.fail("%s of %s is lost", x.m.name, x.q.name)
}

// drainAll gets and acknowledges what there is, and reports whether something may be left.
func (p *workqueuePart) drainAll(c *client) (left bool) {
	for i := 0; i < len(p.queues) && c.fault == ""; i++ {
		q := p.queues[i]
		if q.q == nil {
			if p.lookUp(c, q); q.q == nil {
				continue
			}
		}
		if q.paused.mayBeHere {
			p.resume(c, args{"queue": q.name})
		}
		for c.fault == "" {
			n := len(q.held)
			left = left || n > 0
			p.each(p.ack)(c, args{"queue": q.name, "n": fmt.Sprint(n)})
			if !p.getOne(c, q.name) && len(q.held) == 0 {
				break
			}
		}
		var s workqueue.QueueStats
		o := callWith(c, q.q, func(ctx context.Context, queue *workqueue.Queue) (err error) {
			s, err = queue.Stats(ctx)
			return err
		})
		if c.expects(o, "stats of "+q.name); s.Ready > 0 && c.fault == "" && !p.w.unclean && p.w.disk.caughtUp() && !q.mayBeJammed(wall()) {
			c.fail("%s has %d messages ready, and none comes: %+v", q.name, s.Ready, s)
		}
		left = left || s.Ready+s.Delayed+s.Unacked > s.Stuck.Total()
	}
	return left
}
