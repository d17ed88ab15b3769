package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/log"
)

// logPart is the topics of a world.
type logPart struct {
	w        *world
	topics   []*ltopic
	byID     map[string]*lrecord
	drawn    int // names of topics
	appended int // names of records
	joined   int // names of members and runs
	handled  int // calls of handlers
	bank     *bank
	updates  []*lupdate // that were under way or not durable when a life ended
}

// ltopic is what is known of a topic.
type ltopic struct {
	name      string
	config    log.TopicConfig
	configs   []log.TopicConfig // that it may have in the next life instead
	t         *log.Topic
	disk      *disk
	parts     []*lpartition
	groups    []*lgroup
	loose     map[*lrecord]bool // under way, or nobody knows what became of them
	keys      map[string][]*lrecord
	producers []*lproducer
	ids       map[string][]*lcall
	calls     int // ever made that change something
	under     int // of these, how many are under way
	compacts  bool
	young     time.Time // since when the topic has had nothing that keeps it from its tidying
	deleting  bool
	growing   bool // it gets more partitions
	grown     bool
	deleted   bool
	mayBeLost bool // in the crash that has just been
}

// lpartition is what is known of a partition.
type lpartition struct {
	topic  *ltopic
	n      int
	placed []*lrecord // by offset, nil where nobody has seen what is there
	start  offsets
	trims  int // under way, to a place that moves
}

// offsets is what is known of an offset.
type offsets struct{ least, most int64 }

func (o *offsets) set(n int64) { o.least, o.most = n, n }

// lcall is what is known of an append.
type lcall struct {
	records      []*lrecord
	begun, ended uint64 // the clock; ended is 0 if nobody knows
	when         moment
	nosync       bool
	floor        map[*lpartition]int64 // where each partition surely ended when it began
}

// lrecord is what is known of a record.
type lrecord struct {
	fate
	id      string
	topic   *ltopic
	part    int   // -1 if nobody knows
	offset  int64 // -1 if nobody knows
	key     []byte
	value   []byte
	stamp   moment
	call    *lcall
	visible bool // in this life, for sure
}

func newLogPart(w *world, b *bank) *logPart {
	return &logPart{w: w, bank: b, byID: make(map[string]*lrecord)}
}

func (p *logPart) verbs() []*verb {
	return slices.Concat(p.topicVerbs(), p.readVerbs(), p.groupVerbs())
}

func (p *logPart) topicVerbs() []*verb {
	return []*verb{
		form("open topic {topic} [partitions {partitions}] [compression {compression}] [compact] [lag {lag}] [tombstones {tombstones}] "+
			"[retention {retention}] [bytes {bytes}] [window {window}] [index] [stamped]", 4, p.drawOpen, p.open),
		form("append {n} records to {topic} [partition {partition}] [keys {keys}] [size {size}] [deletions] [age {age}] [id {id}] [expect {expect}]",
			40, p.drawAppend, p.append),
		form("append {n} records to {topic} one by one [partition {partition}] [keys {keys}] [size {size}]", 10, p.drawAsync, p.appendAsync),
		form("append {n} records to {topic} as producer {producer} in partition {partition} numbered {numbered}", 10, p.drawProduce, p.produce),
		form("trim partition {partition} of {topic} to {place}", 3, p.drawTrim, p.trim),
		form("compact {topic}", 4, p.drawTopic, p.compact),
		{phrase: parsePhrase("wait until the tombstones of {topic} are over"), weight: 4, alone: true, draw: p.drawStones, do: p.outwait},
		form("enforce the retention of {topic}", 3, p.drawTopic, p.enforce),
		form("alter {topic} [partitions {partitions}] [compression {compression}] [retention {retention}] [bytes {bytes}]", 2, p.drawAlter, p.alter),
		form("delete topic {topic}", 1, p.drawTopic, p.deleteTopic),
	}
}

// named returns a topic, nil if the step that opens it is missing.
func (p *logPart) named(name string) *ltopic {
	for _, t := range p.topics {
		if t.name == name && t.t != nil {
			return t
		}
	}
	return nil
}

func (p *logPart) taken(name string) bool {
	return slices.ContainsFunc(p.topics, func(t *ltopic) bool { return t.name == name })
}

func (p *logPart) drawTopic() args {
	var open []string
	for _, t := range p.topics {
		if t.t != nil && !t.deleting {
			open = append(open, t.name)
		}
	}
	if len(open) == 0 {
		return nil
	}
	return args{"topic": oneOf(p.w, open...)}
}

// drawPartition adds a partition to what was drawn.
func (p *logPart) drawPartition(a args) args {
	if a != nil {
		a["partition"] = fmt.Sprint(p.w.rng.IntN(len(p.named(a["topic"]).parts)))
	}
	return a
}

