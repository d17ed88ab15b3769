package main

import (
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/workqueue"
)

// identify finds the copy that a delivery or a look at a queue shows, nil if it cannot be there.
func (p *workqueuePart) identify(q *wqueue, m *wmessage, deaths []workqueue.Death) *wcopy {
	if x := p.trace(m, q, deaths, 0, true); x != nil && x.mayBeHere {
		return x
	}
	p.refresh()
	p.overfill()
	x := p.trace(m, q, deaths, maxHops, true)
	if x != nil && !x.mayBeHere && m.circles {
		x.fate = unknown
	}
	if x == nil {
		return p.stranger(q, m, deaths)
	}
	return x
}

// stranger is a copy of a message that died and was redriven more often than can be traced; nil if it
// was not.
func (p *workqueuePart) stranger(q *wqueue, m *wmessage, deaths []workqueue.Death) *wcopy {
	hops, was := 0, make([]wdeath, 0, len(deaths))
	for _, d := range deaths {
		hops += 2 * d.Count
		was = append(was, wdeath{d.Queue, d.Reason, d.Count})
	}
	everRedriven := slices.ContainsFunc(slices.Concat(p.queues, p.ghosts), func(o *wqueue) bool { return o.redriven })
	if hops <= maxHops || !everRedriven {
		return nil
	}
	x := p.surprise(q, m)
	x.deaths, x.strange, x.astray = was, true, true
	x.expires = moment{time.Time{}, someday}
	return x
}

// overfill notes which queues with a limit may have got dead letters that nobody has seen, and may have
// dropped others for them.
func (p *workqueuePart) overfill() {
	for _, q := range p.queues {
		if q.config.MaxLength > 0 && p.mayBeFed(q) {
			q.fed = true
			q.squeeze()
		}
	}
}

func (p *workqueuePart) mayBeFed(q *wqueue) bool {
	now := wall()
	for _, other := range slices.Concat(p.queues, p.ghosts) {
		for _, x := range other.copies {
			if other == q || !x.mayBeHere {
				continue
			}
			for _, reason := range reasons {
				if x.mayDieOf(reason, now) && p.destinyOf(x, reason).leadsTo(q) {
					return true
				}
			}
		}
	}
	return false
}

// surprise is a copy in a queue that a message came to while the topology was changing.
func (p *workqueuePart) surprise(q *wqueue, m *wmessage) *wcopy {
	x := q.newCopy(m, m.begun)
	if x.delayed = m.message.Delay > 0; x.delayed {
		x.due = m.sent.in(m.message.Delay)
	}
	x.setExpiry(m.message.TTL, x.from())
	if q.config.MaxLength > 0 && !q.refuses() {
		x.doom(workqueue.ReasonMaxLen)
	}
	x.maybe, x.suspect, x.crashed = p.w.unclean, p.w.unclean, p.w.unclean
	x.count.most += q.blurs
	x.returned = p.w.unclean || q.attended != 0
	return x
}

// maxHops is how often a message may have died, or have been redriven, without being seen in
// between.
const maxHops = 6

// trace finds the copy in a queue that has some deaths. One that nobody has seen there comes from
// another one that may have died, or that a redrive may have moved; that may not have been seen
// either. Was says that it was surely there, however it came there.
func (p *workqueuePart) trace(m *wmessage, q *wqueue, deaths []workqueue.Death, hops int, was bool) (gone *wcopy) {
	for _, x := range m.copies {
		if x.q == q && sameDeaths(x.deaths, deaths) {
			if x.mayBeHere {
				return x
			}
			gone = x
		}
	}
	if hops > 0 && len(deaths) == 0 && gone == nil && (m.moved || m.ended == 0 && m.version != p.version) {
		return p.surprise(q, m)
	}
	if hops == 0 || len(deaths) == 0 {
		return gone
	}
	if x := p.traceRedrive(m, q, deaths, hops-1); x != nil {
		return p.arrive(x, q)
	}
	source := p.everNamed(deaths[0].Queue)
	if source == nil {
		return gone
	}
	x := p.traceDeath(m, source, deaths, hops-1)
	if x == nil || !was && !p.destinyOf(x, deaths[0].Reason).leadsTo(q) {
		return gone
	}
	return p.die(x, deaths[0].Reason, x.m.begun, moment{deaths[0].Latest, deaths[0].Latest.Add(time.Microsecond)}, q)
}

