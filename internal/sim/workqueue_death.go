package main

import (
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/workqueue"
)

// reasons are those of a death.
var reasons = []string{workqueue.ReasonRejected, workqueue.ReasonExpired, workqueue.ReasonMaxLen, workqueue.ReasonDeliveryLimit}

// limit is how often a message is delivered; 0 is any number.
func (q *wqueue) limit() int { return max(0, q.config.DeliveryLimit) }

// mayDie reports that a copy may be dead, for whatever reason.
func (x *wcopy) mayDie(now time.Time) bool {
	return len(x.dying) > 0 || x.expires.maybe(now) || x.spent(now)
}

// mayDieOf reports the same for one reason.
func (x *wcopy) mayDieOf(reason string, now time.Time) bool {
	switch {
	case x.dying[reason]:
		return true
	case reason == workqueue.ReasonExpired:
		return x.expires.maybe(now)
	case reason == workqueue.ReasonDeliveryLimit:
		return x.spent(now)
	}
	return false
}

// spent reports that a copy may have been delivered as often as its queue allows.
func (x *wcopy) spent(now time.Time) bool {
	return x.q.limit() > 0 && x.count.most >= x.q.limit() && (x.holder == nil || !x.holder.surelyHeld(now))
}

// doom notes that a copy may die for a reason.
func (x *wcopy) doom(reason string) {
	if x.dying == nil {
		x.dying = make(map[string]bool)
	}
	x.dying[reason] = true
}

// destiny is what becomes of the dead letters of a queue.
type destiny struct {
	route *route
	drops bool // perhaps, or for sure if nothing else is possible
	stays bool // perhaps
}

// destinyOf returns what becomes of a copy that dies for a reason.
func (p *workqueuePart) destinyOf(x *wcopy, reason string) destiny {
	place := x.q.config.DeadLetter
	if place == nil {
		if x.q.config.DropDead || reason == workqueue.ReasonExpired || reason == workqueue.ReasonMaxLen {
			return destiny{drops: true}
		}
		r := &route{queues: make(map[*wqueue]bool)}
		if q := p.queueNamed(x.q.name + ".dead"); q != nil {
			r.queues[q] = true
		}
		return destiny{route: r, drops: r.surelyEmpty()}
	}
	keys := []string{place.Key}
	if place.Key == "" {
		keys = slices.Concat([]string{x.key}, x.cc)
	}
	d := destiny{route: p.routeOf(x.m, place.Exchange, keys)}
	if d.route.maybeEmpty() {
		d.drops, d.stays = place.DropIfMissing, !place.DropIfMissing
	}
	for q := range d.route.queues {
		d.stays = d.stays || q.mayRefuse()
		d.drops = d.drops || x.circles(q)
	}
	for _, list := range d.route.choices {
		d.drops = d.drops || slices.ContainsFunc(list, x.circles)
	}
	return d
}

// leadsTo reports that a dead letter may come to a queue.
func (d destiny) leadsTo(q *wqueue) bool {
	if d.route == nil {
		return false
	}
	_, ok := d.route.queues[q]
	return ok || slices.ContainsFunc(d.route.choices, func(list []*wqueue) bool { return slices.Contains(list, q) })
}

// refuses reports that a queue takes nothing while it is full.
func (q *wqueue) refuses() bool {
	overflow := q.config.Overflow
	return q.config.MaxLength > 0 && (overflow == workqueue.RejectPublish || overflow == workqueue.RejectDeadLetter && q.config.DeadLetter == nil)
}

// mayRefuse reports that a queue which is full may take nothing: it refuses that, or a message that should make
// room has no place to go.
func (q *wqueue) mayRefuse() bool {
	return q.refuses() || q.config.MaxLength > 0 && q.config.DeadLetter != nil
}

// circles reports that a dead letter comes to a queue that it has died in.
func (x *wcopy) circles(q *wqueue) bool {
	return q == x.q || slices.ContainsFunc(x.deaths, func(d wdeath) bool { return d.queue == q.name })
}

// after is the history of a copy that has died once more.
func (x *wcopy) after(reason string) []wdeath {
	latest := wdeath{x.q.name, reason, 1}
	var rest []wdeath
	for _, d := range x.deaths {
		if d.queue == latest.queue && d.reason == reason {
			latest.count = d.count + 1
		} else {
			rest = append(rest, d)
		}
	}
	return append([]wdeath{latest}, rest...)
}

// die notes that a copy has surely died since some event, as a call has told, or a queue in which
// it was seen. It returns what became of it there.
func (p *workqueuePart) die(x *wcopy, reason string, since uint64, when moment, seen *wqueue) *wcopy {
	for _, y := range x.letters { // of a death that a crash has undone
		y.fate = gone
	}
	x.letters = nil
	var found *wcopy
	d := p.destinyOf(x, reason)
	if d.route != nil {
		before := seen != nil && !d.leadsTo(seen) // it died before the route was changed
		for q, sure := range d.route.queues {
			if y := p.letter(x, reason, q, since, when, sure && !d.drops && !d.stays && !before || q == seen); q == seen {
				found = y
			}
		}
		for _, list := range d.route.choices {
			choice := &wchoice{none: d.drops || d.route.blurred || before}
			for _, q := range list {
				if _, ok := d.route.queues[q]; ok {
					choice.none = true
					continue
				}
				y := p.letter(x, reason, q, since, when, false)
				y.choice = choice
				choice.copies = append(choice.copies, y)
				if q == seen {
					found = y
				}
			}
		}
	}
	if found == nil && seen != nil {
		found = p.letter(x, reason, seen, since, when, true)
	}
	if x.fate = gone; d.stays && seen == nil {
		x.fate = unknown
	}
	x.holder = nil
	p.w.lose(x.revive)
	return found
}

