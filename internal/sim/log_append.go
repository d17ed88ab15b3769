package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

func (p *logPart) drawAppend() args {
	w, a := p.w, p.drawTopic()
	if a == nil {
		return nil
	}
	t := p.named(a["topic"])
	a["n"] = fmt.Sprint(w.upTo(10))
	switch {
	case w.likes("thousands of records") && w.chance(60):
		a["n"] = "3000"
	case w.likes("hundreds of records") && w.chance(15):
		a["n"] = "300"
	case w.likes("sizes of records") && w.chance(8):
		a["size"] = oneOf(w, "0", "100", "5000", "100000")
	}
	if w.likes("choice of partitions") && w.chance(2) {
		p.drawPartition(a)
	}
	p.drawKeys(t, a)
	if a.has("keys") && w.likes("deletions") && w.chance(3) {
		a["deletions"] = "yes"
	}
	if w.likes("ages") && w.chance(4) {
		a["age"] = oneOf(w, "-1h", "1s", "1m", "24h")
	}
	if t.config.DedupeWindow > 0 && w.chance(2) {
		a["id"] = oneOf(w, "x", "y", "z")
	}
	if w.likes("expectations") && w.chance(3) {
		a["expect"] = oneOf(w, "end", "end", "before", "behind", "last", "stale")
	}
	return a
}

// drawKeys draws how many keys the records have, if any.
func (p *logPart) drawKeys(t *ltopic, a args) {
	if t.compacts || t.config.IndexKeys || p.w.likes("keys") && p.w.chance(2) {
		a["keys"] = oneOf(p.w, "1", "3", "3", "50")
	}
}

func (p *logPart) append(c *client, a args) {
	t := p.named(a["topic"])
	if t == nil || !t.takes(a) {
		return
	}
	call, records := p.make(c, t, a, a.int("n"))
	options, special := t.options(a, call)
	var at []log.Position
	end := t.use()
	o := callWith(c, t.t, func(ctx context.Context, topic *log.Topic) (err error) {
		at, err = topic.AppendWith(ctx, options, records...)
		return err
	})
	quiet := end()
	if special != nil && special(c, o, at, quiet) {
		return
	}
	c.expects(o, "append to "+t.name, t.gone()...)
	t.appended(c, o, call, at)
}

// takes reports that records fit the topic.
func (t *ltopic) takes(a args) bool {
	return (a.has("keys") || !t.config.Compact) && (!a.has("id") || t.config.DedupeWindow > 0)
}

// make begins a call that appends records.
func (p *logPart) make(c *client, t *ltopic, a args, n int) (call *lcall, records []log.Record) {
	call = &lcall{begun: c.event(), when: moment{wall(), someday}, nosync: !c.syncs(true), floor: make(map[*lpartition]int64)}
	for _, part := range t.parts {
		call.floor[part] = int64(len(part.placed))
	}
	for range n {
		p.appended++
		m := &lrecord{fate: unknown, id: fmt.Sprintf("l%d", p.appended), topic: t, part: -1, offset: -1, call: call, stamp: call.when}
		r := log.Record{Headers: []log.Header{{Name: "id", Value: []byte(m.id)}}}
		if !a.has("deletions") {
			m.value = append([]byte(m.id), make([]byte, a.int("size"))...)
		}
		if keys := a.int("keys"); keys > 0 {
			m.key = fmt.Appendf(nil, "k%d", p.appended%keys)
			if !t.growing {
				m.part = home(m.key, len(t.parts))
			}
			t.keys[string(m.key)] = append(t.keys[string(m.key)], m)
		}
		if part := t.partition(a); part != nil {
			m.part = part.n
		}
		if a.has("age") {
			r.Timestamp = wall().Add(-a.span("age"))
			if t.config.TimestampType == log.CreateTime {
				m.stamp = at(r.Timestamp)
			}
		}
		r.Key, r.Value = m.key, m.value
		call.records, records = append(call.records, m), append(records, r)
		p.byID[m.id], t.loose[m] = m, true
	}
	return call, records
}

// answer deals with the outcome of an append in its own way, and reports that it has.
type answer func(c *client, o outcome, at []log.Position, quiet bool) bool

