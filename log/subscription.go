package log

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Subscription reads several topics as one member of a group: it has a Member in the group of
// that name of each topic. The partitions of each topic are shared out in its own group, so
// subscriptions to different topics may share some of them. Record.Topic tells where a record
// is from. It is safe for concurrent use, as a Member is.
type Subscription struct {
	s       *store.Store
	members []*Member // with one wake signal
	turn    atomic.Uint32
}

// Subscribe joins the groups of one name of all topics, which are of one store, and creates
// those that do not exist, with the default config. EnsureGroup creates one with another
// config before. Nil options are the defaults; callbacks are called for each topic on its
// own, and Member.Group tells which.
func Subscribe(ctx context.Context, group string, o *JoinOptions, topics ...*Topic) (*Subscription, error) {
	if err := store.CheckContext(ctx); err != nil {
		return nil, err
	}
	if len(topics) == 0 {
		return nil, store.Invalid("group %q subscribes to no topics", group)
	}
	for i, t := range topics {
		switch {
		case t.s != topics[0].s:
			return nil, store.Invalid("topics %q and %q, to which group %q subscribes, are of different stores", topics[0].name, t.name, group)
		case slices.Contains(topics[:i], t):
			return nil, store.Invalid("group %q subscribes to topic %q twice", group, t.name)
		}
	}
	s := &Subscription{s: topics[0].s}
	wake := new(store.Signal)
	for _, t := range topics {
		if err := s.join(ctx, t, group, o, wake); err != nil {
			return nil, errors.Join(err, s.Leave(ctx))
		}
	}
	return s, nil
}

func (s *Subscription) join(ctx context.Context, t *Topic, group string, o *JoinOptions, wake *store.Signal) error {
	g, err := t.OpenGroup(ctx, group, nil)
	if err != nil {
		return err
	}
	full, err := o.check(g)
	if err != nil {
		return err
	}
	m, err := g.joinWith(ctx, full, wake)
	if err != nil {
		return err
	}
	s.members = append(s.members, m)
	return nil
}

// Members returns the Member of each topic, in the order of Subscribe: to pause partitions,
// or to commit an offset.
func (s *Subscription) Members() []*Member { return slices.Clone(s.members) }

// Leave leaves all groups, as Member.Leave.
func (s *Subscription) Leave(ctx context.Context) (err error) {
	if err := store.CheckContext(ctx); err != nil {
		return err
	}
	for _, m := range s.members {
		err = errors.Join(err, m.Leave(ctx))
	}
	return err
}

// Poll is Member.Poll for all topics, which take turns. The records of one call are of one
// topic.
func (s *Subscription) Poll(ctx context.Context, limit int) ([]Record, error) {
	if limit < 1 {
		return nil, store.Invalid("Poll of at most %d records, at least 1", limit)
	}
	for {
		wake := s.members[0].wake.C()
		var next time.Time
		first := int(s.turn.Add(1))
		for i := range s.members {
			m := s.members[(first+i)%len(s.members)]
			if err := m.notify(ctx); err != nil {
				return nil, err
			}
			found, err := m.take(ctx, limit)
			if len(found) > 0 {
				traceReceive(ctx, m.g, found...)
			}
			if len(found) > 0 || err != nil {
				return found, err
			}
			at, err := m.nextTry(ctx)
			if err != nil {
				return nil, err
			}
			if next.IsZero() || !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		if err := waitUntil(ctx, s.s, wake, next); err != nil {
			return nil, err
		}
	}
}

// recordsAtOnce is how many records the iterator has Poll return.
const recordsAtOnce = 128

// Records returns the records of all topics as they come, until an error. It is Poll one by
// one, and may be called again like Member.Records. Records that were polled and not handed
// out when the loop ends are given back.
func (s *Subscription) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			found, err := s.Poll(ctx, recordsAtOnce)
			if err != nil {
				yield(Record{}, err)
				return
			}
			for i, r := range found {
				if !yield(r, nil) {
					s.giveBack(ctx, found[i+1:])
					return
				}
			}
		}
	}
}

func (s *Subscription) giveBack(ctx context.Context, records []Record) {
	for _, r := range records {
		if o, err := r.tenure.member.nack(r, 0); err == nil {
			_ = s.s.Insist(ctx, o) // refused if it has gone to another owner
		}
	}
}

