package main

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/visibility"
)

func (p *visibilityPart) drawReceive() args {
	w, a := p.w, p.drawQueue()
	if a == nil {
		return nil
	}
	a["n"] = fmt.Sprint(w.upTo(10))
	if w.likes("thousands") && w.chance(10) {
		a["n"] = "1000"
	}
	if w.chance(4) {
		a["hidden"] = oneOf(w, "1s", "2s", "30s", "10m")
	}
	if w.likes("no timeouts") && w.chance(10) {
		a["hidden"] = "-1ns"
	}
	if w.likes("attempts") && w.chance(4) {
		a["attempt"] = oneOf(w, "x", "y")
	}
	if w.likes("waits") && w.chance(3) {
		a["wait"] = oneOf(w, "1ms", "1s", "30s", "1h")
	}
	if w.chance(10) && canEmpty(a) {
		a["emptying"] = "yes"
	}
	return a
}

// canEmpty reports that receives in a row return each message once.
func canEmpty(a args) bool { return !a.has("attempt") && !a.has("wait") && a["hidden"] != "-1ns" }

func (p *visibilityPart) receive(c *client, a args) {
	q := p.named(a["queue"])
	if q == nil {
		return
	}
	hidden, patient := max(0, q.hiddenFor(a)), isPatient(c, a)
	ready := p.ready(q, wall())
	crowd := q.crowd(wall())
	var found []*visibility.Received
	emptied := false
	options := &visibility.ReceiveOptions{Max: a.int("n"), VisibilityTimeout: a.span("hidden"), Wait: a.span("wait"), AttemptID: a["attempt"]}
	end := q.use()
	o := callWith(c, q.q, func(ctx context.Context, queue *visibility.Queue) (err error) {
		if a.has("emptying") && canEmpty(a) {
			found, emptied, err = empty(ctx, queue, options)
			return err
		}
		found, err = p.receiveFrom(ctx, queue, options)
		emptied = len(found) < options.Max
		return err
	})
	quiet := end()
	c.expects(o, "receive from "+q.name, q.deleted(), q.mayBeFull())
	c.tellCall("%s: received %s, error %v", q.name, listed(found), o.err)
	if o.unclear() {
		q.attempts[a["attempt"]] = vattempt{vague: true, life: c.life, to: o.to}
		q.blur(o, hidden)
		return
	}
	if !o.done() {
		return
	}
	if a.has("attempt") && q.repeats(c, o, a["attempt"], found, quiet) {
		return
	}
	if len(found) > a.int("n") && !a.has("emptying") {
		c.fail("%d messages of %s received, %s asked for", len(found), q.name, a["n"])
	}
	if !a.has("emptying") || o.to.Sub(o.from) < hidden { // else the first ones may have come back
		q.judgeFlying(c, o, crowd, found, hidden)
	}
	got := make(map[*vmessage]bool)
	for _, r := range found {
		if p.judge(c, o, q, r, hidden, quiet, got); c.fault != "" {
			return
		}
	}
	if a.has("attempt") && len(q.held) >= len(found) {
		at := q.attempts[a["attempt"]]
		at.receipts = slices.Clone(q.held[len(q.held)-len(found):])
		q.attempts[a["attempt"]] = at
	}
	if quiet && c.disk.wasWell(o.from) {
		p.judgeRest(c, o, q, got, ready, emptied && q.config.MaxInFlight == 0 && patient)
		q.judgeFairness(c, crowd, ready, got)
	}
}

// empty receives in a row until nothing comes. An error after the first receive ends that, too: what
// has come counts.
func empty(ctx context.Context, q *visibility.Queue, o *visibility.ReceiveOptions) (found []*visibility.Received, emptied bool, err error) {
	for {
		more, err := q.Receive(ctx, o)
		switch {
		case err != nil && len(found) == 0:
			return nil, false, err
		case err != nil:
			return found, false, nil
		case len(more) == 0:
			return found, true, nil
		}
		found = append(found, more...)
	}
}

