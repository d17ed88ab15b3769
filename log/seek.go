package log

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Seek moves the group in the given partitions, in all if none is given, forwards or backwards:
// replay is a Seek back. Acknowledgements of single records are forgotten. Members go on there
// at once. Each partition gets a new epoch, so commits for records received before the Seek are
// refused and cannot undo it. Either all partitions move or none; an Offset or a Shift that is
// out of range in one of them is an OffsetError. Its durability is that of the store or of ctx.
func (g *Group) Seek(ctx context.Context, to From, partitions ...int) error {
	o, err := g.seek(ctx, to, partitions)
	if err != nil {
		return err
	}
	o.alone = true
	return g.topic.s.Do(ctx, o, store.Default)
}

// In returns the verbs of the group that take part in a transaction.
func (g *Group) In(tx *pebblemq.Tx) GroupTx {
	return GroupTx{g, bridge.Tx(tx).For(g.topic.s, "group", g.name)}
}

// GroupTx is a Group within a transaction. It is valid as long as that.
type GroupTx struct {
	g *Group
	x *store.Tx
}

// Seek is Group.Seek as a part of the transaction. The position is looked up now, and where
// the group stands, for a Shift, when the transaction commits. If the transaction is refused,
// members notice nothing. To rebuild a projection, delete its state in the same transaction.
func (x GroupTx) Seek(to From, partitions ...int) error {
	o, err := x.g.seek(x.x.Context(), to, partitions)
	if err != nil {
		return x.x.Fail(err)
	}
	return x.x.Add(o, len(o.moves)*commitSize)
}

// Ack acknowledges records that a handler of Run, or a Member of the group, has received: what
// the handler does in the transaction and the acknowledgement are one change. If the handler
// fails afterwards, the record stays acknowledged: it is neither handled again nor moved. A
// record that is acknowledged already refuses the transaction with ErrSettled, one whose
// partition has gone to another member or was moved by Seek with ErrFenced. The handler returns
// that error as it is: Run counts no failure.
func (x GroupTx) Ack(records ...Record) error {
	o, err := settleBy(records, x.g.receiver, (*Member).ackOnce) // a Run with a Retry topic has two members
	if err != nil {
		return x.x.Fail(err)
	}
	return o.addTo(x.x)
}

// receiver returns the member of the group, or of a Run of it, that has received a record.
func (g *Group) receiver(r *Record) (*Member, error) {
	if t := r.tenure; t != nil && (t.claim.g == g || t.member.runOf == g) {
		return t.member, nil
	}
	return nil, store.Invalid("a record of partition %d, offset %d was not received by %s", r.Partition, r.Offset, g.named())
}

func (g *Group) seek(ctx context.Context, to From, partitions []int) (*seekOp, error) {
	if to.kind != fromShift {
		if err := to.check(); err != nil {
			return nil, err
		}
	}
	if err := g.topic.readable(); err != nil {
		return nil, err
	}
	claims, err := g.some(partitions)
	if err != nil {
		return nil, err
	}
	o := &seekOp{g: g, exact: to.exact(), relative: to.kind == fromShift}
	for _, c := range claims {
		m := move{c: c}
		if o.relative {
			m.by = to.offset
		} else if m.to, err = c.p.resolve(ctx, to); err != nil {
			return nil, err
		}
		o.moves = append(o.moves, m)
	}
	return o, nil
}

// some returns the claims of the given partitions, all if none is given.
func (g *Group) some(partitions []int) ([]*claim, error) {
	if len(partitions) == 0 {
		return g.claims(), nil
	}
	claims := make([]*claim, len(partitions))
	for i, n := range partitions {
		var err error
		if claims[i], err = g.claim(n); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

type move struct {
	c      *claim
	to     uint64
	by     int64    // instead, from where the group is
	before standing // set by Run
}

// seekOp moves a group. In a transaction it may be undone, so that members hear of it only
// when it is visible; what they commit until then is refused.
type seekOp struct {
	g        *Group
	exact    bool // else what was trimmed since it was resolved is passed over
	relative bool
	alone    bool // not in a transaction
	moves    []move
}

func (o *seekOp) Frees() {}

func (o *seekOp) String() string { return fmt.Sprintf("seek of %s", o.g.named()) }

func (o *seekOp) Run(t *store.Turn) error {
	if err := o.g.alive(); err != nil {
		return err
	}
	for i := range o.moves {
		if err := o.resolve(&o.moves[i]); err != nil {
			return err
		}
	}
	for i := range o.moves {
		m := &o.moves[i]
		m.before = m.c.standing()
		m.c.done = progress{next: m.to}
		m.c.renew()
		t.Touch(m.c)
	}
	if o.alone {
		o.tell()
	}
	return nil
}

// resolve finds out where a move leads, and refuses it if that is out of range.
func (o *seekOp) resolve(m *move) error {
	start, target := int64(m.c.p.start.Load()), int64(m.to)
	switch {
	case o.relative:
		target = int64(m.c.done.next) + m.by
	case !o.exact:
		target = max(target, start)
	}
	if target < start || target > int64(m.c.p.end.Load()) {
		return m.c.p.outOfRange(target)
	}
	m.to = uint64(target)
	return nil
}

func (o *seekOp) Undo() {
	for i := len(o.moves) - 1; i >= 0; i-- {
		m := &o.moves[i]
		if m.c.tenure != nil && m.c.tenure != m.before.tenure {
			m.c.tenure.end(nil)
		}
		m.c.restore(m.before)
	}
}

func (o *seekOp) Visible(*store.Turn) {
	if !o.alone {
		o.tell()
	}
}

// tell ends what the moves have ended, and tells the members.
func (o *seekOp) tell() {
	for i := range o.moves {
		if t := o.moves[i].before.tenure; t != nil {
			t.over()
		}
	}
	o.g.publish()
}
