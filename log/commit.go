package log

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Commit notes that the group is done with the given records and all before them
// in their partitions: it commits the offset after the highest one of each. The
// records must have been received by this member under its present assignment;
// otherwise it is a FencedError and nothing is committed. Below what is committed
// already it is ErrBackwards.
//
// It returns at once, and a crash may take it back: the records are delivered
// again. With Sync in ctx it returns when it is durable.
func (m *Member) Commit(ctx context.Context, records ...Record) error {
	o, err := m.commitRecords(records)
	if err != nil {
		return err
	}
	return m.g.topic.s.Do(ctx, o, store.NoSync)
}

// CommitOffset commits the offset of the next record that the group wants from a
// partition that the member owns. Beyond the end it is an OffsetError; otherwise it
// is like Commit.
func (m *Member) CommitOffset(ctx context.Context, partition int, next int64) error {
	o, err := m.commitOffset(partition, next)
	if err != nil {
		return err
	}
	return m.g.topic.s.Do(ctx, o, store.NoSync)
}

// In returns the verbs of the member that take part in a transaction.
func (m *Member) In(tx *pebblemq.Tx) MemberTx {
	return MemberTx{m, bridge.Tx(tx).For(m.g.topic.s, "group", m.g.name)}
}

// MemberTx is a Member within a transaction. It is valid as long as that.
type MemberTx struct {
	m *Member
	x *store.Tx
}

// Commit is Member.Commit as a part of the transaction: if the member has lost one
// of the partitions by then, nothing of the transaction happens.
func (x MemberTx) Commit(records ...Record) error {
	o, err := x.m.commitRecords(records)
	return x.add(o, err)
}

// CommitOffset is Member.CommitOffset as a part of the transaction.
func (x MemberTx) CommitOffset(partition int, next int64) error {
	o, err := x.m.commitOffset(partition, next)
	return x.add(o, err)
}

func (x MemberTx) add(o *commitOp, err error) error {
	if err != nil {
		return x.x.Fail(err)
	}
	return x.x.Add(o, len(o.steps)*(9+commitLen))
}

// commitOp moves committed offsets forwards.
type commitOp struct {
	m     *Member
	steps []commitStep
	one   [1]commitStep
}

type commitStep struct {
	c      *claim
	tenure *tenure // that the commit rests on; nil: the member's present one
	next   uint64
	prev   uint64 // set by Run
}

func (m *Member) commitRecords(records []Record) (*commitOp, error) {
	if len(records) == 0 {
		return nil, store.Invalid("commit of no records")
	}
	o := &commitOp{m: m}
	o.steps = o.one[:0]
	for i := range records {
		t, next := records[i].tenure, uint64(records[i].Offset)+1
		if t == nil || t.member != m {
			return nil, store.Invalid("record %d of the commit was not received by this member", i)
		}
		if s := o.find(t); s != nil {
			s.next = max(s.next, next)
			continue
		}
		o.steps = append(o.steps, commitStep{c: t.claim, tenure: t, next: next})
	}
	return o, nil
}

func (o *commitOp) find(t *tenure) *commitStep {
	for i := len(o.steps) - 1; i >= 0; i-- {
		if o.steps[i].tenure == t {
			return &o.steps[i]
		}
	}
	return nil
}

func (m *Member) commitOffset(partition int, next int64) (*commitOp, error) {
	if _, err := m.g.topic.partition(partition); err != nil {
		return nil, err
	}
	if next < 0 {
		return nil, store.Invalid("offset %d is negative", next)
	}
	return &commitOp{m: m, steps: []commitStep{{c: &m.g.claims[partition], next: uint64(next)}}}, nil
}

// Frees lets commits in when the disk is nearly full: they are what trimming waits
// for.
func (o *commitOp) Frees() {}

func (o *commitOp) String() string {
	return fmt.Sprintf("commit to group %q of topic %q", o.m.g.name, o.m.g.topic.name)
}

func (o *commitOp) Run(t *store.Turn) error {
	if err := o.m.g.topic.alive(); err != nil {
		return err
	}
	for i := range o.steps {
		if err := o.check(&o.steps[i]); err != nil {
			return err
		}
	}
	for i := range o.steps {
		s := &o.steps[i]
		s.prev, s.c.committed = s.c.committed, s.next
		t.Touch(s.c)
	}
	return nil
}

func (o *commitOp) check(s *commitStep) error {
	c := s.c
	current := c.tenure != nil && c.tenure.member == o.m
	if s.tenure != nil {
		current = c.tenure == s.tenure
	}
	switch {
	case !current:
		e := &FencedError{Topic: o.m.g.topic.name, Group: o.m.g.name, Partition: int(c.p.index), Current: c.epoch}
		if s.tenure != nil {
			e.Epoch = s.tenure.epoch
		}
		return e
	case s.next > c.p.end.Load():
		return c.p.outOfRange(int64(s.next))
	case s.next < c.committed:
		return fmt.Errorf("%w: group %q of topic %q, partition %d: %d, committed is %d",
			ErrBackwards, o.m.g.name, o.m.g.topic.name, c.p.index, s.next, c.committed)
	}
	return nil
}

func (o *commitOp) Undo() {
	for i := len(o.steps) - 1; i >= 0; i-- {
		o.steps[i].c.committed = o.steps[i].prev
	}
}

func (o *commitOp) Visible(*store.Turn) {}