// options are those of an append, and what they may make of its outcome.
func (t *ltopic) options(a args, call *lcall) (o log.AppendOptions, special answer) {
	part := t.partition(a)
	if part != nil {
		o.Partition = log.InPartition(part.n)
	}
	switch {
	case a.has("id"):
		o.ID = a["id"]
		special = t.expectID(a["id"], call)
	case a["expect"] == "last" || a["expect"] == "stale":
		if t.config.IndexKeys && a["keys"] == "1" && part == nil && !t.grown {
			o.ExpectLast, special = t.expectLast(a["expect"] == "last", call)
		}
	case a.has("expect") && part != nil:
		want := int64(len(part.placed)) + map[string]int64{"before": -1, "behind": 1}[a["expect"]]
		if want >= 0 {
			o.ExpectOffset, special = log.AtOffset(want), part.expectOffset(want, call)
		}
	}
	return o, special
}

// appended notes the outcome of an append.
func (t *ltopic) appended(c *client, o outcome, call *lcall, at []log.Position) {
	c.tellCall("%s: appended to %v, error %v", call.records[0].id, at, o.err)
	call.when.last = o.to
	for _, m := range call.records {
		if m.stamp.last.Equal(someday) && t.config.TimestampType == log.CreateTime { // else it is that of its batch
			m.stamp.last = o.to
		}
	}
	switch {
	case o.refused():
		t.refuse(c, call)
	case o.done():
		t.accept(c, o, call, at)
	}
}

// refuse notes that records were not appended.
func (t *ltopic) refuse(c *client, call *lcall) {
	for _, m := range call.records {
		if m.offset >= 0 {
			c.fail("%s was refused, and somebody has read it", m)
		}
		m.fate = gone
		delete(t.loose, m)
		t.forget(m)
	}
}

// accept notes that records were appended.
func (t *ltopic) accept(c *client, o outcome, call *lcall, at []log.Position) {
	if len(at) != len(call.records) {
		c.fail("%d records were appended to %s, which tells %d places", len(call.records), t.name, len(at))
		return
	}
	call.ended = c.event()
	keyless := -1
	for i, m := range call.records {
		if i > 0 && at[i].Partition == at[i-1].Partition && at[i].Offset <= at[i-1].Offset {
			c.fail("%s is at %d, and %s at %d, which was appended by the same call before it", m, at[i].Offset, call.records[i-1], at[i-1].Offset)
		}
		if m.part < 0 && m.key == nil {
			if keyless >= 0 && at[i].Partition != keyless {
				c.fail("%s and others without a key were appended by one call to partitions %d and %d", m, keyless, at[i].Partition)
			}
			keyless = at[i].Partition
		}
		if t.put(c, m, at[i]); c.fault != "" {
			return
		}
		m.visible = m.visible || !call.nosync
	}
	c.durable(c, o, true)
}

func (p *logPart) drawAsync() args {
	w, a := p.w, p.drawTopic()
	if a == nil {
		return nil
	}
	a["n"] = fmt.Sprint(w.upTo(30))
	if w.likes("sizes of records") && w.chance(2) {
		a["size"] = oneOf(w, "0", "100", "20000")
	}
	p.drawKeys(p.named(a["topic"]), a)
	return a
}

// appendAsync appends records without waiting for each. They keep their order.
func (p *logPart) appendAsync(c *client, a args) {
	t := p.named(a["topic"])
	if t == nil || !t.takes(a) {
		return
	}
	calls, batch := make([]*lcall, a.int("n")), make([]log.Record, a.int("n"))
	for i := range calls {
		call, records := p.make(c, t, a, 1)
		calls[i], batch[i] = call, records[0]
	}
	c.within = 0 // a Future waits for the disk
	at, errs := make([][]log.Position, len(batch)), make([]error, len(batch))
	end := t.use()
	whole := callWith(c, t.t, func(ctx context.Context, topic *log.Topic) error {
		futures := make([]*pebblemq.Future[[]log.Position], len(batch))
		for i, r := range batch {
			futures[i] = topic.AppendAsync(ctx, r)
		}
		for i, f := range futures {
			at[i], errs[i] = f.Wait(context.Background())
		}
		return nil
	})
	end()
	if whole.err != nil { // it was not called
		errs = slices.Repeat([]error{whole.err}, len(batch))
	}
	for i, call := range calls {
		o := whole
		o.err = errs[i]
		c.expects(o, "append to "+t.name, t.gone()...)
		if t.appended(c, o, call, at[i]); c.fault != "" {
			return
		}
		if i > 0 && errs[i] == nil && errs[i-1] == nil && at[i][0].Partition == at[i-1][0].Partition && at[i][0].Offset < at[i-1][0].Offset && !o.other {
			c.fail("%s overtakes %s, which was appended before it by the same goroutine", call.records[0], calls[i-1].records[0])
		}
	}
}
