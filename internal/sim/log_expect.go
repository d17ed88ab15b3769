package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/log"
)

// others returns the records of other calls that may come to be in a partition at any moment.
func (t *ltopic) others(call *lcall, may func(*lrecord) bool) bool {
	for m := range t.loose {
		if m.call != call && may(m) {
			return true
		}
	}
	return false
}

// expectOffset judges an append that expects the first record at an offset.
func (part *lpartition) expectOffset(want int64, call *lcall) answer {
	ended := int64(len(part.placed))
	sure := !part.topic.others(call, func(m *lrecord) bool { return m.part < 0 || m.part == part.n })
	return func(c *client, o outcome, at []log.Position, quiet bool) bool {
		if o.done() && at[0].Offset != want {
			c.fail("%s was to be at offset %d, and is at %d", call.records[0], want, at[0].Offset)
		}
		var conflict *log.ConflictError
		if o.other || !errors.As(o.err, &conflict) {
			return false
		}
		part.topic.refuse(c, call)
		switch {
		case conflict.Partition != part.n || conflict.Expected != want || conflict.Actual < ended || conflict.Actual == want:
			c.fail("an append to %s, which ends at %d, at %d: %v", part, ended, want, conflict)
		case quiet && sure && want == ended:
			c.fail("an append to %s at its end %d: %v", part, ended, conflict)
		}
		return true
	}
}

// last returns the newest record of a key, nil if there is none, and whether it is certain.
func (t *ltopic) last(key []byte, call *lcall) (newest *lrecord, sure bool) {
	sure = !t.others(call, func(m *lrecord) bool { return string(m.key) == string(key) })
	for _, m := range t.keys[string(key)] {
		if m.part != t.keys[string(key)][0].part { // nobody knows which one is newer
			return nil, false
		}
		if m.offset >= 0 && m.fate == here && (newest == nil || m.offset > newest.offset) {
			newest = m
		}
	}
	if newest == nil {
		return nil, sure
	}
	part := t.parts[newest.part]
	if newest.offset < part.start.least {
		return nil, sure
	}
	return newest, sure && newest.offset >= part.mostStart() && !(newest.value == nil && t.compacts)
}

// expectLast judges an append that expects the newest record of its key, or another one, where
// it is.
func (t *ltopic) expectLast(right bool, call *lcall) (log.LastCondition, answer) {
	newest, sure := t.last(call.records[0].key, call)
	want := log.Nowhere
	switch {
	case newest != nil && right:
		want = log.Position{Partition: newest.part, Offset: newest.offset}
	case newest == nil && !right:
		want = log.Position{Partition: 0, Offset: 0}
	}
	return log.LastAt(want), func(c *client, o outcome, at []log.Position, quiet bool) bool {
		if o.done() && quiet && sure && !right {
			c.fail("%s was appended although the newest record of its key is %v, and not at %v", call.records[0], newest, want)
		}
		var conflict *log.KeyConflictError
		if o.other || !errors.As(o.err, &conflict) {
			return false
		}
		t.refuse(c, call)
		if quiet && sure && right {
			c.fail("the newest record of key %s is %v, and an append that expects it at %v says: %v", call.records[0].key, newest, want, conflict)
		}
		return true
	}
}

// expectID judges an append with an id.
func (t *ltopic) expectID(id string, call *lcall) answer {
	t.ids[id] = append(t.ids[id], call)
	return func(c *client, o outcome, at []log.Position, quiet bool) bool {
		if !o.done() {
			return false
		}
		for _, first := range t.ids[id] {
			if first != call && first.blocks(o, t.config.DedupeWindow) && !first.isAt(at) {
				c.fail("%s was appended although %s was appended %s ago with the same id", call.records[0], first.records[0], o.from.Sub(first.when.last))
				return true
			}
		}
		for _, other := range t.ids[id] {
			if other != call && other.records[0].offset < 0 && other.isAt(at) && call.records[0].offset < 0 {
				return true // it is either, and who reads it will know
			}
		}
		for _, first := range t.ids[id] {
			if first != call && first.isAt(at) && (c.windowsLag() || first.mayBlock(o, t.config.DedupeWindow)) {
				first.repeat(c, o, at)
				t.refuse(c, call)
				return true
			}
		}
		return false
	}
}

