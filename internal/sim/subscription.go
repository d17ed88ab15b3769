package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// subscriptionsPart is two topics whose records have values of a type, and one subscription to both.
type subscriptionsPart struct {
	w         *world
	topics    []log.TypedTopic[note]
	made      bool
	s         *log.Subscription
	joining   bool
	reading   bool
	notes     map[int]*lnote
	written   int
	visited   bool // another reader was there in this life, which takes partitions
	visiting  bool
	committed map[int]bool // for sure
}

// note is a value.
type note struct {
	Number int    `json:"number"`
	Text   string `json:"text,omitempty"`
}

// lnote is what is known of a note.
type lnote struct {
	fate
	topic int
	key   string
	read  int
}

func newSubscriptionsPart(w *world) *subscriptionsPart {
	return &subscriptionsPart{w: w, notes: make(map[int]*lnote), committed: make(map[int]bool)}
}

func (p *subscriptionsPart) verbs() []*verb {
	return []*verb{
		form("note {n} things in topic {which} [together] [key {key}]", 5, p.drawNote, p.note),
		form("subscribe to the notes", 3, p.drawSubscribe, p.subscribe),
		form("read {n} notes which ends with {end}", 6, p.drawRead, p.read),
		form("let a second reader of topic {which} come for {span} [slow]", 3, p.drawVisit, p.visit),
		form("end the subscription", 1, p.drawEnd, p.leave),
		form("read back topic {which} of the notes", 2, p.drawBack, p.readBack),
	}
}

func (p *subscriptionsPart) drawNote() args {
	if !p.w.likes("notes") {
		return nil
	}
	a := args{"n": fmt.Sprint(p.w.upTo(5)), "which": oneOf(p.w, "0", "1")}
	if p.w.chance(2) {
		a["together"] = "yes"
	}
	if p.w.chance(2) {
		a["key"] = oneOf(p.w, "a", "b")
	}
	return a
}

func (p *subscriptionsPart) drawSubscribe() args {
	if !p.made || p.s != nil {
		return nil
	}
	return args{}
}

func (p *subscriptionsPart) drawRead() args {
	if p.s == nil {
		return nil
	}
	return args{"n": oneOf(p.w, "1", "5", "100"), "end": oneOf(p.w, "commit", "commit", "ack", "nack", "transaction", "return", "offset", "nothing")}
}

func (p *subscriptionsPart) drawEnd() args {
	if p.s == nil {
		return nil
	}
	return args{}
}

func (p *subscriptionsPart) drawBack() args {
	if !p.made {
		return nil
	}
	return args{"which": oneOf(p.w, "0", "1")}
}

// open opens the topics, durably.
func (p *subscriptionsPart) open(c *client) bool {
	if len(p.topics) > 0 {
		return true
	}
	var topics []log.TypedTopic[note]
	o := c.call(func(ctx context.Context) error {
		topics = nil
		for _, name := range []string{"notes", "others"} {
			t, err := log.OpenTopic(pebblemq.WithDurability(ctx, pebblemq.Sync), c.db, name, &log.TopicConfig{Partitions: 2})
			if err != nil {
				return err
			}
			topics = append(topics, log.Typed(t, pebblemq.JSON[note]()))
		}
		return nil
	})
	if c.expects(o, "open the notes"); o.done() {
		p.topics, p.made = topics, true
	}
	return o.done()
}

func (p *subscriptionsPart) opened(c *client) {
	p.topics, p.s, p.joining, p.reading = nil, nil, false, false
	p.visited, p.visiting = false, false
	if p.made {
		p.open(c)
	}
}