// isPatient reports that a receive waits for what is on its way from the disk: one without a Wait
// does, and one whose Wait is long enough.
func isPatient(c *client, a args) bool {
	return !a.has("wait") || c.disk.slow.Load() == 0 || a.span("wait") >= patience(c)
}

// vattempt is what a receive with an AttemptID has returned.
type vattempt struct {
	life     int
	from, to time.Time
	began    uint64
	receipts []vreceipt
	vague    bool // nobody knows
}

// repeats reports that a receive has returned what an earlier one with its AttemptID has. It may do so
// as long as nothing became of those messages, and must.
func (q *vqueue) repeats(c *client, o outcome, id string, found []*visibility.Received, quiet bool) bool {
	was := q.attempts[id]
	if !quiet || was.vague && was.life == c.life && o.from.Before(was.to.Add(visibility.AttemptWindow)) { // nobody knows whether it is the result of another one
		for _, r := range found {
			m := q.part.byID[r.ID]
			if m != nil {
				switch {
				case m.mayBeIn(q, o.to):
					q.part.move(c, m, q)
				case m.home != q && !slices.Contains(m.others, q): // it has died
					m.others = append(m.others, q)
				}
				m.blur(r.VisibleAt)
				m.changed = c.event()
				q.held = append(q.held, vreceipt{m, r.Receipt, c.life, c.event()})
			}
		}
		q.attempts[id] = vattempt{vague: true, life: c.life, to: o.to}
		return true
	}
	same := len(was.receipts) > 0 && was.life == c.life && len(found) == len(was.receipts)
	for n := 0; same && n < len(found); n++ {
		same = found[n].Receipt == was.receipts[n].receipt
	}
	if same && !o.from.Before(was.to.Add(visibility.AttemptWindow)) {
		c.fail("a receive from %s is repeated after %s", q.name, o.from.Sub(was.to))
	}
	if same {
		for _, r := range was.receipts {
			if r.m.changed < o.began && (r.m.fate == gone || r.m.free.surely(o.from)) && quiet {
				c.fail("a receive from %s is repeated, though %s is not in flight any more", q.name, r.m.id)
			}
		}
		return true
	}
	if quiet && was.valid(c, o) {
		c.fail("a receive from %s was not repeated %s later by its AttemptID", q.name, o.from.Sub(was.from))
	}
	q.attempts[id] = vattempt{life: c.life, from: o.from, to: o.to, began: o.began}
	return false
}

// valid reports that a receive is repeated by its AttemptID.
func (a vattempt) valid(c *client, o outcome) bool {
	if len(a.receipts) == 0 || a.life != c.life || !latest(o.to).Before(a.from.Add(visibility.AttemptWindow)) {
		return false
	}
	for _, r := range a.receipts {
		if m := r.m; m.fate != here || m.unsure || m.receipt != r.receipt || m.free.maybe(o.to) || m.mayLeave(o.to) || m.changedSince(r) {
			return false
		}
	}
	return true
}

// changedSince reports that a message was used since it was received.
func (m *vmessage) changedSince(r vreceipt) bool { return m.changed > r.at }

// judgeFlying complains if more messages are in flight than may be.
func (q *vqueue) judgeFlying(c *client, o outcome, crowd map[string]int, found []*visibility.Received, hidden time.Duration) {
	most := q.config.MaxInFlight
	if most == 0 || hidden == 0 || q.altering > 0 || q.alteredAt > o.began {
		return
	}
	n := 0
	for _, m := range q.messages {
		if m.home == q && m.fate == here && !m.free.maybe(o.to) && !m.mayLeave(o.to) && m.changed < o.began {
			n++
		}
	}
	if len(found) > 0 && n+len(found) > most {
		c.fail("%s has %d messages in flight, and %d may be", q.name, n+len(found), most)
	}
}