// isAt reports that the records of a call are at these places, or may be.
func (call *lcall) isAt(at []log.Position) bool {
	if len(at) != len(call.records) {
		return false
	}
	for i, m := range call.records {
		switch {
		case !m.mayBeHere || m.offset < 0 && m.part >= 0 && m.part != at[i].Partition:
			return false
		case m.offset >= 0 && at[i] != log.Position{Partition: m.part, Offset: m.offset}:
			return false
		case m.offset < 0 && m.topic.parts[at[i].Partition].has(at[i].Offset):
			return false
		}
	}
	return true
}

// has reports that it is known what is at an offset.
func (part *lpartition) has(offset int64) bool {
	return offset < int64(len(part.placed)) && part.placed[offset] != nil
}

// repeat notes that an append was repeated, and told where the records of the first are.
func (call *lcall) repeat(c *client, o outcome, at []log.Position) {
	for i, m := range call.records {
		if m.topic.put(c, m, at[i]); c.fault != "" {
			return
		}
	}
	c.durable(c, o, true)
}

// mayBlock reports that a call may be told for another one with its id; blocks, that it must.
func (call *lcall) mayBlock(o outcome, window time.Duration) bool {
	return !o.from.After(call.when.last.Add(window))
}

func (call *lcall) blocks(o outcome, window time.Duration) bool {
	return call.records[0].fate == here && call.ended != 0 && call.ended < o.began && latest(o.to).Before(call.when.first.Add(window))
}

// lproducer is what is known of a producer in a partition.
type lproducer struct {
	name   string
	part   *lpartition
	calls  []pcall
	under  bool
	handle *log.Producer
	of     *log.Topic // that has opened the handle
}

// pcall is an append of a producer.
type pcall struct {
	*lcall
	number int64
}

// remembered is how many appends of a producer can be repeated.
const remembered = 5

func (p *logPart) drawProduce() args {
	w, a := p.w, p.drawPartition(p.drawTopic())
	if a == nil || !w.likes("producers") || p.named(a["topic"]).compacts {
		return nil
	}
	a["n"] = fmt.Sprint(w.upTo(5))
	a["producer"] = oneOf(w, "p", "q")
	a["numbered"] = oneOf(w, "next", "next", "next", "again", "older", "gap", "zero", "resumed")
	return a
}

func (t *ltopic) producer(name string, part *lpartition) *lproducer {
	for _, pr := range t.producers {
		if pr.name == name && pr.part == part {
			return pr
		}
	}
	pr := &lproducer{name: name, part: part}
	t.producers = append(t.producers, pr)
	return pr
}

// tidy drops the appends that a crash has taken. Sure says that it is known of all others that
// they have happened.
func (pr *lproducer) tidy() (sure bool) {
	n := 0
	for _, call := range pr.calls {
		if call.records[0].mayBeHere {
			pr.calls[n] = call
			n++
		}
	}
	pr.calls = pr.calls[:n]
	for i, call := range pr.calls {
		if call.records[0].fate != here {
			return false
		}
		if i > 0 && call.number != pr.calls[i-1].next() {
			return false
		}
	}
	return true
}

func (call pcall) next() int64 { return call.number + int64(len(call.records)) }

func (pr *lproducer) next() int64 {
	if n := len(pr.calls); n > 0 {
		return pr.calls[n-1].next()
	}
	return 0
}

func (p *logPart) produce(c *client, a args) {
	t := p.named(a["topic"])
	if t == nil || t.partition(a) == nil || t.compacts {
		return
	}
	pr := t.producer(a["producer"], t.partition(a))
	if pr.under {
		return
	}
	pr.under = true
	defer func() { pr.under = false }()
	sure, n, how := pr.tidy(), len(pr.calls), a["numbered"]
	switch {
	case how == "resumed":
		p.takeOver(c, pr, a, sure)
	case n > 0 && (!sure || how == "again"):
		p.produceAgain(c, pr, n-1)
	case how == "older" && n > 1:
		p.produceAgain(c, pr, c.rng.IntN(n))
	default:
		p.produceNew(c, pr, a, how)
	}
}

// open returns the newest handle. Producers of a name in several partitions are others.
func (pr *lproducer) open(ctx context.Context, topic *log.Topic) (*log.Producer, error) {
	if pr.of == topic {
		return pr.handle, nil
	}
	handle, err := topic.OpenProducer(ctx, fmt.Sprintf("%s in %d", pr.name, pr.part.n))
	if err == nil {
		pr.handle, pr.of = handle, topic
	}
	return handle, err
}

