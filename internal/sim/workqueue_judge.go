package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/workqueue"
)

// judge compares a delivery with what is known.
func (p *workqueuePart) judge(c *client, o outcome, q *wqueue, d *workqueue.Delivery, k *wconsumer, quiet bool) *wdelivery {
	if q.fate == gone && !quiet { // it was delivered before its queue was deleted
		return nil
	}
	m := p.messages[nameOf(d)]
	if m == nil {
		c.fail("%s delivers %q, which nobody has published", q.name, nameOf(d))
		return nil
	}
	what := fmt.Sprintf("%s, delivered from %s for the %d. time,", m.name, q.name, d.DeliveryCount)
	x := p.identify(q, m, d.Deaths)
	if x == nil {
		c.fail("%s did not come to that queue: deaths %+v", what, d.Deaths)
		return nil
	}
	if timeout := q.config.AckTimeout; timeout > 0 && o.to.Sub(o.from) >= timeout && d.DeliveryCount < x.latest() {
		return nil // it was lost before its call could return, and has been delivered again since
	}
	p.judgeState(c, o, x, d, k, what)
	p.judgeContent(c, x, d, what)
	if quiet {
		p.judgeOrder(c, o, x, k, what)
	}
	p.judgeCount(c, x, d, what)
	return p.hold(c, o, x, d, k)
}

// latest is the number of the latest delivery of a copy, at least.
func (x *wcopy) latest() int {
	if x.holder != nil {
		return x.holder.d.DeliveryCount
	}
	return x.count.least
}

// judgeState complains about a message that should not be delivered at all.
func (p *workqueuePart) judgeState(c *client, o outcome, x *wcopy, d *workqueue.Delivery, k *wconsumer, what string) {
	switch {
	case !x.mayBeHere:
		c.fail("%s is gone", what)
	case x.holder != nil && x.holder.surelyHeld(o.to):
		c.fail("%s is unacknowledged", what)
	case x.delayed && !x.due.maybe(o.to):
		c.fail("%s is delayed for %s more", what, x.due.first.Sub(o.to))
	case k == nil && x.expires.surely(o.from):
		c.fail("%s has expired %s ago", what, o.from.Sub(x.expires.last))
	}
	if k != nil && k.heldSurely(o.to) >= k.prefetch {
		c.fail("%s is more than the prefetch of %s, %d", what, k.name, k.prefetch)
	}
}

// heldSurely counts the deliveries that a consumer surely has.
func (k *wconsumer) heldSurely(now time.Time) int {
	n := 0
	for _, x := range k.q.copies {
		if x.holder != nil && x.holder.k == k && x.fate == here && x.holder.surelyHeld(now) {
			n++
		}
	}
	return n
}

// judgeContent compares what was delivered with what was published.
func (p *workqueuePart) judgeContent(c *client, x *wcopy, d *workqueue.Delivery, what string) {
	m := x.m
	switch {
	case !bytes.Equal(d.Body, m.message.Body):
		c.fail("%s has another body", what)
	case d.MessageID != m.message.MessageID || d.Priority != m.message.Priority || d.UniqueKey != m.message.UniqueKey:
		c.fail("%s has other properties", what)
	case !maps.Equal(d.Headers, m.message.Headers):
		c.fail("%s has the headers %v, not %v", what, d.Headers, m.message.Headers)
	case !slices.Equal(d.CC, x.cc) && !x.strange || len(d.BCC) > 0:
		c.fail("%s has CC %v and BCC %v", what, d.CC, d.BCC)
	case !slices.IsSortedFunc(d.Deaths, func(a, b workqueue.Death) int { return b.Latest.Compare(a.Latest) }):
		c.fail("%s has deaths whose latest is not the first: %+v", what, d.Deaths)
	case d.Queue != x.q.name:
		c.fail("%s says that its queue is %s", what, d.Queue)
	case (d.Exchange != x.exchange || d.RoutingKey != x.key) && !x.mayHaveAddressOf(x.born) && !x.cameBackAs(d) && !x.strange:
		c.fail("%s says that it was published to %q with %q", what, d.Exchange, d.RoutingKey)
	}
}

