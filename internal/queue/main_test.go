package queue

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pebblemq/pebblemq/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var layout = Layout{
	Segment: store.KindWorkMessage, State: store.KindWorkState, Delayed: store.KindWorkDelay, Meta: store.KindWorkMeta,
	Parked: store.KindVisParked, DelayedID: store.KindWorkDelayID, Unique: store.KindWorkUnique,
}

var ctx = context.Background()

type putOp struct {
	q     *Lane
	data  []byte
	share string // a payload, if any
	p     store.Payload
	m     *Message
}

func (o *putOp) Run(t *store.Turn) error {
	if o.share != "" {
		o.p = t.PutPayload([]byte(o.share))
	}
	o.m = o.q.Put(t, Content{Data: o.data, Payload: o.p})
	return nil
}
func (o *putOp) Undo()                 { o.q.UndoPut(o.m) }
func (o *putOp) Visible(t *store.Turn) { o.q.Show(t, o.m) }

type delayOp struct {
	q     *Lane
	data  []byte
	share string
	p     store.Payload
	due   time.Time
	d     Delayed
}

func (o *delayOp) Run(t *store.Turn) error {
	if o.share != "" {
		o.p = t.PutPayload([]byte(o.share))
	}
	o.d = o.q.delays.put(t, Content{Data: o.data, Payload: o.p}, o.due)
	return nil
}
func (o *delayOp) Undo()                 { o.q.delays.undo(o.d) }
func (o *delayOp) Visible(t *store.Turn) { o.q.delays.show(t) }

type cancelOp struct {
	q    *Lane
	at   Position
	id   []byte
	done *Cancelled
}

func (o *cancelOp) Run(t *store.Turn) (err error) {
	o.done, err = o.q.delays.cancel(t, o.at, o.id)
	return err
}

func (o *cancelOp) Undo() {
	if o.done != nil {
		o.done.Undo()
	}
}
func (o *cancelOp) Visible(*store.Turn) {}

// alive lets a Browse go on.
func alive() error { return nil }

// lastWord is the id of a message in these tests.
func lastWord(data []byte) []byte { return data[bytes.LastIndexByte(data, ' ')+1:] }

type settleOp struct {
	q *Lane
	m *Message
}

func (o *settleOp) Run(t *store.Turn) error { o.q.SettleLater(t, o.m); return nil }
func (o *settleOp) Undo()                   { o.q.UndoSettle(o.m) }
func (o *settleOp) Visible(t *store.Turn)   { o.q.Settled(t, o.m) }

type returnOp struct {
	q       *Lane
	m       *Message
	forgive bool
	until   Moment
}

func (o *returnOp) Run(t *store.Turn) error {
	o.until = o.m.Until
	o.q.Return(t, o.m, o.forgive)
	return nil
}
func (o *returnOp) Undo()                 { o.q.UndoReturn(o.m, o.until) }
func (o *returnOp) Visible(t *store.Turn) { o.q.Returned(t, o.m) }

type extendOp struct {
	q      *Lane
	m      *Message
	to     time.Time
	before Moment
}

func (o *extendOp) Run(t *store.Turn) error {
	o.before = o.m.Until
	o.q.Extend(t, o.m, o.to)
	return nil
}
func (o *extendOp) Undo()               { o.q.UndoExtend(o.m, o.before) }
func (o *extendOp) Visible(*store.Turn) {}

// openLane brings a lane back, or starts an empty one.
func openLane(ctx context.Context, s *store.Store, l Layout, id uint32, o Options) (*Lane, error) {
	q := newLane(o, newShared(s, l, id, o))
	v, err := s.Get(ctx, laneKey(l.Meta, q.place, 0))
	if err == nil && v != nil {
		err = q.restoreMeta(ctx, v)
	}
	return q, err
}

// crowded leaves the lanes of a store no memory but their own.
func crowded(s *store.Store) *store.Store {
	freeOf(s).bytes = 0
	return s
}

// under runs f under the baton.
func under(t require.TestingT, s *store.Store, d store.Durability, f func(*store.Turn)) {
	require.NoError(t, s.Do(ctx, store.OpFunc(func(t *store.Turn) error { f(t); return nil }), d))
}

// storedMessage returns a message as the disk has it.
func storedMessage(t require.TestingT, s *store.Store, seq uint64) loadedMessage {
	r, err := newReader(ctx, newLane(Options{}, newShared(s, layout, 1, Options{})), seq, store.IsDamage)
	require.NoError(t, err)
	l, err := r.read(seq)
	require.NoError(t, errors.Join(err, r.close()))
	return l
}

// inMemory counts what is in memory.
func (q *Lane) inMemory() (n int) {
	q.order.messages(func(*Message) { n++ })
	return n
}

// spoil writes a message anew, so that it cannot be decoded.
func (q *Lane) spoil(t *store.Turn, seq uint64) error {
	last, err := q.order.lastOf(t, seq)
	if last == none || err != nil {
		return store.ErrNotFound
	}
	v, err := t.Get(seqKey(q.layout.Segment, q.place, last))
	if err != nil {
		return err
	}
	value, err := decodeSegment(v, last, nil)
	if err != nil {
		return err
	}
	i, _ := value.find(seq)
	value.items[i].data = []byte{9, 9}
	t.Set(seqKey(q.layout.Segment, q.place, last), value.encode())
	return nil
}