// mayBeFull is the error of a receive when as many messages are in flight as may be.
func (q *vqueue) mayBeFull() error {
	if q.config.MaxInFlight > 0 || q.altering > 0 {
		return visibility.ErrInFlightLimit
	}
	return nil
}

// blur notes that any message of a queue may have been received.
func (q *vqueue) blur(o outcome, hidden time.Duration) {
	q.unclearUntil = later(q.unclearUntil, o.to.Add(hidden))
	for _, m := range q.messages {
		if m.mayBeHere {
			m.blur(o.to.Add(hidden))
		}
	}
}

// plenty is more than anything is counted to.
const plenty = 1 << 30

// blur notes that nobody knows how often a message was received, and whether it is hidden until
// then.
func (m *vmessage) blur(until time.Time) {
	m.unsure = true
	m.receives = counted{0, plenty}
	m.free = moment{last: later(m.free.last, until)}
}

// judge compares a message that was received with what is known of it. Alone says that nobody
// else used the queue meanwhile.
func (p *visibilityPart) judge(c *client, o outcome, q *vqueue, r *visibility.Received, hidden time.Duration, alone bool, before map[*vmessage]bool) {
	m := p.byID[r.ID]
	if m == nil {
		c.fail("%s received %q, which nobody has sent", q.name, r.ID)
		return
	}
	what := fmt.Sprintf("%s, received from %s for the %d. time,", m.id, q.name, r.ReceiveCount)
	untouched := m.changed < o.began
	if !m.mayBeIn(q, o.to) {
		if untouched && !(m.home.under > 0 && m.home.leadsTo(q)) { // it may have died of a call that is under way
			c.fail("%s is a message of %s: %d to %d receives", what, m.home.name, m.receives.least, m.receives.most)
		}
		return
	}
	if untouched || m.home != q { // else it may have left again
		p.move(c, m, q)
	}
	if before[m] && hidden > 0 && o.to.Sub(o.from) >= hidden { // several receives in a row took that long
		m.blur(r.VisibleAt)
		m.receipt, m.changed = r.Receipt, c.event()
		q.held = append(q.held, vreceipt{m, r.Receipt, c.life, c.event()})
		return
	}
	switch {
	case before[m]:
		c.fail("%s is in the result twice", what)
	case !reflect.DeepEqual(r.Attributes, c.attributesOf(m.id)):
		c.fail("%s has the attributes %v", what, r.Attributes)
	case !bytes.Equal(r.Body, m.body) || r.Group != m.group:
		c.fail("%s has another body or group", what)
	case q.dead != nil && r.ReceiveCount > q.config.MaxReceives && q.config.MaxReceives > 0 && alone && q.alteredAt < o.began:
		c.fail("%s should be a dead letter after %d", what, q.config.MaxReceives)
	case hidden > 0 && q.alteredAt < o.began && q.altering == 0 && (r.VisibleAt.Before(o.from.Add(hidden)) || r.VisibleAt.After(o.to.Add(hidden))):
		c.fail("%s is hidden until %s from now, not for %s", what, r.VisibleAt.Sub(o.to), hidden)
	case !m.priority.holds(int(r.Priority)) && !m.died:
		c.fail("%s has priority %d, not %d to %d", what, r.Priority, m.priority.least, m.priority.most)
	case !m.due.maybe(o.to):
		c.fail("%s is delayed for %s more", what, m.due.first.Sub(o.to))
	case m.expires().surely(o.from):
		c.fail("%s should be gone since %s", what, o.from.Sub(m.expires().last))
	}
	before[m] = true
	defer func() { q.held = append(q.held, vreceipt{m, r.Receipt, c.life, c.event()}) }()
	if !untouched || !alone {
		p.judgeAmong(c, o, m, what, untouched)
		m.blur(r.VisibleAt)
		m.receipt, m.changed = r.Receipt, c.event()
		return
	}
	p.judgeAlone(c, o, q, m, r, what, before)
	p.w.durable(c, o, false)
}