// revive notes that a crash may have undone the death of a copy, or its move. Nothing has surely
// become of its letters since if they are still here: one or the other is.
func (x *wcopy) revive() {
	x.fate, x.coupled = unknown, len(x.letters) > 0
	for _, y := range x.letters {
		x.coupled = x.coupled && y.fate == here
		y.mayBeGone = true
	}
}

// forget notes that a crash may have undone the publishing of a copy, and all that came after.
func (x *wcopy) forget() { x.mayBeGone, x.coupled, x.undone = true, false, true }

// letter is a copy that has died, in another queue.
func (p *workqueuePart) letter(x *wcopy, reason string, q *wqueue, since uint64, when moment, sure bool) *wcopy {
	q.fed = true // more may have come that nobody has seen
	y := q.newCopy(x.m, p.w.event())
	y.born, y.deaths = x, x.after(reason)
	y.maybe, y.suspect, y.crashed = p.w.unclean, p.w.unclean, x.crashed // it may have died before the crash
	y.address(x)
	x.m.circles = x.m.circles || x.circles(q)
	p.w.tellCall("  %s#%d of %s has died as #%d of %s: %s, %v", x.m.name, x.number, x.q.name, y.number, q.name, reason, sure)
	y.count.most += q.blurs // it may have been there for any of them
	y.fate = unknown
	if sure {
		y.fate = here
	}
	y.returned = p.w.unclean || q.attended != 0 // it may have been out
	y.place = span{since, p.w.event()}
	y.astray = q == x.q // a redrive may bring it here as well, and nobody can tell the two apart
	y.ready = y.place
	y.due, y.delayed = moment{}, false
	y.setExpiry(0, when)
	x.letters = append(x.letters, y)
	return y
}

// address sets what a dead letter was published with: a key of its queue's, without CC, or what it
// had before.
func (x *wcopy) address(before *wcopy) {
	x.key, x.cc = before.key, before.cc
	switch place := before.q.config.DeadLetter; {
	case place == nil:
		x.exchange, x.key, x.cc = "", before.q.name+".dead", nil
	case place.Key != "":
		x.exchange, x.key, x.cc = place.Exchange, place.Key, nil
	default:
		x.exchange = place.Exchange
	}
}

// setExpiry begins the time to live of a copy that came to its queue at some moment.
func (x *wcopy) setExpiry(own time.Duration, from moment) {
	ttl := x.q.config.MessageTTL
	if own > 0 && (ttl == 0 || own < ttl) {
		ttl = own
	}
	if ttl > 0 {
		x.expires = from.in(ttl)
	} else {
		x.expires = moment{someday, someday}
	}
}

// newCopy is a copy that comes to a queue now.
func (q *wqueue) newCopy(m *wmessage, begun uint64) *wcopy {
	x := &wcopy{fate: unknown, m: m, q: q, expires: moment{someday, someday}, touched: q.purging > 0}
	x.place, x.ready = span{begun: begun}, span{begun: begun}
	x.exchange, x.key, x.cc = m.exchange, m.key, m.message.CC
	x.priority = min(m.message.Priority, q.config.MaxPriority)
	m.copies = append(m.copies, x)
	x.number = len(m.copies)
	q.copies = append(q.copies, x)
	q.squeeze()
	return x
}

// squeeze notes that a queue with a limit may have dropped any of its messages.
func (q *wqueue) squeeze() {
	limit := q.config.MaxLength
	if limit == 0 || q.refuses() {
		return
	}
	n := 0
	for _, x := range q.copies {
		if x.mayBeHere {
			n++
		}
	}
	if n <= limit && !q.fed { // nobody knows what comes to one that is fed
		return
	}
	now := wall()
	for _, x := range q.copies {
		if x.mayBeHere && (x.holder == nil || !x.holder.surelyHeld(now) || q.config.LimitTotal) {
			x.doom(workqueue.ReasonMaxLen)
		}
	}
}

// mayVanish reports that nobody need have seen what became of a copy: it may be dropped, or stay where
// nobody gets it.
func (p *workqueuePart) mayVanish(x *wcopy, now time.Time) bool {
	for _, reason := range reasons {
		if !x.mayDieOf(reason, now) {
			continue
		}
		if reason == workqueue.ReasonExpired && x.expires.maybe(p.changed) {
			return true // it may have expired when it led elsewhere
		}
		d := p.destinyOf(x, reason)
		if d.drops || d.stays || d.route == nil {
			return true
		}
		for q := range d.route.queues {
			if q.mayLose(now.Sub(x.m.sent.first)) {
				return true
			}
		}
		for _, list := range d.route.choices {
			if slices.ContainsFunc(list, func(q *wqueue) bool { return q.mayLose(now.Sub(x.m.sent.first)) }) {
				return true
			}
		}
	}
	return false
}

// mayLose reports that a dead letter may have left a queue again since it came there.
func (q *wqueue) mayLose(age time.Duration) bool {
	return q.config.MessageTTL > 0 && age >= q.config.MessageTTL || q.config.MaxLength > 0
}
