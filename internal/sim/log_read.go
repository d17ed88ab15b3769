package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/log"
)

func (p *logPart) readVerbs() []*verb {
	return []*verb{
		form("read {n} records of {topic} from {place} of partition {partition} [or {reset}] [until {until}] [bytes {bytes}]", 25, p.drawRead, p.read),
		form("read {topic} to its end from {place}", 5, p.drawReadAll, p.readTopic),
		form("look for the time of a record of partition {partition} of {topic}", 5, p.drawPart, p.lookForTime),
		form("look for the newest record of key {key} of {topic}", 5, p.drawKey, p.lookForKey),
	}
}

func (p *logPart) drawPart() args { return p.drawPartition(p.drawTopic()) }

// drawPlace draws a position: a word, or an offset in hundredths of what there is.
func (p *logPart) drawPlace() string {
	return oneOf(p.w, "start", "end", "time", "0", "50", "90", "100")
}

func (p *logPart) drawRead() args {
	w, a := p.w, p.drawPart()
	if a == nil {
		return nil
	}
	a["n"], a["place"] = fmt.Sprint(w.upTo(1000)), p.drawPlace()
	if w.chance(3) {
		a["reset"] = oneOf(w, "earliest", "latest")
	}
	if w.chance(3) {
		a["until"] = p.drawPlace()
	}
	if w.chance(5) {
		a["bytes"] = oneOf(w, "1", "1000", "100000")
	}
	return a
}

// from is the position that a word stands for, and its offset if that is certain, else -1.
func (part *lpartition) from(place string) (from log.From, offset int64) {
	end := int64(len(part.placed))
	switch place {
	case "start":
		return log.Start(), -1
	case "end":
		return log.End(), -1
	case "time":
		if m := part.at(end / 2); m != nil {
			return log.At(m.stamp.first), -1
		}
		return log.At(wall()), -1
	}
	var percent int64
	_, _ = fmt.Sscan(place, &percent)
	return log.Offset(end * percent / 100), end * percent / 100
}

var resets = map[string]log.Reset{"": log.None, "earliest": log.Earliest, "latest": log.Latest}

// outOfRange reports an error that a position may have.
func (part *lpartition) outOfRange(err error, before extent, offset int64) bool {
	var e *log.OffsetError
	if !errors.As(err, &e) || e.Partition != part.n || e.Topic != part.topic.name || offset >= 0 && e.Offset != offset {
		return false
	}
	below := e.Offset < e.Start && e.Start <= part.mostStart()
	return below && e.Start >= before.start.least || e.Offset > e.End && e.End >= before.ends
}

// extent is what is known of what can be read from a partition.
type extent struct {
	start offsets
	ends  int64 // at least
}

func (part *lpartition) extent() extent {
	return extent{offsets{part.start.least, part.mostStart()}, part.ends()}
}

// ends is where readers surely see a partition end at least.
func (part *lpartition) ends() int64 {
	for at := int64(len(part.placed)); at > 0; at-- {
		if m := part.placed[at-1]; m != nil && m.visible {
			return at
		}
	}
	return 0
}

func (p *logPart) read(c *client, a args) {
	t := p.named(a["topic"])
	if t == nil || t.partition(a) == nil {
		return
	}
	part := t.partition(a)
	place, offset := part.from(a["place"])
	var reader *log.Reader
	before := part.extent()
	topic := t.t
	o := c.callFree(func() (err error) {
		reader, err = topic.NewReader(part.n, place.Or(resets[a["reset"]]))
		return err
	})
	if !o.other && part.outOfRange(o.err, before, offset) {
		return
	}
	if c.expects(o, "read "+part.String(), t.gone()...); !o.done() {
		return
	}
	if a.has("until") {
		until, offset := part.from(a["until"])
		o := c.callFree(func() error { return reader.Until(until) })
		if !o.other && part.outOfRange(o.err, before, offset) {
			return
		}
		if c.expects(o, "read "+part.String()+" until a position", t.gone()...); !o.done() {
			return
		}
	}
	part.readBy(c, p, reader, a)
}

// callFree makes a call that takes no context, and so as long as the disk takes.
func (c *client) callFree(f func() error) outcome {
	free := *c
	free.within = 0
	return free.call(func(context.Context) error { return f() })
}