// judgeAmong compares a message that was received while others used the queue.
func (p *visibilityPart) judgeAmong(c *client, o outcome, m *vmessage, what string, untouched bool) {
	switch {
	case untouched && !m.mayBeHere:
		c.fail("%s is gone", what)
	case untouched && !m.free.maybe(o.to):
		c.fail("%s is hidden for %s more", what, m.free.first.Sub(o.to))
	}
}

// judgeAlone compares a message that was received while nobody else used the queue, and so is
// known exactly.
func (p *visibilityPart) judgeAlone(c *client, o outcome, q *vqueue, m *vmessage, r *visibility.Received, what string, before map[*vmessage]bool) {
	switch {
	case !m.mayBeHere:
		c.fail("%s is gone", what)
	case !m.free.maybe(o.to):
		c.fail("%s is hidden for %s more", what, m.free.first.Sub(o.to))
	case r.ReceiveCount <= m.receives.least || r.ReceiveCount > m.receives.most+1:
		c.fail("%s was received %d to %d times before", what, m.receives.least, m.receives.most)
	}
	if q.config.FIFO {
		p.judgeGroup(c, o, q, m, what, before)
	}
	was := *m
	m.fate = here
	m.receives.set(r.ReceiveCount)
	m.free, m.receipt, m.unsure, m.changed = at(later(r.VisibleAt, o.to)), r.Receipt, false, c.event()
	if r.VisibleAt.IsZero() || !r.VisibleAt.After(o.to) {
		m.free = moment{o.from, o.to}
	}
	c.lose(func() {
		m.receives.least = min(m.receives.least, was.receives.least)
		m.free.first, m.unsure = time.Time{}, true
	})
}

// judgeGroup compares the order within a group.
func (p *visibilityPart) judgeGroup(c *client, o outcome, q *vqueue, m *vmessage, what string, got map[*vmessage]bool) {
	for _, a := range q.messages {
		if a.group == m.group && a.before(m) && a.stays(o) && !got[a] {
			c.fail("%s overtakes %s of its group", what, a.id)
			return
		}
	}
}

// stays reports that a message was in its queue during a whole call, and neither delayed nor
// dead.
func (m *vmessage) stays(o outcome) bool {
	return m.fate == here && m.changed < o.began && m.due.surely(o.from) && !m.mayLeave(o.to) && !m.died
}

// before reports that a message was sent before another one, without a delay.
func (m *vmessage) before(o *vmessage) bool {
	if m.delayed || o.delayed || m.died || o.died || m.ended == 0 {
		return false
	}
	return m.ended < o.begun || m.batch == o.batch && m.place < o.place
}

// judgeRest complains about what was not received and should have been.
func (p *visibilityPart) judgeRest(c *client, o outcome, q *vqueue, got map[*vmessage]bool, ready []*vmessage, all bool) {
	for _, a := range ready {
		if got[a] || a.expires().maybe(o.to) {
			continue
		}
		if all {
			p.failWithheld(c, o, q, a, len(got))
			return
		}
		if o.mayMiss(c.disk, later(later(a.sent.last, a.due.last), a.free.last)) {
			continue
		}
		for m := range got {
			if !q.config.FIFO && !q.tenants && a.before(m) && a.priority.least >= m.priority.most || a.priority.least > m.priority.most && !m.died && !a.died {
				c.failOrder(q, m, a)
				return
			}
		}
	}
}

// failOrder tells of a message that was received before another one, which comes first.
func (c *client) failOrder(q *vqueue, m, first *vmessage) {
	if c.life == 0 { // else others come before what was in flight when the process died, or has to be read
		c.fail("%s was received from %s before %s, which comes first", m.id, q.name, first.id)
	}
}

