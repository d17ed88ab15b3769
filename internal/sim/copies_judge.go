package main

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// mayLack are the errors of looking up something that was made and may not be on the disk.
func (w *world) mayLack() []error {
	if w.safe() {
		return nil
	}
	return []error{pebblemq.ErrNotFound}
}

// allows reports that there is no error, and complains about one that a copy must not return.
func (c *client) allows(err error, what string, allowed ...error) bool {
	c.expects(outcome{err: err}, "in a copy: "+what, allowed...)
	return err == nil
}

// remember compares, later, the accounts of a copy with its ledger, and that with the transfers.
func (b *bank) remember() judge {
	may, must := make(map[string]*transfer), make(map[string]bool)
	for id, t := range b.transfers {
		if t.mayBeHere {
			may[id], must[id] = t, t.fate == here && b.w.safe()
		}
	}
	return func(c *client) {
		var is statement
		err := c.db.View(c.ctx, func(tx *pebblemq.Tx) (err error) {
			is, err = readStatement(tx, 0)
			return err
		})
		if !c.allows(err, "view the accounts") {
			return
		}
		for _, id := range is.lines {
			if may[id] == nil {
				c.fail("the ledger of a copy has %s, which was refused or lost", id)
				return
			}
			delete(must, id)
		}
		is.addUp(c, may)
		for id, sure := range must {
			if sure {
				c.fail("%s was acknowledged and is not in a copy", id)
			}
		}
	}
}

// copiedTopic is what is known of a topic of a copy.
type copiedTopic struct {
	name       string
	partitions int
	trimmed    bool // while it is read, perhaps
	may, must  map[string]*lrecord
}

// remember reads, later, the topics of a copy.
func (p *logPart) remember() judge {
	var topics []copiedTopic
	lacking := p.w.mayLack()
	for _, t := range p.topics {
		if t.t == nil || t.deleting || t.mayBeLost || t.growing {
			continue
		}
		topics = append(topics, copiedTopic{t.name, len(t.parts), t.config.RetentionTime > 0 || t.config.RetentionBytes > 0, p.mayBeIn(t), t.mustBeThere(p.w)})
	}
	return func(c *client) {
		for _, t := range topics {
			t.judge(c, lacking)
		}
	}
}

// mayBeIn returns the records that a topic may have, as they are now: a producer may append what a crash has
// taken again, at another place.
func (p *logPart) mayBeIn(t *ltopic) map[string]*lrecord {
	may := make(map[string]*lrecord)
	for id, m := range p.byID {
		if m.topic == t && m.mayBeHere {
			now := *m
			may[id] = &now
		}
	}
	return may
}

// mustBeThere returns the records that a topic surely has, now and later.
func (t *ltopic) mustBeThere(w *world) map[string]*lrecord {
	must := make(map[string]*lrecord)
	if t.compacts || t.config.RetentionTime > 0 || !w.safe() {
		return must
	}
	for _, part := range t.parts {
		for at := part.mostStart(); at < int64(len(part.placed)); at++ {
			if m := part.placed[at]; m != nil && m.fate == here {
				must[m.id] = m
			}
		}
	}
	return must
}

func (t copiedTopic) judge(c *client, lacking []error) {
	topic, err := log.LookupTopic(c.ctx, c.db, t.name)
	whole := c.allows(err, "look up "+t.name, lacking...)
	if t.trimmed {
		lacking = append(slices.Clone(lacking), log.ErrOffsetOutOfRange)
	}
	for n := 0; n < t.partitions && err == nil; n++ {
		whole = c.allows(t.read(c, topic, n), "read "+t.name, lacking...) && whole // a new partition may not be on the disk
	}
	for _, m := range t.must {
		if whole {
			c.fail("%s was acknowledged and is not in a copy", m)
		}
	}
}

// read compares each record of a partition with what was appended.
func (t copiedTopic) read(c *client, topic *log.Topic, n int) error {
	reader, err := topic.NewReader(n, log.Start())
	if err == nil {
		err = reader.Until(log.End())
	}
	if err != nil {
		return err
	}
	for r, err := range reader.Records(c.ctx) {
		if err != nil {
			return err
		}
		m := t.may[idOf(r)]
		switch {
		case m == nil:
			c.fail("a copy of %s has at %d/%d a record that is not one of it, or is there twice: %q", t.name, n, r.Offset, r.Value)
			return nil
		case !bytes.Equal(r.Value, m.value) || !bytes.Equal(r.Key, m.key) || m.offset >= 0 && (m.part != n || m.offset != r.Offset):
			c.fail("%s is at %d/%d of a copy with key %q and value %q", m, n, r.Offset, r.Key, r.Value)
			return nil
		}
		delete(t.may, m.id)
		delete(t.must, m.id)
	}
	return nil
}

// copyReads is how often a queue of a copy is asked for messages at most.
const copyReads = 100

