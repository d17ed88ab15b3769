package main

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/log"
)

func (p *logPart) drawTrim() args {
	a := p.drawPart()
	if a != nil {
		a["place"] = p.drawPlace()
	}
	return a
}

func (p *logPart) trim(c *client, a args) {
	t := p.named(a["topic"])
	if t == nil || t.partition(a) == nil {
		return
	}
	part := t.partition(a)
	to, offset := part.from(a["place"])
	before := part.extent()
	part.start.most = max(part.start.most, offset)
	moving := a["place"] == "end" || a["place"] == "time" // nobody knows how far it goes
	if moving {
		part.trims++
	}
	end := t.use()
	o := callWith(c, t.t, func(ctx context.Context, topic *log.Topic) error { return topic.TrimTo(ctx, part.n, to) })
	quiet := end()
	if moving {
		part.start.most = part.mostStart()
		part.trims--
	}
	if !o.other && part.outOfRange(o.err, before, offset) {
		part.trimmed(quiet, before.start)
		return
	}
	c.expects(o, fmt.Sprintf("trim %s to %s", part, a["place"]), t.gone()...)
	switch {
	case o.refused():
		part.trimmed(quiet, before.start)
	case o.done():
		if a["place"] == "end" {
			offset = before.ends
		}
		if part.starts(c, offset); offset > before.start.most { // else there was nothing to do
			c.durable(c, o, false)
		}
	}
}

// trimmed notes that a trim had no effect.
func (part *lpartition) trimmed(quiet bool, before offsets) {
	if quiet {
		part.start.most = before.most
	}
}

// compact compacts a topic and looks at what is left.
func (p *logPart) compact(c *client, a args) {
	t := p.named(a["topic"])
	if t == nil {
		return
	}
	begun, calls := c.event(), t.calls
	quiet := t.under == 0
	o := callWith(c, t.t, func(ctx context.Context, topic *log.Topic) error { return topic.Compact(ctx) })
	if c.expects(o, "compact "+t.name, t.gone()...); !o.done() || !t.compacts || !t.config.Compact {
		return
	}
	for _, part := range t.parts {
		seen, ok := part.readAll(c, p)
		if !ok || !quiet || calls != t.calls || c.born != c.life {
			return
		}
		for m := range seen {
			if part.mustBeCompacted(m, begun) {
				c.fail("%s is there after a compaction, although its key has a newer record", m)
				return
			}
		}
	}
}

// enforce removes what retention says and looks at what is left.
func (p *logPart) enforce(c *client, a args) {
	t := p.named(a["topic"])
	if t == nil {
		return
	}
	now := wall()
	least := make([]int64, len(t.parts))
	for i, part := range t.parts {
		if least[i] = part.leastStart(now); t.under > 0 {
			least[i] = 0
		}
	}
	o := callWith(c, t.t, func(ctx context.Context, topic *log.Topic) error { return topic.EnforceRetention(ctx) })
	if c.expects(o, "enforce the retention of "+t.name, t.gone()...); !o.done() {
		return
	}
	if o.among || !c.disk.isWell() || c.disk.wasFull(o.from) { // it may wait behind a Sync change that is on its way to the disk
		return
	}
	for i, n := range least {
		if start, _, ok := t.parts[i].bounds(c); ok && start < n {
			c.fail("%s starts at %d after its retention was enforced, although its limits are over for all before %d", t.parts[i], start, n)
		}
	}
}

// batchBytes is how much may be kept because it is in one batch with what is to be kept.
const batchBytes = 2 * (128 << 10)

// leastStart is where a partition begins at least, if its limits are enforced. Records are
// removed by batch, so some stay that are in one with what is kept.
func (part *lpartition) leastStart(now time.Time) int64 {
	t := part.topic
	expired, over := int64(0), int64(0)
	bytes := int64(0)
	for at, m := range part.placed {
		if m == nil {
			continue
		}
		if t.config.RetentionTime == 0 || now.Sub(m.stamp.last) <= t.config.RetentionTime || now.Sub(m.call.when.last) <= t.config.RetentionTime {
			break
		}
		expired = int64(at) + 1
	}
	for at := len(part.placed) - 1; at >= 0 && t.config.RetentionBytes > 0 && t.config.Compression == log.NoCompression && !t.compacts; at-- {
		if m := part.placed[at]; m != nil {
			bytes += int64(len(m.value))
		}
		if bytes > t.config.RetentionBytes+batchBytes {
			over = int64(at)
			break
		}
	}
	return max(over, part.beforeBatch(expired))
}

// beforeBatch goes back by a batch, unless everything is before the offset.
func (part *lpartition) beforeBatch(at int64) int64 {
	if at == int64(len(part.placed)) {
		return at
	}
	for left := int64(batchBytes); at > 0 && left > 0; at-- {
		if m := part.placed[at-1]; m != nil {
			left -= int64(len(m.value))
		}
	}
	return at
}