// failWithheld tells of a message that is visible and was not received.
func (p *visibilityPart) failWithheld(c *client, o outcome, q *vqueue, m *vmessage, found int) {
	const text = "%s of %s is visible since %s, and a receive that found %d and asked for more does not find it"
	var since time.Time
	for _, a := range q.messages { // those of its group may have been in its way
		t := a.free.last
		if a.delayed {
			t = later(t, a.due.last)
		}
		if (a == m || q.config.FIFO && a.group == m.group) && !t.After(o.to) {
			since = later(since, t)
		}
	}
	values := []any{m.id, q.name, o.from.Sub(later(since, m.sent.last)), found}
	switch {
	case found > 0 && o.among && o.from.Sub(later(since, m.sent.last)) < lasting:
		// It is a NoSync change behind a Sync change that is on its way to the disk. A receive that
		// has found something does not wait for it.
	case c.unclean: // what was in flight when the process died comes one at a time
	case found > 0 && (q.config.MaxPriority > 0 || c.life > 0): // the others have to be read
	default:
		c.fail(text, values...)
	}
}

// ready returns the messages that a receive must find. Of a group of a FIFO queue that is the
// first one.
func (p *visibilityPart) ready(q *vqueue, t time.Time) (list []*vmessage) {
	blocked := make(map[string]bool)
	if q.config.FIFO {
		for _, m := range q.messages {
			if m.mayBeHere && (!m.free.surely(t) || m.mayLeave(t)) {
				blocked[m.group] = true
			}
		}
	}
	for _, m := range q.messages {
		if m.home != q || m.fate != here || !m.due.surely(t) || !m.free.surely(t) || m.mayLeave(t) || blocked[m.group] {
			continue
		}
		list = append(list, m)
		if q.config.FIFO {
			blocked[m.group] = true
		}
	}
	return list
}

// crowd returns how many messages of each tenant are surely in flight.
func (q *vqueue) crowd(t time.Time) map[string]int {
	if !q.tenants {
		return nil
	}
	count := make(map[string]int)
	for _, m := range q.messages {
		if m.fate == here && !m.free.maybe(t) {
			count[m.group]++
		}
	}
	return count
}

// judgeFairness complains if a tenant that has nearly everything in flight is preferred to one
// that has nothing.
func (q *vqueue) judgeFairness(c *client, crowd map[string]int, ready []*vmessage, got map[*vmessage]bool) {
	total := 0
	for _, n := range crowd {
		total += n
	}
	for m := range got {
		if n := crowd[m.group]; n < 10 || n*10 < total*9 {
			continue
		}
		for _, quiet := range ready {
			if c.unclean && quiet.receives.most > 0 { // what was in flight when the process died comes one at a time
				continue
			}
			if quiet.group != "" && crowd[quiet.group] == 0 && !got[quiet] && quiet.priority.least >= m.priority.most && !groupIn(got, quiet.group) && !q.waitsLonger() {
				c.fail("%s of tenant %s, with %d in flight, was received before %s of tenant %s, with none", m.id, m.group, crowd[m.group], quiet.id, quiet.group)
				return
			}
		}
	}
}

// ahead is how many messages a receive looks at, at least. Behind so many that have come back, a quiet tenant may
// have to wait.
const ahead = 50

// waitsLonger reports that so many may have come back.
func (q *vqueue) waitsLonger() bool {
	n := 0
	for _, m := range q.messages {
		if m.mayBeHere && m.receives.most > 0 && m.free.maybe(wall()) {
			n++
		}
	}
	return n >= ahead
}

func groupIn(got map[*vmessage]bool, group string) bool {
	for m := range got {
		if m.group == group {
			return true
		}
	}
	return false
}

// listed is the ids of messages.
func listed(found []*visibility.Received) (ids []string) {
	for _, r := range found {
		ids = append(ids, fmt.Sprintf("%s(%s, %d)", r.ID, r.Group, r.ReceiveCount))
	}
	return ids
}