// remember receives, later, what the visibility queues of a copy hold.
func (p *visibilityPart) remember() judge {
	may := maps.Clone(p.byID)
	if p.w.safe() { // else one that is deleted may still be there
		maps.DeleteFunc(may, func(_ string, m *vmessage) bool { return !m.mayBeHere })
	}
	var names []string
	lacking := p.w.mayLack()
	for _, q := range p.queues {
		if q.q != nil && !q.deleting && !q.mayBeLost {
			names = append(names, q.name)
		}
	}
	return func(c *client) {
		for _, name := range names {
			q, err := visibility.LookupQueue(c.ctx, c.db, name)
			if c.allows(err, "look up "+name, lacking...) {
				receiveCopies(c, q, may)
			}
		}
	}
}

func receiveCopies(c *client, q *visibility.Queue, may map[string]*vmessage) {
	for range copyReads {
		got, err := q.Receive(c.ctx, &visibility.ReceiveOptions{Max: 10, VisibilityTimeout: time.Hour})
		if c.allows(err, "receive", visibility.ErrInFlightLimit); len(got) == 0 && (err == nil || errors.Is(err, visibility.ErrInFlightLimit)) {
			return
		}
		for _, r := range got {
			if m := may[r.ID]; m == nil || !bytes.Equal(r.Body, m.body) {
				c.fail("a copy of %s has %s, which was not sent, is there twice or has another body: %q", q.Name(), r.ID, r.Body)
				return
			}
			delete(may, r.ID)
		}
	}
}

// remember takes, later, what the work queues of a copy hold.
func (p *workqueuePart) remember() judge {
	may := maps.Clone(p.messages)
	var names []string
	lacking := p.w.mayLack()
	for _, q := range p.queues {
		if q.q != nil && q.fate == here {
			names = append(names, q.name)
		}
	}
	return func(c *client) {
		if len(names) == 0 {
			return
		}
		b, err := workqueue.LookupBroker(c.ctx, c.db, "main")
		if !c.allows(err, "look up the broker", lacking...) {
			return
		}
		for _, name := range names {
			q, err := b.Queue(c.ctx, name)
			if c.allows(err, "look up "+name, lacking...) {
				getCopies(c, q, may)
			}
		}
	}
}

func getCopies(c *client, q *workqueue.Queue, may map[string]*wmessage) {
	for range copyReads {
		d, ok, err := q.Get(c.ctx)
		if c.allows(err, "get") && !ok {
			return
		}
		if ok && (may[nameOf(d)] == nil || !bytes.Equal(d.Body, may[nameOf(d)].message.Body)) {
			c.fail("a copy of %s has %s, which was not published or has another body", q.Name(), nameOf(d))
			return
		}
	}
}

// copiedKey is what is known of a key of a copy.
type copiedKey struct {
	space, key string
	results    []string
	sure       bool // it has an outcome
}

// remember looks, later, for the outcomes of a copy.
func (p *keysPart) remember() judge {
	soon := wall().Add(time.Minute)
	var keys []copiedKey
	for _, s := range p.spaces {
		if s.n == nil || s.mayBeLost {
			continue
		}
		for _, k := range s.keys {
			if k.under == 0 && k.forgetting == 0 && p.w.safe() {
				keys = append(keys, copiedKey{s.name, k.name, slices.Clone(k.results), k.fate == here && !k.expires.maybe(soon)})
			}
		}
	}
	return func(c *client) {
		for _, k := range keys {
			k.judge(c)
		}
	}
}

func (k copiedKey) judge(c *client) {
	n, err := idempotency.LookupNamespace(c.ctx, c.db, k.space)
	if !c.allows(err, "look up "+k.space) {
		return
	}
	r, ok, err := n.Find(c.ctx, []byte(k.key))
	switch result := outcomeOf(r, err); {
	case ok && !slices.Contains(k.results, result):
		c.fail("%s of %s has in a copy the outcome %q, not one of %q", k.key, k.space, result, k.results)
	case !ok && c.allows(err, "find "+k.key) && k.sure:
		c.fail("%s of %s has no outcome in a copy", k.key, k.space)
	}
}

// judgeWhole has the store look at itself.
func judgeWhole(c *client) {
	_, err := c.db.Describe(c.ctx)
	if !c.allows(err, "describe the store") {
		return
	}
	report, err := c.db.Verify(c.ctx, &pebblemq.VerifyOptions{BytesPerSecond: pebblemq.Unlimited})
	if c.allows(err, "verify the store") && len(c.allowed) == 0 {
		c.allows(report.Err(), "the report of Verify")
	}
}

// judgeFailing changes a store until it notices that its disk fails. It refuses all changes from then on.
func judgeFailing(c *client) {
	var err error
	for range 1000 {
		if err = write(c); err != nil {
			break
		}
	}
	if err == nil {
		c.fail("a store whose disk fails takes 1000 changes")
	}
	c.allows(err, "write to a disk that fails")
	if err := write(c); !errors.Is(err, pebblemq.ErrFailed) {
		c.fail("a store that has failed returns %v for a change", err)
	}
	if c.db.Err() == nil || c.db.Health().Err == nil {
		c.fail("a store that has failed says that it is well")
	}
	c.allows(c.db.View(c.ctx, func(tx *pebblemq.Tx) error { _, err := readStatement(tx, 0); return err }), "view the accounts")
}

func write(c *client) error {
	return c.db.Update(c.ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte("copied"), []byte("yes")) })
}

// judgeWrite has the store accept a change.
func judgeWrite(c *client) { c.allows(write(c), "write") }
