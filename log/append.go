package log

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Position is the place of a record.
type Position struct {
	Partition int
	Offset    int64
}

// Append stores records and returns their places, in the order of the
// arguments. All are stored or none: one that is invalid or over a limit refuses
// the call with a RecordError. Records with a key go to the partition that
// Kafka's partitioner chooses; those without one go to one partition together,
// another with each call. Within a partition they are stored in the order of the
// arguments.
//
// It returns when the records are durable and readable. With NoSync it returns at once, and the
// records are readable as soon as all earlier changes are. A crash may take NoSync records
// back, and their offsets go to others then. All bytes are copied. Concurrent calls share an
// fsync and a stored batch.
func (t *Topic) Append(ctx context.Context, records ...Record) ([]Position, error) {
	records, end := traceAppend(ctx, t, store.StepSend, records)
	o, err := t.newAppend(ctx, anyPartition, records, newBuffer)
	return t.append(ctx, o, err, end)
}

// append carries an append out, unless it was refused, and ends its step.
func (t *Topic) append(ctx context.Context, o *appendOp, err error, end func(error)) ([]Position, error) {
	if err == nil {
		err = t.s.Do(ctx, o, store.Default)
	}
	if end(err); err != nil {
		return nil, err
	}
	return o.positions(), nil
}

// AppendAsync is Append without waiting for the disk. The records have their
// place when it returns: calls of one goroutine keep their order. It blocks while
// too many bytes wait to be written, by a share of the store's memory. The Future has
// the places or the error, that of a bad argument included. Flush waits for all.
func (t *Topic) AppendAsync(ctx context.Context, records ...Record) *pebblemq.Future[[]Position] {
	f := new(pebblemq.Future[[]Position])
	records, end := traceAppend(ctx, t, store.StepSend, records)
	o, err := t.newAppend(ctx, anyPartition, records, newBuffer)
	if err == nil {
		err = t.s.Go(ctx, o, store.Default, func(err error) {
			end(err)
			var at []Position
			if err == nil {
				at = o.positions()
			}
			bridge.Settle(f, at, err)
		})
	}
	if err != nil {
		end(err)
		bridge.Settle[[]Position](f, nil, err)
	}
	return f
}

// Flush waits until everything that was appended before, by any goroutine, is settled:
// a Sync append is durable, and every Future has its outcome. It makes nothing
// durable that was appended with NoSync. An error means that the store failed or was
// closed; the Futures tell what became of each append.
func (t *Topic) Flush(ctx context.Context) error {
	if err := t.alive(); err != nil {
		return err
	}
	// An Op that writes nothing waits for all before it, whose Futures come first.
	return t.s.Do(store.WithDurability(ctx, store.Sync), store.QuietFunc(func(*store.Turn) error {
		return nil
	}), store.Sync)
}

// In returns the verbs of the topic that take part in a transaction.
func (t *Topic) In(tx *pebblemq.Tx) TopicTx {
	return TopicTx{t, bridge.Tx(tx).For(t.s, "topic", t.name)}
}

// TopicTx is a Topic within a transaction. It is valid as long as that.
type TopicTx struct {
	t *Topic
	x *store.Tx
}

// Append adds records when the transaction commits. All bytes are copied now,
// and bad records are refused now; either way of refusal dooms the transaction.
// The Placement has the places once Update has returned nil.
func (x TopicTx) Append(records ...Record) (*Placement, error) {
	records, end := traceAppend(x.x.Context(), x.t, store.StepCreate, records)
	o, err := x.t.newAppend(x.x.Context(), anyPartition, records, exactBuffer)
	return x.add(o, err, end)
}

// add makes an append a part of the transaction, unless it was refused, and ends its step.
func (x TopicTx) add(o *appendOp, err error, end func(error)) (*Placement, error) {
	if err == nil {
		err = x.x.Add(o, o.size())
	} else {
		err = x.x.Fail(err)
	}
	if end(err); err != nil {
		return nil, err
	}
	return &Placement{o}, nil
}

// Placement tells where the records of an append in a transaction are. It is safe for
// concurrent use.
type Placement struct{ op *appendOp }

// Positions returns the places of the records, in the order of the arguments. It returns
// ErrPending until the transaction has committed, and for ever if it does not.
func (p *Placement) Positions() ([]Position, error) {
	if !p.op.placed.Load() {
		return nil, ErrPending
	}
	return p.op.positions(), nil
}

// appendOp stores the records of one call. They are encoded already.
type appendOp struct {
	t      *Topic
	pieces []piece // one a partition
	one    [1]piece
	routes []uint16 // which piece each record is in; nil if there is one piece
	n      int
	guard  *guard     // or nil
	repeat bool       // the guard has found the records in the log
	keys   []keyAt    // to be indexed
	before []Position // of a repeated one, if its pieces do not tell
	placed atomic.Bool
}

// piece is the part of an append that goes to one partition.
type piece struct {
	p        *partition
	segments []segment
	one      [1]segment
	count    uint64
	bytes    int    // encoded, in all segments
	left     int    // of bytes, not encoded yet
	base     uint64 // set by Run
	undo     mark
}

func (o *appendOp) String() string {
	return fmt.Sprintf("append %d records to topic %q", o.n, o.t.name)
}

func (o *appendOp) Run(t *store.Turn) error {
	if err := o.t.alive(); err != nil {
		return err
	}
	for i := range o.pieces {
		if err := o.pieces[i].p.appendable(); err != nil {
			return err
		}
	}
	if err := o.ask(t); err != nil || o.repeat {
		return err
	}
	for i := range o.pieces {
		c := &o.pieces[i]
		c.base, c.undo = c.p.next, c.p.mark()
		for _, s := range c.segments {
			c.p.accept(t, s)
		}
		c.segments, c.one[0].buf = nil, nil
	}
	o.writeIndex(t)
	o.placed.Store(true)
	return nil
}

// ask lets the guard decide.
func (o *appendOp) ask(t *store.Turn) (err error) {
	if o.guard == nil {
		return nil
	}
	if o.repeat, err = o.guard.admit(t, o); err != nil || !o.repeat {
		return err
	}
	for i := range o.pieces {
		o.pieces[i].segments = nil
	}
	o.placed.Store(true)
	return nil
}

func (o *appendOp) Undo() {
	o.placed.Store(false)
	if o.repeat {
		return
	}
	for i := len(o.pieces) - 1; i >= 0; i-- {
		c := &o.pieces[i]
		c.p.rewind(c.undo)
	}
}

func (o *appendOp) Visible(*store.Turn) {
	if o.repeat {
		return
	}
	for i := range o.pieces {
		c := &o.pieces[i]
		c.undo = mark{}
		c.p.show(c.base + c.count)
	}
}

// size is about what the append will write.
func (o *appendOp) size() int {
	n := 0
	for i := range o.pieces {
		n += o.pieces[i].bytes + headerLen + batchKeyLen
	}
	return n
}

// positions returns the places of the records, in the order of the call.
func (o *appendOp) positions() []Position {
	if o.before != nil {
		return o.before
	}
	at := make([]Position, o.n)
	if o.routes == nil {
		c := &o.pieces[0]
		for i := range at {
			at[i] = Position{Partition: int(c.p.index), Offset: int64(c.base) + int64(i)}
		}
		return at
	}
	next := make([]uint64, len(o.pieces))
	for i, r := range o.routes {
		c := &o.pieces[r]
		at[i] = Position{Partition: int(c.p.index), Offset: int64(c.base + next[r])}
		next[r]++
	}
	return at
}