// note appends notes, durably.
func (p *subscriptionsPart) note(c *client, a args) {
	if !p.open(c) {
		return
	}
	t, first := p.topics[a.int("which")], p.written+1
	n := a.int("n")
	p.written += n
	for i := range n {
		p.notes[first+i] = &lnote{fate: unknown, topic: a.int("which"), key: a["key"]}
	}
	with := &log.Record{Headers: []log.Header{{Name: "by", Value: []byte("sim")}}}
	if a.has("key") {
		with.Key = []byte(a["key"])
	}
	write := func(ctx context.Context) error {
		for i := range n {
			if _, err := t.Append(ctx, note{Number: first + i}, with); err != nil {
				return err
			}
		}
		return nil
	}
	if a.has("together") {
		write = func(ctx context.Context) error {
			return c.db.Update(ctx, func(tx *pebblemq.Tx) error {
				for i := range n {
					if _, err := t.In(tx).Append(note{Number: first + i, Text: "together"}, with); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	o := c.call(func(ctx context.Context) error { return write(pebblemq.WithDurability(ctx, pebblemq.Sync)) })
	c.expects(o, "note something")
	for i := range n {
		switch x := p.notes[first+i]; {
		case o.done():
			x.mayBeGone = false
		case o.refused() && a.has("together"):
			x.fate = gone
		}
	}
}

func (p *subscriptionsPart) subscribe(c *client, _ args) {
	if p.s != nil || p.joining || !p.open(c) {
		return
	}
	p.joining = true
	life, topics := c.life, p.topics
	var s *log.Subscription
	o := c.call(func(ctx context.Context) (err error) {
		ctx = pebblemq.WithDurability(ctx, pebblemq.Sync)
		for _, t := range topics {
			if _, _, err := t.EnsureGroup(ctx, "readers", &log.GroupConfig{From: log.Start()}); err != nil {
				return err
			}
		}
		s, err = log.Subscribe(ctx, "readers", p.told(c, "reader", 0), topics[0].Topic, topics[1].Topic)
		return err
	})
	if life == c.world.life {
		p.joining = false
	}
	if c.expects(o, "subscribe to the notes"); o.done() {
		p.s = s
	}
}

// read reads notes and settles them.
func (p *subscriptionsPart) read(c *client, a args) {
	s := p.s
	if s == nil || p.reading {
		return
	}
	p.reading = true
	defer func() { p.reading = p.reading && c.born != c.life }()
	var records []log.Record
	o := c.call(func(ctx context.Context) (err error) {
		ctx, stop := context.WithTimeout(ctx, 2*time.Second)
		defer stop()
		records, err = s.Poll(ctx, a.int("n"))
		return err
	})
	if !errors.Is(o.err, context.DeadlineExceeded) && !(lost(o.err, log.ErrLeft) && p.s != s) {
		c.expects(o, "read the notes")
	}
	if !o.done() || len(records) == 0 {
		return
	}
	var numbers []int
	for _, r := range records {
		if n, ok := p.judge(c, r); ok {
			numbers = append(numbers, n)
		}
	}
	p.settleNotes(c, s, records, numbers, a["end"])
}

// judge compares a record with the note that it is.
func (p *subscriptionsPart) judge(c *client, r log.Record) (number int, ok bool) {
	which := 0
	if r.Topic() == "others" {
		which = 1
	}
	value, err := p.topics[which].Decode(r)
	x := p.notes[value.Number]
	switch {
	case err != nil:
		c.fail("a note cannot be read: %v", err)
	case x == nil || !x.mayBeHere || x.topic != which || x.key != string(r.Key):
		c.fail("note %d is read from %s/%d, with key %q", value.Number, r.Topic(), r.Partition, r.Key)
	default:
		x.mayBeGone = false // it is durable, or nobody would see it
		x.read++
		return value.Number, true
	}
	return 0, false
}

func (p *subscriptionsPart) settleNotes(c *client, s *log.Subscription, records []log.Record, numbers []int, end string) {
	o := c.call(func(ctx context.Context) error {
		ctx = pebblemq.WithDurability(ctx, pebblemq.Sync)
		switch end {
		case "commit":
			return s.Commit(ctx, records...)
		case "ack":
			return s.Ack(ctx, records...)
		case "nack":
			var errs []error
			for _, r := range records {
				errs = append(errs, s.Nack(ctx, r, time.Second))
			}
			return errors.Join(errs...)
		case "offset":
			return commitOffsets(ctx, s, records)
		case "return":
			return c.db.Update(ctx, func(tx *pebblemq.Tx) (err error) {
				for _, r := range records {
					err = errors.Join(err, s.In(tx).Nack(r, time.Second))
				}
				return err
			})
		case "transaction":
			return c.db.Update(ctx, func(tx *pebblemq.Tx) error { return s.In(tx).Ack(records...) })
		}
		return nil
	})
	c.tellCall("notes %v: %s, %v", numbers, end, o.err)
	allowed := []error{log.ErrSettled, pebblemq.ErrInvalid, log.ErrBackwards} // a commit has finished what was given back or is held
	if p.s != s || p.visited {
		allowed = append(allowed, log.ErrFenced, log.ErrLeft)
	}
	if c.expects(o, end+" notes", allowed...); o.done() && (end == "ack" || end == "transaction") {
		for _, n := range numbers {
			p.committed[n] = true
		}
	}
}

// commitOffsets commits by position what a subscription has read.
func commitOffsets(ctx context.Context, s *log.Subscription, records []log.Record) error {
	for _, m := range s.Members() {
		next := make(map[int]int64)
		for _, r := range records {
			if r.Topic() == m.Group().Topic().Name() {
				next[r.Partition] = max(next[r.Partition], r.Offset+1)
			}
		}
		for n, offset := range next {
			if err := m.CommitOffset(ctx, log.Committed{Partition: n, Next: offset, Metadata: "by position"}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *subscriptionsPart) leave(c *client, _ args) {
	s := p.s
	if s == nil {
		return
	}
	p.s = nil
	o := c.call(s.Leave)
	c.expects(o, "end the subscription", log.ErrLeft)
}

// readBack reads a topic with typed readers: each note that was accepted is there once, in its order.
func (p *subscriptionsPart) readBack(c *client, a args) {
	if len(p.topics) == 0 {
		return
	}
	which := a.int("which")
	t := p.topics[which]
	must := make(map[int]bool)
	for n, x := range p.notes {
		if x.fate == here && x.topic == which {
			must[n] = true
		}
	}
	readers := make([]*log.Reader, t.Partitions())
	o := c.callFree(func() (err error) {
		for part := range readers {
			if readers[part], err = t.NewReader(part, log.Start()); err == nil {
				err = readers[part].Until(log.End())
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if c.expects(o, "make readers of the notes"); !o.done() {
		return
	}
	var faults []string
	o = c.call(func(ctx context.Context) error {
		for _, r := range readers {
			for v, err := range t.Reader(r).Records(ctx) {
				if err != nil {
					return err
				}
				value, err := v.Decode()
				if err != nil {
					faults = append(faults, err.Error())
				}
				delete(must, value.Number)
			}
		}
		return nil
	})
	c.expects(o, "read back the notes")
	for _, text := range faults {
		c.fail("a note cannot be read: %s", text)
	}
	for n := range must {
		if o.done() {
			c.fail("note %d was accepted, and is not in its topic", n)
		}
	}
}

func (p *subscriptionsPart) check(*client) {}

// settle reads all that is left: each note that was accepted has been read in the end.
func (p *subscriptionsPart) settle(c *client) {
	if !p.made {
		return
	}
	p.readBack(c, args{"which": "0"})
	p.readBack(c, args{"which": "1"})
	p.leave(c, nil)
	p.subscribe(c, nil)
	for idle := 0; idle < 3 && c.fault == "" && p.s != nil; idle++ {
		before := len(p.committed)
		if p.read(c, args{"n": "100", "end": "ack"}); len(p.committed) > before {
			idle = 0
		}
	}
	for n, x := range p.notes {
		if x.fate == here && x.read == 0 {
			c.fail("note %d was never read", n)
		}
	}
}