// cameBackAs reports that a redrive may have put a message back as one that it was in this queue before:
// which of several that had the same deaths, nobody knows.
func (x *wcopy) cameBackAs(d *workqueue.Delivery) bool {
	return len(x.deaths) > 0 && x.deaths[0].queue == x.q.name && slices.ContainsFunc(x.m.copies, func(o *wcopy) bool {
		return o.q.name == x.q.name && o.exchange == d.Exchange && o.key == d.RoutingKey
	})
}

// mayHaveAddressOf reports that a redrive may have published a copy as it was before it died.
func (x *wcopy) mayHaveAddressOf(before *wcopy) bool { return before != nil && x.q.redriven }

// judgeCount compares how often a message was delivered.
func (p *workqueuePart) judgeCount(c *client, x *wcopy, d *workqueue.Delivery, what string) {
	before := d.DeliveryCount - 1
	switch {
	case !x.count.holds(before):
		waits := x.q.under > 0 && !c.disk.isWell() // a Get that has it and cannot return yet
		if before > x.count.most && waits {
			break
		}
		c.fail("%s was delivered %d to %d times before", what, x.count.least, x.count.most)
	case x.q.limit() > 0 && d.DeliveryCount > x.q.limit():
		c.fail("%s should be a dead letter after %d", what, x.q.limit())
	case x.count.least > 0 && !d.Redelivered:
		c.fail("%s is not marked as redelivered", what)
	case d.Redelivered && !x.maybe:
		c.fail("%s is marked as redelivered", what)
	}
}

// judgeOrder complains about messages that should have come first.
func (p *workqueuePart) judgeOrder(c *client, o outcome, x *wcopy, k *wconsumer, what string) {
	since := span{begun: x.ready.begun} // when it was dispatched, at the earliest
	if k == nil {
		since.begun = o.began
	} else if k.begun > since.begun {
		since.begun = k.begun
	}
	// What waits in a consumer for too long returns, and is the last one there then.
	waits := func(x *wcopy) bool {
		timeout := x.q.config.AckTimeout
		return len(x.q.open) > 0 && timeout > 0 && latest(o.to).Sub(earliest(x.m.sent.first)) >= timeout
	}
	if waits(x) {
		return
	}
	spare, passed := x.q.spare(k), x.passedOver(c)
	for _, a := range x.q.copies {
		if a.number > 0 && a.place.begun > since.begun && a.place.begun > x.place.begun && a.priority <= x.priority {
			continue
		}
		if a == x || waits(a) || o.mayMiss(c.disk, a.m.sent.last) || !a.ready.before(since) || !a.surelyReady(o.from) || a.expires.maybe(o.to) || !a.goesBefore(x) {
			continue
		}
		passed = passed || a.passedOver(c) // another one is in the consumer that had room for it
		if spare--; spare >= 0 {
			continue
		}
		if !passed {
			c.fail("%s overtakes %s", what, a.m.name)
		}
		return
	}
}

// spare is how many messages other consumers may have that nobody has asked them for.
func (q *wqueue) spare(k *wconsumer) int {
	n := 0
	for _, o := range q.open {
		if o != k && !o.drained {
			n += o.prefetch
		}
	}
	return n
}

// goesBefore reports that a copy must be delivered before another one, if both are ready.
func (x *wcopy) goesBefore(o *wcopy) bool {
	switch {
	case x.priority != o.priority:
		return x.priority > o.priority
	case x.astray || o.astray:
		return false
	case x.front.begun != 0 || o.front.begun != 0:
		return x.front.begun != 0 && (o.front.begun == 0 || o.front.before(x.front))
	case x.batch != 0 && x.batch == o.batch:
		return x.m.begun < o.m.begun
	}
	return x.place.before(o.place)
}
