package main

import (
	"slices"
	"time"
)

// expires is when the retention of a message is over. One may stand behind another that was sent
// before the clock was set back.
func (m *vmessage) expires() moment {
	from := moment{m.sent.first, latest(m.sent.last)}
	if m.delayed {
		from = moment{m.due.first, latest(m.due.last)}
	}
	if m.home.altering > 0 {
		return moment{last: someday}
	}
	if m.died || len(m.others) > 0 || from.last.Equal(someday) { // of a dead letter it begins anew if it would be over
		return moment{from.first.Add(m.home.config.Retention), someday}
	}
	e := from.in(m.home.config.Retention)
	if q := m.home; q.dead != nil && m.receives.most >= q.config.MaxReceives { // it may be there already
		e.first = from.first.Add(min(q.config.Retention, q.dead.config.Retention))
	}
	return e
}

// mayDie reports that a message may be a dead letter.
func (m *vmessage) mayDie(t time.Time) bool {
	q := m.home
	if q.altering > 0 && (q.dead != nil || q.next.DeadLetterQueue != "") {
		return true
	}
	return q.dead != nil && q.config.MaxReceives > 0 && m.receives.most >= q.config.MaxReceives && m.free.maybe(t)
}

// mayLeave reports that a message may be elsewhere than in its queue.
func (m *vmessage) mayLeave(t time.Time) bool {
	return len(m.others) > 0 || m.mayDie(t) || m.expires().maybe(t)
}

// leadsTo reports that what dies in a queue may come to be in another one, perhaps by dying again.
func (q *vqueue) leadsTo(o *vqueue) bool {
	for dead, hops := q.dead, 0; dead != nil && hops < 8; dead, hops = dead.dead, hops+1 {
		if dead == o {
			return true
		}
	}
	return false
}

// mayBeIn reports that a message may be in a queue.
func (m *vmessage) mayBeIn(q *vqueue, t time.Time) bool {
	if m.home == q || slices.Contains(m.others, q) {
		return true
	}
	h := m.home
	if h.altering > 0 && h.next.DeadLetterQueue == q.name {
		return true
	}
	if !m.mayDie(t) && !(h.config.DeadLetterExpired && m.expires().maybe(t)) {
		return false
	}
	return h.leadsTo(q)
}

// mayHold returns the messages that may be in a queue.
func (q *vqueue) mayHold() (list []*vmessage) {
	for _, from := range q.part.queues {
		for _, m := range from.messages {
			if from == q || m.mayBeIn(q, wall()) {
				list = append(list, m)
			}
		}
	}
	return list
}

// move notes that a message was seen in a queue. A crash may take it back.
func (p *visibilityPart) move(c *client, m *vmessage, q *vqueue) {
	from := m.home
	if m.others = nil; q.moving > 0 {
		p.mayGoAnywhere(m, q)
	}
	if from == q {
		return
	}
	from.messages = slices.DeleteFunc(from.messages, func(o *vmessage) bool { return o == m })
	q.messages = append(q.messages, m)
	m.home, m.died = q, true
	if m.unsure {
		m.blur(q.unclearUntil)
	} else {
		m.receives, m.free = counted{}, moment{last: q.unclearUntil}
		if !q.unclearUntil.IsZero() {
			m.blur(q.unclearUntil)
		}
	}
	m.due = m.sent // its delay is over
	c.lose(func() {
		m.others = append(m.others, from)
		m.blur(m.free.last)
	})
}