// Commit is Member.Commit for records of all topics, as one change.
func (s *Subscription) Commit(ctx context.Context, records ...Record) error {
	o, err := s.settle(records, (*Member).commitRecords)
	if err != nil {
		return err
	}
	return s.s.Do(ctx, o, store.NoSync)
}

// Ack is Member.Ack for records of all topics, as one change.
func (s *Subscription) Ack(ctx context.Context, records ...Record) error {
	o, err := s.settle(records, (*Member).ack)
	if err != nil {
		return err
	}
	return s.s.Do(ctx, o, store.NoSync)
}

// Nack is Member.Nack for a record of any of the topics.
func (s *Subscription) Nack(ctx context.Context, r Record, delay time.Duration) error {
	m, err := s.receiver(&r)
	if err != nil {
		return err
	}
	return m.Nack(ctx, r, delay)
}

// receiver returns the member that has received a record.
func (s *Subscription) receiver(r *Record) (*Member, error) {
	if r.tenure == nil || !slices.Contains(s.members, r.tenure.member) {
		return nil, store.Invalid("a record of partition %d, offset %d was not received by this subscription", r.Partition, r.Offset)
	}
	return r.tenure.member, nil
}

// settle commits or acknowledges records of all members.
func (s *Subscription) settle(records []Record, how func(*Member, []Record) (*commitOp, error)) (all settlement, err error) {
	return settleBy(records, s.receiver, how)
}

// settleBy sorts records by the member that has received them.
func settleBy(records []Record, receiver func(*Record) (*Member, error), how func(*Member, []Record) (*commitOp, error)) (all settlement, err error) {
	if len(records) == 0 {
		return nil, store.Invalid("no records to commit or acknowledge")
	}
	var members []*Member // in the order of their first records
	of := make(map[*Member][]Record)
	for i := range records {
		m, err := receiver(&records[i])
		if err != nil {
			return nil, err
		}
		if of[m] == nil {
			members = append(members, m)
		}
		of[m] = append(of[m], records[i])
	}
	for _, m := range members {
		o, err := how(m, of[m])
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// settlement is several commits that stand or fall together.
type settlement []*commitOp

// addTo makes them part of a transaction.
func (o settlement) addTo(x *store.Tx) error {
	for _, c := range o {
		if err := x.Add(c, len(c.steps)*commitSize); err != nil {
			return err
		}
	}
	return nil
}

func (o settlement) Frees() {}

func (o settlement) Run(t *store.Turn) error {
	for i, c := range o {
		if err := c.Run(t); err != nil {
			o[:i].Undo()
			return err
		}
	}
	return nil
}

func (o settlement) Undo() {
	for i := len(o) - 1; i >= 0; i-- {
		o[i].Undo()
	}
}

func (o settlement) Visible(t *store.Turn) {
	for _, c := range o {
		c.Visible(t)
	}
}

// In returns the verbs of the subscription that take part in a transaction.
func (s *Subscription) In(tx *pebblemq.Tx) SubscriptionTx {
	return SubscriptionTx{s, bridge.Tx(tx).For(s.s, "group", s.members[0].g.name)}
}

// SubscriptionTx is a Subscription within a transaction. It is valid as long as that.
type SubscriptionTx struct {
	s *Subscription
	x *store.Tx
}

// Commit is MemberTx.Commit for records of all topics.
func (x SubscriptionTx) Commit(records ...Record) error {
	return x.settle(records, (*Member).commitRecords)
}

// Ack is MemberTx.Ack for records of all topics.
func (x SubscriptionTx) Ack(records ...Record) error { return x.settle(records, (*Member).ackOnce) }

func (x SubscriptionTx) settle(records []Record, how func(*Member, []Record) (*commitOp, error)) error {
	o, err := x.s.settle(records, how)
	if err != nil {
		return x.x.Fail(err)
	}
	return o.addTo(x.x)
}

// Nack is MemberTx.Nack for a record of any of the topics.
func (x SubscriptionTx) Nack(r Record, delay time.Duration) error {
	m, err := x.s.receiver(&r)
	if err != nil {
		return x.x.Fail(err)
	}
	o, err := m.nack(r, delay)
	if err != nil {
		return x.x.Fail(err)
	}
	return x.x.Add(o, 0)
}
