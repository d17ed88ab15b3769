package log

import (
	"cmp"
	"context"
	"fmt"
	"slices"

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
	return settle(ctx, m.g, "commit", o, records...)
}

// Committed is a position of a group in a partition.
type Committed struct {
	Partition int
	Next      int64  // the offset of the next record that the group wants
	Metadata  string // whatever the committer wants to remember, up to MaxMetadataBytes
}

// CommitOffset commits a position in a partition that the member owns. Beyond the
// end it is an OffsetError; otherwise it is like Commit.
func (m *Member) CommitOffset(ctx context.Context, to Committed) error {
	o, err := m.commitOffset(to)
	if err != nil {
		return err
	}
	return m.g.topic.s.Do(ctx, o, store.NoSync)
}

// Ack notes that the group is done with exactly the given records, in any order. The committed
// offset stays at the lowest unfinished record. Finished records above it are not delivered
// again, also after a restart. Where more than MaxGaps unfinished stretches would be left
// behind it is ErrTooLarge. Otherwise it is like Commit; to acknowledge a record again does
// nothing.
func (m *Member) Ack(ctx context.Context, records ...Record) error {
	o, err := m.ack(records)
	if err != nil {
		return err
	}
	return settle(ctx, m.g, "ack", o, records...)
}

// finish is Ack for a Run, which follows what it does itself.
func (m *Member) finish(ctx context.Context, records ...Record) error {
	o, err := m.ack(records)
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
func (x MemberTx) CommitOffset(to Committed) error {
	o, err := x.m.commitOffset(to)
	return x.add(o, err)
}

// Ack is Member.Ack as a part of the transaction. A record that is acknowledged already
// refuses the transaction with ErrSettled.
func (x MemberTx) Ack(records ...Record) error {
	o, err := x.m.ackOnce(records)
	return x.add(o, err)
}

func (x MemberTx) add(o *commitOp, err error) error {
	if err != nil {
		return x.x.Fail(err)
	}
	return x.x.Add(o, len(o.steps)*commitSize)
}

// commitSize is about what a commit writes.
const commitSize = 32

// commitOp notes what a group has finished.
type commitOp struct {
	m     *Member
	steps []commitStep
	one   [1]commitStep
	once  bool // refuses records that are acknowledged already
}

// commitStep is that of one partition: either all below next, or some spans.
type commitStep struct {
	c        *claim
	tenure   *tenure // that the commit rests on; nil: the member's present one
	next     uint64
	spans    []span // in order
	metadata string
	before   progress // set by Run
}

func (m *Member) commitRecords(records []Record) (*commitOp, error) {
	return m.settle("commit", records, func(s *commitStep, r *Record) { s.next = max(s.next, uint64(r.Offset)+1) })
}

func (m *Member) ack(records []Record) (*commitOp, error) {
	o, err := m.settle("acknowledgement", records, func(s *commitStep, r *Record) {
		offset := uint64(r.Offset)
		s.spans = append(s.spans, span{offset - min(r.gap, offset), offset + 1})
	})
	if err != nil {
		return nil, err
	}
	for _, s := range o.steps {
		slices.SortFunc(s.spans, func(a, b span) int { return cmp.Compare(a.lo, b.lo) })
	}
	return o, nil
}

// ackOnce is ack in a transaction.
func (m *Member) ackOnce(records []Record) (*commitOp, error) {
	o, err := m.ack(records)
	if err == nil {
		o.once = true
	}
	return o, err
}

// settle sorts records by the tenure that they were received under.
func (m *Member) settle(what string, records []Record, add func(*commitStep, *Record)) (*commitOp, error) {
	if len(records) == 0 {
		return nil, store.Invalid("%s of no records", what)
	}
	o := &commitOp{m: m}
	o.steps = o.one[:0]
	for i := range records {
		t := records[i].tenure
		if t == nil || t.member != m || records[i].Offset < 0 {
			return nil, store.Invalid("record %d of the %s was not received by this member", i, what)
		}
		add(o.step(t), &records[i])
	}
	return o, nil
}

func (o *commitOp) step(t *tenure) *commitStep {
	for i := len(o.steps) - 1; i >= 0; i-- {
		if o.steps[i].tenure == t {
			return &o.steps[i]
		}
	}
	o.steps = append(o.steps, commitStep{c: t.claim, tenure: t})
	return &o.steps[len(o.steps)-1]
}

func (m *Member) commitOffset(to Committed) (*commitOp, error) {
	c, err := m.g.claim(to.Partition)
	if err != nil {
		return nil, err
	}
	switch {
	case to.Next < 0:
		return nil, store.Invalid("offset %d is negative", to.Next)
	case len(to.Metadata) > MaxMetadataBytes:
		return nil, store.TooLarge("metadata of a commit in bytes", int64(len(to.Metadata)), MaxMetadataBytes)
	}
	return &commitOp{m: m, steps: []commitStep{{c: c, next: uint64(to.Next), metadata: to.Metadata}}}, nil
}

// Frees lets commits in when the disk is nearly full: they are what trimming waits
// for.
func (o *commitOp) Frees() {}

func (o *commitOp) String() string {
	return fmt.Sprintf("commit to group %q of topic %q", o.m.g.name, o.m.g.topic.name)
}

func (o *commitOp) Run(t *store.Turn) error {
	if err := o.m.g.alive(); err != nil {
		return err
	}
	for i := range o.steps {
		s := &o.steps[i]
		after, err := o.advance(s)
		if err != nil {
			o.undo(i)
			return err
		}
		s.before, s.c.done = s.c.done, after
		o.tellRun(s, true)
		t.Touch(s.c)
		t.Promise(len(after.metadata) + 8*len(after.above))
	}
	return nil
}

// advance returns what is finished after a step.
func (o *commitOp) advance(s *commitStep) (progress, error) {
	c := s.c
	if !o.current(s) {
		return progress{}, c.fenced(s.tenure)
	}
	if s.spans == nil {
		return o.commit(s)
	}
	for _, f := range s.spans {
		if f.hi > c.p.end.Load() { // a record that was changed by its receiver
			return progress{}, c.p.outOfRange(int64(f.hi) - 1)
		}
		if o.once && c.done.finished(f.hi-1) {
			return progress{}, fmt.Errorf("%w: group %q of topic %q, partition %d, offset %d",
				ErrSettled, c.g.name, c.g.topic.name, c.p.index, f.hi-1)
		}
	}
	done := c.done.finish(s.spans)
	return done, c.checkGaps(done)
}

// checkGaps refuses a progress with too many gaps.
func (c *claim) checkGaps(done progress) error {
	if len(done.above) > MaxGaps {
		return store.TooLarge(fmt.Sprintf("number of gaps that group %q leaves in topic %q, partition %d, above offset %d",
			c.g.name, c.g.topic.name, c.p.index, done.next), int64(len(done.above)), MaxGaps)
	}
	return nil
}

// current reports whether the member still has the assignment that a step rests
// on.
func (o *commitOp) current(s *commitStep) bool {
	if s.tenure != nil {
		return s.c.tenure == s.tenure
	}
	return s.c.tenure != nil && s.c.tenure.member == o.m
}

func (o *commitOp) commit(s *commitStep) (progress, error) {
	c := s.c
	switch {
	case s.next > c.p.end.Load():
		return progress{}, c.p.outOfRange(int64(s.next))
	case s.next < c.done.next:
		return progress{}, fmt.Errorf("%w: group %q of topic %q, partition %d: %d, committed is %d",
			ErrBackwards, o.m.g.name, o.m.g.topic.name, c.p.index, s.next, c.done.next)
	}
	done := c.done.upTo(s.next)
	if spans, any := c.tenure.back.between(c.done.next, s.next); any {
		done = c.done.finish(spans)
	}
	done.metadata = s.metadata
	return done, c.checkGaps(done)
}

func (o *commitOp) Undo() { o.undo(len(o.steps)) }

func (o *commitOp) undo(n int) {
	for i := n - 1; i >= 0; i-- {
		o.steps[i].c.done = o.steps[i].before
		o.tellRun(&o.steps[i], false)
	}
}

// tellRun notes for the Run that has handed records to its handlers which of them a
// transaction acknowledges.
func (o *commitOp) tellRun(s *commitStep, acked bool) {
	if !o.once || o.m.runOf == nil {
		return
	}
	for _, f := range s.spans {
		if acked {
			s.tenure.acked.Store(int64(f.hi)-1, true)
		} else {
			s.tenure.acked.Delete(int64(f.hi) - 1)
		}
	}
}

func (o *commitOp) Visible(*store.Turn) {}