// takeOver goes on as a producer that was restarted, while the one before is still about.
func (p *logPart) takeOver(c *client, pr *lproducer, a args, sure bool) {
	t, next := pr.part.topic, int64(0)
	zombie, of := pr.handle, pr.of
	o := callWith(c, t.t, func(ctx context.Context, topic *log.Topic) error {
		pr.of = nil
		_, err := pr.open(ctx, topic)
		if err == nil {
			next, err = pr.handle.Next(ctx, pr.part.n)
		}
		return err
	})
	c.expects(o, "take over a producer of "+pr.part.String(), t.gone()...)
	if !o.done() {
		return
	}
	if sure && next != pr.next() {
		c.fail("the next number of producer %s of %s is said to be %d, and is %d", pr.name, pr.part, next, pr.next())
		return
	}
	if of != pr.of {
		return
	}
	made, _ := p.make(c, t, a, a.int("n"))
	at, o := pr.appendBy(c, pcall{made, next}, func(context.Context, *log.Topic) (*log.Producer, error) { return zombie, nil })
	switch {
	case o.done():
		c.fail("%s was appended by a producer %s of %s that was taken over", made.records[0], pr.name, pr.part)
	case lost(o.err, log.ErrProducerFenced):
		t.refuse(c, made)
	default:
		c.expects(o, "append as a zombie to "+pr.part.String(), t.gone()...)
		t.appended(c, o, made, at)
	}
}

// append makes an append of a producer.
func (pr *lproducer) append(c *client, call pcall) (at []log.Position, o outcome) {
	return pr.appendBy(c, call, pr.open)
}

func (pr *lproducer) appendBy(c *client, call pcall, by func(context.Context, *log.Topic) (*log.Producer, error)) (at []log.Position, o outcome) {
	records := make([]log.Record, len(call.records))
	for i, m := range call.records {
		records[i] = log.Record{Key: m.key, Value: m.value, Headers: []log.Header{{Name: "id", Value: []byte(m.id)}}}
	}
	t := pr.part.topic
	end := t.use()
	o = callWith(c, t.t, func(ctx context.Context, topic *log.Topic) error {
		handle, err := by(ctx, topic)
		if err == nil {
			at, err = topic.AppendWith(ctx, log.AppendOptions{
				Partition: log.InPartition(pr.part.n), Producer: handle, Number: call.number,
			}, records...)
		}
		return err
	})
	end()
	return at, o
}

// produceNew appends records that nobody has seen before, at a number that is right or wrong.
func (p *logPart) produceNew(c *client, pr *lproducer, a args, how string) {
	next := pr.next()
	number := next + map[string]int64{"gap": 3}[how]
	if how == "zero" {
		number = 0
	}
	made, _ := p.make(c, pr.part.topic, a, a.int("n"))
	call := pcall{made, number}
	if number == next {
		pr.calls = append(pr.calls, call)
	}
	at, o := pr.append(c, call)
	switch {
	case number == next || !o.done() && !lost(o.err, log.ErrSequence):
		c.expects(o, "append as a producer to "+pr.part.String(), pr.part.topic.gone()...)
		pr.part.topic.appended(c, o, made, at)
	case o.done():
		c.fail("%s was appended with number %d of producer %s, whose next one is %d", made.records[0], number, pr.name, next)
	default:
		pr.part.topic.refuse(c, made)
	}
}

// produceAgain repeats an append.
func (p *logPart) produceAgain(c *client, pr *lproducer, i int) {
	call, age, known := pr.calls[i], len(pr.calls)-i, pr.calls[i].records[0].fate == here
	if !known { // it may happen now
		call.floor, call.nosync = nil, call.nosync || !c.syncs(true)
		for _, m := range call.records {
			m.stamp.last, pr.part.topic.loose[m] = someday, true
		}
	}
	at, o := pr.append(c, call)
	switch {
	case o.done() && known && !call.isAt(at):
		c.fail("%s and its like were appended again as %d of producer %s, and are said to be at %v", call.records[0], call.number, pr.name, at)
	case o.done() && known:
		call.repeat(c, o, at)
	case o.done():
		pr.part.topic.accept(c, o, call.lcall, at)
	case lost(o.err, log.ErrSequence) && (age > remembered || !known):
	default:
		c.expects(o, "append again as a producer to "+pr.part.String(), pr.part.topic.gone()...)
	}
}