// readBy reads some records with a reader. A bounded one ends by itself.
func (part *lpartition) readBy(c *client, p *logPart, reader *log.Reader, a args) {
	at, n, size := reader.Offset(), a.int("n"), 1<<20
	bounded := a.has("until")
	if a.has("bytes") {
		size = a.int("bytes")
	}
	before, started := part.extent(), at
	var got []log.Record
	o := c.call(func(ctx context.Context) error {
		if !bounded {
			records, err := reader.Fetch(ctx, n, size)
			got = records
			return err
		}
		for r, err := range reader.Records(ctx) {
			if err != nil {
				return err
			}
			got = append(got, r)
		}
		return nil
	})
	if o.other {
		return
	}
	at = part.judge(c, p, o, at, got, a["reset"])
	switch {
	case c.fault != "" || part.outOfRange(o.err, before, -1) && !a.has("reset"):
	case o.err != nil:
		c.expects(o, "read "+part.String(), part.topic.gone()...)
	case len(got) > n && !bounded:
		c.fail("%s was asked for %d records and returned %d", part, n, len(got))
	case a["reset"] == "latest" && started < part.mostStart(): // it may have gone to the end
	case len(got) == 0 && !bounded && started < before.ends && part.sureAt(started, before.ends):
		c.fail("a reader of %s at %d finds nothing, although it ends at %d", part, started, before.ends)
	case reader.Offset() < at:
		c.fail("a reader of %s is at %d, although it has read up to %d", part, reader.Offset(), at)
	}
}

// sureAt reports that there is surely a record from one offset on, and before another one.
func (part *lpartition) sureAt(from, to int64) bool {
	for at := max(from, part.mostStart()); at < to; at++ {
		if m := part.at(at); m != nil && m.visible && m.fate == here && !part.mayBeCompacted(at) {
			return true
		}
	}
	return false
}

// judge compares records that were read one after the other from an offset on, and returns the
// offset after them.
func (part *lpartition) judge(c *client, p *logPart, o outcome, at int64, records []log.Record, reset string) int64 {
	for _, r := range records {
		if r.Offset < at {
			c.fail("%s returns the record at %d to a reader that is at %d", part, r.Offset, at)
			return at
		}
		if reset == "latest" && at < part.mostStart() {
			at = r.Offset
		}
		for ; at < r.Offset; at++ {
			if !part.mayBeCompacted(at) && !(reset != "" && at < part.mostStart()) {
				c.fail("%s returns the record at %d to a reader that has not read %d: %v", part, r.Offset, at, part.at(at))
				return at
			}
		}
		m := part.match(c, p, r)
		if c.fault != "" {
			return at
		}
		if before := part.at(at - 1); before != nil && before.call.ended != 0 && part.topic.config.TimestampType == log.AppendTime && r.Timestamp.Before(before.stamp.first) {
			c.fail("%s is %s older than %s, in a topic of AppendTime", m, before.stamp.first.Sub(r.Timestamp), before)
		}
		if m.mustBeGone(o.from) {
			c.fail("the tombstone %s is there, although its time is over since %s", m, o.from.Sub(m.call.when.last)-m.topic.config.TombstoneRetention)
		}
		at++
	}
	return at
}

// bounds returns the bounds of what can be read, which are compared with what is known.
func (part *lpartition) bounds(c *client) (start, end int64, ok bool) {
	least, ends, calls := part.start.least, part.ends(), part.topic.calls
	quiet := part.topic.under == 0
	o := c.call(func(ctx context.Context) (err error) {
		start, end, err = part.topic.t.Offsets(ctx, part.n)
		return err
	})
	if c.expects(o, "the offsets of "+part.String(), part.topic.gone()...); !o.done() {
		return 0, 0, false
	}
	if more := end - int64(len(part.placed)); more > int64(part.topic.waiting(part)) {
		c.fail("%s has %d offsets, %d more than what was appended", part, end, more)
		return 0, 0, false
	}
	part.reach(end) // before it is asked where it may start
	if quiet = quiet && part.topic.calls == calls; !quiet {
		least = 0
	}
	switch most := part.mostStart(); {
	case start < least || start > most:
		c.fail("%s starts at %d, not at %d to %d", part, start, least, most)
	case end < ends:
		c.fail("%s ends at %d, although %v was read or is durable", part, end, part.at(ends-1))
	}
	part.starts(c, start)
	return start, end, c.fault == ""
}

// starts notes where a partition starts at least, as long as it is not taken back.
func (part *lpartition) starts(c *client, at int64) {
	was := part.start.least
	if at > was {
		part.start.least = at
		c.lose(func() { part.start.least = min(part.start.least, was) })
	}
}

// waiting is how many records may come to be in a partition.
func (t *ltopic) waiting(part *lpartition) (n int) {
	for m := range t.loose {
		if m.part < 0 || m.part == part.n {
			n++
		}
	}
	return n
}

// readAll reads all records of a partition, as far as it ends now.
func (part *lpartition) readAll(c *client, p *logPart) (seen map[*lrecord]bool, ok bool) {
	seen = make(map[*lrecord]bool)
	for range 10 { // it may be trimmed in between
		var got []log.Record
		var began int64
		before := part.extent()
		o := c.call(func(ctx context.Context) error {
			reader, err := part.topic.t.NewReader(part.n, log.Start())
			if err != nil {
				return err
			}
			if err := reader.Until(log.End()); err != nil {
				return err
			}
			began = reader.Offset()
			for r, err := range reader.Records(ctx) {
				if err != nil {
					return err
				}
				got = append(got, r)
			}
			return nil
		})
		if !o.other && part.outOfRange(o.err, before, -1) {
			continue
		}
		if c.expects(o, "read all of "+part.String(), part.topic.gone()...); !o.done() {
			return nil, false
		}
		part.judge(c, p, o, began, got, "")
		for _, r := range got {
			seen[p.byID[idOf(r)]] = true
		}
		return seen, c.fault == ""
	}
	return nil, false
}