func (p *logPart) drawAlter() args {
	w, a := p.w, p.drawTopic()
	if a == nil || !w.likes("altered topics") {
		return nil
	}
	t := p.named(a["topic"])
	if w.likes("more partitions") && len(t.parts) < 8 && w.chance(2) {
		a["partitions"] = fmt.Sprint(len(t.parts) + 1)
	}
	if t.config.RetentionTime > 0 {
		a["retention"] = oneOf(w, "10s", "1m", "1h")
	}
	if t.config.RetentionBytes > 0 {
		a["bytes"] = oneOf(w, "1000", "100000")
	}
	p.drawCompression(a)
	return a
}

func (p *logPart) alter(c *client, a args) {
	t := p.named(a["topic"])
	if t == nil || t.growing {
		return
	}
	was, to := t.config, t.config
	if a.has("partitions") {
		to.Partitions = max(a.int("partitions"), len(t.parts))
	}
	if a.has("retention") {
		to.RetentionTime = a.span("retention")
	}
	if a.has("bytes") {
		to.RetentionBytes = int64(a.int("bytes"))
	}
	if a.has("compression") {
		to.Compression = compressions[a["compression"]]
	}
	t.growing, t.configs = true, append(t.configs, was, to)
	t.grown = t.grown || to.Partitions > was.Partitions
	for m := range t.loose {
		if m.key != nil && to.Partitions > was.Partitions {
			m.part = -1 // it may go to either
		}
	}
	t.adopt(strictest(was, to))
	end := t.use()
	o := callWith(c, t.t, func(ctx context.Context, topic *log.Topic) error { return topic.Alter(ctx, &to) })
	end()
	c.expects(o, "alter "+t.name, t.gone()...)
	for _, part := range t.parts {
		part.mostStart() // by the stricter config
	}
	switch {
	case o.done():
		if t.config, t.growing, t.configs = to, false, nil; to == was { // there was nothing to do
			break
		}
		if c.durable(c, o, true); !c.syncs(true) {
			c.lose(func() { t.configs = append(t.configs, was) })
		}
	case o.refused():
		t.config, t.growing, t.configs = was, false, nil
		t.shrink(was.Partitions)
	}
}

// strictest is a config that keeps no more than either of two.
func strictest(a, b log.TopicConfig) log.TopicConfig {
	if b.RetentionTime == 0 || a.RetentionTime > 0 && a.RetentionTime < b.RetentionTime {
		b.RetentionTime = a.RetentionTime
	}
	if b.RetentionBytes == 0 || a.RetentionBytes > 0 && a.RetentionBytes < b.RetentionBytes {
		b.RetentionBytes = a.RetentionBytes
	}
	return b
}

// shrink takes partitions back that a topic has not got.
func (t *ltopic) shrink(n int) {
	t.parts = t.parts[:n]
	for _, g := range t.groups {
		g.parts = g.parts[:min(n, len(g.parts))]
	}
}

func (p *logPart) deleteTopic(c *client, a args) {
	t := p.named(a["topic"])
	if t == nil || t.deleting {
		return
	}
	t.deleting = true
	end := t.use()
	o := callWith(c, t.t, func(ctx context.Context, topic *log.Topic) error { return topic.Delete(ctx) })
	end()
	c.expects(o, "delete "+t.name)
	switch {
	case o.refused():
		t.deleting = false
	case o.done():
		p.drop(t)
	}
}

// check compares the bounds and the lag of everything.
func (p *logPart) check(c *client) {
	for _, t := range p.topics {
		if t.t == nil || t.deleting {
			continue
		}
		for _, part := range t.parts {
			if _, _, ok := part.bounds(c); !ok {
				return
			}
		}
		for _, g := range t.groups {
			g.check(c)
		}
	}
}

// settle reads everything and lets each group come to the end.
func (p *logPart) settle(c *client) {
	c.mu.Unlock()
	time.Sleep(noticed) // of the disk, by the store
	c.mu.Lock()
	for _, t := range p.topics {
		if t.t == nil || c.fault != "" {
			continue
		}
		for _, part := range t.parts {
			p.settlePartition(c, part)
		}
		t.resolve()
		for _, g := range t.groups {
			if c.fault == "" {
				g.settle(c, p)
			}
		}
		if c.fault == "" {
			p.settleDead(c, t)
		}
	}
}

// settlePartition reads a partition, in which nothing is under way.
func (p *logPart) settlePartition(c *client, part *lpartition) {
	start, end, ok := part.bounds(c)
	if !ok {
		return
	}
	seen, ok := part.readAll(c, p)
	for at := part.mostStart(); ok && at < int64(len(part.placed)); at++ {
		m := part.placed[at]
		if m != nil && !seen[m] && !part.mayBeCompacted(at) {
			c.fail("%s is lost: %s has %d to %d", m, part, start, end)
			return
		}
	}
}