// partition returns the partition that the values of a step name, nil if there is none.
func (t *ltopic) partition(a args) *lpartition {
	if n := a.int("partition"); a.has("partition") && n < len(t.parts) {
		return t.parts[n]
	}
	return nil
}

func (p *logPart) drawOpen() args {
	w := p.w
	if len(p.topics) == 4 {
		return nil
	}
	p.drawn++
	a := args{"topic": fmt.Sprintf("t%d", p.drawn)}
	if w.likes("partitions") {
		a["partitions"] = oneOf(w, "1", "2", "3", "8")
	}
	if w.likes("compaction") && w.chance(2) {
		a["compact"] = "yes"
		if w.chance(2) {
			a["tombstones"] = oneOf(w, "1s", "1m", "1h")
		}
		if w.chance(3) {
			a["lag"] = oneOf(w, "1s", "1h")
		}
	}
	if w.likes("retention of time") && w.chance(2) {
		a["retention"] = oneOf(w, "10s", "1m", "1h", "24h")
	}
	if w.likes("retention of bytes") && w.chance(2) {
		a["bytes"] = oneOf(w, "1000", "50000", "1000000")
	}
	if w.likes("ids") && w.chance(2) {
		a["window"] = oneOf(w, "10s", "5m")
	}
	if w.likes("index") && w.chance(2) {
		a["index"] = "yes"
	}
	if w.likes("stamps") && w.chance(2) {
		a["stamped"] = "yes"
	}
	p.drawCompression(a)
	return a
}

func (p *logPart) drawCompression(a args) {
	if p.w.likes("compression") && p.w.chance(2) {
		a["compression"] = oneOf(p.w, "snappy", "zstd")
	}
}

var compressions = map[string]log.Compression{"": log.NoCompression, "none": log.NoCompression, "snappy": log.Snappy, "zstd": log.Zstd}

func (p *logPart) open(c *client, a args) {
	if p.taken(a["topic"]) {
		return
	}
	t := &ltopic{
		name: a["topic"], disk: c.disk, loose: make(map[*lrecord]bool), keys: make(map[string][]*lrecord), ids: make(map[string][]*lcall), young: wall(),
		compacts: a.has("compact"), deleting: true, // nobody else knows it yet
	}
	t.config = log.TopicConfig{
		Partitions: a.int("partitions"), Compression: compressions[a["compression"]], Compact: a.has("compact"),
		MinCompactionLag: a.span("lag"), TombstoneRetention: a.span("tombstones"), RetentionTime: a.span("retention"),
		RetentionBytes: int64(a.int("bytes")), DedupeWindow: a.span("window"), IndexKeys: a.has("index"),
	}
	if a.has("stamped") {
		t.config.TimestampType = log.AppendTime
	}
	p.topics = append(p.topics, t)
	var opened *log.Topic
	o := c.call(func(ctx context.Context) (err error) {
		opened, err = log.OpenTopic(ctx, c.db, t.name, &t.config)
		return err
	})
	c.expects(o, "open "+t.name)
	if !o.done() { // whether it is there is not known: the world goes on without it
		p.drop(t)
		return
	}
	t.t, t.deleting = opened, false
	if c.syncs(true) {
		p.w.synced(o.began)
	} else {
		c.lose(func() { t.mayBeLost = true })
	}
	t.adopt(opened.Config())
}

// adopt notes a config, which may bring new partitions.
func (t *ltopic) adopt(config log.TopicConfig) {
	t.config = config
	for len(t.parts) < config.Partitions {
		t.parts = append(t.parts, &lpartition{topic: t, n: len(t.parts)})
	}
	for _, g := range t.groups {
		g.grow()
	}
}

// drop goes on without a topic.
func (p *logPart) drop(t *ltopic) {
	t.deleted = true
	for _, g := range t.groups {
		g.deleted = true
	}
	p.topics = slices.DeleteFunc(p.topics, func(o *ltopic) bool { return o == t })
}

// use notes a call that changes the topic; the function that it returns ends it, and reports
// whether no other one was made in the meantime.
func (t *ltopic) use() (end func() (quiet bool)) {
	t.calls++
	t.under++
	mine, alone := t.calls, t.under == 1
	return func() bool {
		t.under--
		return alone && t.calls == mine
	}
}

// wellSince is since when the disk lets the topic be tidied.
func (t *ltopic) wellSince() time.Time {
	if !t.disk.isWell() {
		return wall()
	}
	return t.disk.wellSince
}

// gone are the errors of a topic that is deleted, or may be.
func (t *ltopic) gone() (errs []error) {
	if t.deleting || t.deleted {
		errs = append(errs, log.ErrTopicDeleted, log.ErrGroupDeleted, log.ErrUnknownTopic)
	}
	if t.growing {
		errs = append(errs, log.ErrUnknownPartition)
	}
	return errs
}