func (p *logPart) drawReadAll() args {
	a := p.drawTopic()
	if a != nil {
		a["place"], a["within"] = oneOf(p.w, "start", "start", "end"), oneOf(p.w, "1ms", "1s", "1m")
	}
	return a
}

// readTopic reads all partitions at once, and waits for more until its time is over.
func (p *logPart) readTopic(c *client, a args) {
	t := p.named(a["topic"])
	if t == nil || c.within == 0 {
		return
	}
	from := log.Start()
	if a["place"] == "end" {
		from = log.End()
	}
	before := make([]extent, len(t.parts))
	for i, part := range t.parts {
		before[i] = part.extent()
	}
	got := make(map[int][]log.Record)
	o := callWith(c, t.t, func(ctx context.Context, topic *log.Topic) error {
		for r, err := range topic.Records(ctx, from) {
			if err != nil {
				return err
			}
			got[r.Partition] = append(got[r.Partition], r)
		}
		return nil
	})
	if o.other {
		return
	}
	if o.err == nil {
		c.fail("the records of %s end", t.name)
	}
	for n, records := range got {
		if n >= len(t.parts) {
			c.fail("%s has records of partition %d", t.name, n)
			return
		}
		if at := t.parts[n].judge(c, p, o, records[0].Offset, records, ""); c.fault == "" && n < len(before) && at < before[n].ends && lost(o.err, context.DeadlineExceeded) && c.within >= time.Second && t.parts[n].sureAt(at, before[n].ends) {
			c.fail("the records of %s come to an end at %d of partition %d, which ends at %d", t.name, at, n, before[n].ends)
		}
	}
	for n, part := range t.parts {
		if n < len(before) && part.outOfRange(o.err, before[n], -1) {
			return
		}
	}
	c.expects(o, "the records of "+t.name, t.gone()...)
}

// lookForTime asks for the first record that is not older than one.
func (p *logPart) lookForTime(c *client, a args) {
	t := p.named(a["topic"])
	if t == nil || t.partition(a) == nil || len(t.partition(a).placed) == 0 {
		return
	}
	part := t.partition(a)
	m := part.at(int64(c.rng.IntN(len(part.placed))))
	if m == nil {
		return
	}
	when, ends := m.stamp.last, part.ends()
	var offset int64
	var ok bool
	o := callWith(c, t.t, func(ctx context.Context, topic *log.Topic) (err error) {
		offset, ok, err = topic.OffsetAt(ctx, part.n, when)
		return err
	})
	if c.expects(o, "look for a time in "+part.String(), t.gone()...); !o.done() {
		return
	}
	if found := part.at(offset); ok && found != nil && found.stamp.last.Before(when) {
		c.fail("%s is said to be the first that is not older than %s, and is by %s", found, when, when.Sub(found.stamp.last))
	}
	for at := part.mostStart(); at < ends && (!ok || at < offset); at++ {
		if m := part.placed[at]; m != nil && m.visible && !m.stamp.first.Before(when) && !part.mayBeCompacted(at) {
			c.fail("%s is not older than %s, and is not found: %d, %v", m, when, offset, ok)
			return
		}
	}
}

func (p *logPart) drawKey() args {
	a := p.drawTopic()
	if a == nil || !p.named(a["topic"]).config.IndexKeys {
		return nil
	}
	a["key"] = fmt.Sprintf("k%d", p.w.rng.IntN(3))
	return a
}

// lookForKey asks for the newest record of a key.
func (p *logPart) lookForKey(c *client, a args) {
	t := p.named(a["topic"])
	if t == nil || !t.config.IndexKeys || t.grown || t.growing {
		return
	}
	newest, sure := t.last([]byte(a["key"]), nil)
	var r log.Record
	var found bool
	calls, quiet := t.calls, t.under == 0
	o := callWith(c, t.t, func(ctx context.Context, topic *log.Topic) (err error) {
		r, found, err = topic.Latest(ctx, []byte(a["key"]))
		return err
	})
	if c.expects(o, "look for a key in "+t.name, t.gone()...); !o.done() {
		return
	}
	if found {
		m := t.parts[r.Partition].match(c, p, r)
		if c.fault == "" && newest != nil && m.offset < newest.offset {
			c.fail("%s is said to be the newest of key %s, and %s is newer", m, a["key"], newest)
		}
		return
	}
	if newest != nil && sure && quiet && t.calls == calls && newest.offset >= t.parts[newest.part].mostStart() {
		c.fail("key %s is said to have no record in %s, and has %s", a["key"], t.name, newest)
	}
}