// traceRedrive finds a dead letter in another queue that a redrive may have moved to this one.
func (p *workqueuePart) traceRedrive(m *wmessage, q *wqueue, deaths []workqueue.Death, hops int) *wcopy {
	for _, x := range m.copies {
		if x.moved[q] && x.mayBeHere && sameDeaths(x.deaths, deaths) {
			return x
		}
	}
	if deaths[0].Queue != q.name {
		return nil
	}
	for _, other := range p.queues { // it may have come to another one after the redrive was begun
		if other == q || !other.redriven {
			continue
		}
		if x := p.trace(m, other, deaths, hops, false); x != nil && x.mayBeHere {
			return x
		}
	}
	return nil
}

// traceDeath finds the copy in a queue that may have died there last, with one of the histories that it
// may have had before.
func (p *workqueuePart) traceDeath(m *wmessage, q *wqueue, deaths []workqueue.Death, hops int) *wcopy {
	for _, before := range before(deaths) {
		if x := p.trace(m, q, before, hops, true); x != nil && x.mayBeHere && x.mayDieOf(deaths[0].Reason, wall()) {
			return x
		}
	}
	return nil
}

// before returns what the history of a message may have been before its latest death. Deaths of one
// queue and reason are one entry, which the latest one puts before the others: where it was is lost.
func before(deaths []workqueue.Death) (histories [][]workqueue.Death) {
	latest, rest := deaths[0], deaths[1:]
	if latest.Count--; latest.Count == 0 {
		return [][]workqueue.Death{rest}
	}
	for i := range len(rest) + 1 {
		histories = append(histories, slices.Insert(slices.Clone(rest), i, latest))
	}
	return histories
}

// everNamed returns a queue that is there or was.
func (p *workqueuePart) everNamed(name string) *wqueue {
	for _, q := range slices.Concat(p.queues, p.ghosts) {
		if q.name == name {
			return q
		}
	}
	return nil
}

// sameDeaths compares two histories. Their order tells apart what has come on two ways.
func sameDeaths(known []wdeath, deaths []workqueue.Death) bool {
	return slices.EqualFunc(known, deaths, func(k wdeath, d workqueue.Death) bool { return k == wdeath{d.Queue, d.Reason, d.Count} })
}

// arrive notes that a redrive has moved a copy.
func (p *workqueuePart) arrive(x *wcopy, q *wqueue) *wcopy {
	q.fed = true // more may have come that nobody has seen
	y := q.newCopy(x.m, x.place.begun)
	y.fate, y.deaths, y.born = here, x.deaths, x
	y.maybe, y.suspect, y.crashed = p.w.unclean, p.w.unclean, x.crashed
	if b := x.born; b != nil { // as it was published there
		y.exchange, y.key, y.cc = b.exchange, b.key, b.cc
	}
	p.w.tellCall("  %s#%d of %s has come back as #%d of %s", x.m.name, x.number, x.q.name, y.number, q.name)
	y.count.most += q.blurs
	y.returned = p.w.unclean || q.attended != 0
	y.place.ended = p.w.event()
	y.ready = y.place
	y.setExpiry(0, moment{x.m.sent.first, wall()})
	x.fate = gone
	x.letters = append(x.letters, y)
	p.w.lose(x.revive)
	return y
}

// see notes that a copy is in its queue: those that exclude it are not. A crash may still lose what
// nobody was told to be there.
func (p *workqueuePart) see(x *wcopy) {
	if x.fate == unknown && x.born == nil {
		p.w.lose(x.forget)
	}
	x.touched, x.undone = true, false // what the end of its publishing says is known
	if x.fate = here; x.choice != nil {
		for _, o := range x.choice.copies {
			if o != x {
				o.fate = gone
			}
		}
		x.choice = nil
	}
	for b := x.born; b != nil; b = b.born {
		b.fate, b.coupled = gone, false
	}
	x.coupled = false
	for _, y := range x.letters {
		y.fate = gone
	}
	x.letters = nil
}