// opened compares all that is left with what should be.
func (p *logPart) opened(c *client) {
	for _, t := range slices.Clone(p.topics) {
		var opened *log.Topic
		o := c.call(func(ctx context.Context) (err error) {
			opened, err = log.LookupTopic(ctx, c.db, t.name)
			return err
		})
		if (t.deleting || t.mayBeLost) && lost(o.err, log.ErrUnknownTopic) {
			for _, part := range t.parts {
				part.judgeLost(c)
			}
			p.drop(t)
			continue
		}
		if c.expects(o, "open "+t.name+" again"); !o.done() {
			return
		}
		t.t, t.deleting, t.mayBeLost, t.under, t.young = opened, false, false, 0, wall()
		if t.reopen(c, p); c.fault != "" {
			return
		}
	}
	p.reopenUpdates(c)
	p.judgePrefix(c)
	for _, t := range p.topics {
		for _, g := range slices.Clone(t.groups) {
			g.reopen(c)
		}
	}
}

// reopen reads a whole topic: whether a record is there is certain from now on.
func (t *ltopic) reopen(c *client, p *logPart) {
	is := t.t.Config()
	if is != t.config && !slices.Contains(t.configs, is) {
		c.fail("%s has config %+v, not %+v", t.name, is, t.config)
		return
	}
	t.growing, t.configs = false, nil
	t.adopt(is)
	for _, part := range t.parts[t.config.Partitions:] {
		part.judgeLost(c)
	}
	t.shrink(t.config.Partitions)
	for _, part := range t.parts {
		for _, m := range part.placed {
			if m != nil && m.mayBeGone {
				m.visible = false
			}
		}
		_, end, ok := part.bounds(c)
		if !ok {
			return
		}
		seen, ok := part.readAll(c, p)
		if !ok {
			return
		}
		start, _, ok := part.bounds(c) // retention may have come between, which a crash takes back
		if !ok {
			return
		}
		part.cut(c, start, end, seen)
	}
	t.resolve()
}

// resolve notes that everything has been read: what nobody has seen is not there.
func (t *ltopic) resolve() {
	for m := range t.loose {
		if !t.removes(m) { // else it may have been there and be gone again
			m.fate = gone
		}
		delete(t.loose, m)
	}
}

// removes reports that the topic may have removed a record that nobody has seen.
func (t *ltopic) removes(m *lrecord) bool {
	if t.compacts {
		return true
	}
	for _, part := range t.parts {
		if (m.part < 0 || m.part == part.n) && part.mostStart() > 0 {
			return true
		}
	}
	return false
}

// judgeLost complains about records that are lost with their partition.
func (part *lpartition) judgeLost(c *client) {
	for _, m := range part.placed {
		if m != nil && m.fate == here && !part.topic.deleting {
			c.fail("%s is lost with %s", m, part)
			return
		}
	}
}

// cut drops what a crash has taken.
func (part *lpartition) cut(c *client, start, end int64, seen map[*lrecord]bool) {
	for at, m := range part.placed {
		switch {
		case m == nil:
		case seen[m]:
			m.fate, m.visible = here, true
		case int64(at) >= end && !m.mayBeGone:
			c.fail("%s is lost: %s ends at %d", m, part, end)
			return
		case int64(at) >= end || m.mayBeGone && int64(at) >= start:
			m.fate = gone
			part.placed[at] = nil
		}
	}
	if int64(len(part.placed)) > end {
		part.placed = part.placed[:end]
	}
	part.reach(end)
}

// judgePrefix complains if a crash took a record and left one that came later.
func (p *logPart) judgePrefix(c *client) {
	var kept, taken *lrecord
	for _, m := range p.byID {
		switch {
		case m.topic.deleted || m.topic.compacts:
		case m.fate == gone && m.call.ended != 0 && (taken == nil || m.call.ended < taken.call.ended):
			taken = m
		case m.fate == here && (kept == nil || m.call.begun > kept.call.begun):
			kept = m
		}
	}
	if kept != nil && taken != nil && taken.call.ended < kept.call.begun {
		c.fail("a crash took %s and left %s, which was appended later", taken, kept)
	}
	for id, m := range p.byID { // each crash is judged once
		if m.fate == gone {
			delete(p.byID, id)
			m.topic.forget(m)
		}
	}
}

// forget drops a record that is gone.
func (t *ltopic) forget(m *lrecord) {
	if m.key != nil {
		t.keys[string(m.key)] = slices.DeleteFunc(t.keys[string(m.key)], func(o *lrecord) bool { return o == m })
	}
}

func (m *lrecord) String() string {
	if m.offset < 0 {
		return fmt.Sprintf("%s of %s", m.id, m.topic.name)
	}
	return fmt.Sprintf("%s at %s/%d/%d", m.id, m.topic.name, m.part, m.offset)
}

func (part *lpartition) String() string { return fmt.Sprintf("%s/%d", part.topic.name, part.n) }
