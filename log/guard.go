package log

import "github.com/pebblemq/pebblemq/internal/store"

// guard decides, under the baton, whether an append goes ahead. First it finds out whether the
// records are there already: then the conditions do not count, because the append itself has
// made them fail. The state for later appends is written last, when nothing can refuse this one
// any more.
type guard struct {
	producer *Producer // or nil
	number   uint64
	content  content
	past     produced // of the producer, as of this turn

	unique bool // by id
	id     [16]byte

	next OffsetCondition
	last LastCondition
	key  []byte // of last
}

// admit returns whether the records are there already. It notes where they are.
func (g *guard) admit(t *store.Turn, o *appendOp) (repeated bool, err error) {
	if repeated, err = g.recall(t, o); err != nil || repeated {
		return repeated, err
	}
	if err := g.expect(t, o); err != nil {
		return false, err
	}
	g.remember(t, o)
	return false, nil
}

// recall looks for an earlier append of the same records.
func (g *guard) recall(t *store.Turn, o *appendOp) (repeated bool, err error) {
	switch {
	case g.producer != nil:
		return g.recallNumber(t, &o.pieces[0])
	case g.unique:
		return g.recallID(t, o)
	}
	return false, nil
}

// expect refuses an append whose conditions do not hold.
func (g *guard) expect(t *store.Turn, o *appendOp) error {
	if p := o.pieces[0].p; g.next.expected && p.next != uint64(g.next.offset) {
		return &ConflictError{Topic: o.t.name, Partition: int(p.index), Expected: g.next.offset, Actual: int64(p.next)}
	}
	if !g.last.expected {
		return nil
	}
	v, err := t.Get(indexKey(o.t.id, g.key))
	if err != nil {
		return o.t.lostKey(g.key, err)
	}
	at, err := o.t.newest(v)
	if err == nil && at != g.last.at {
		err = &KeyConflictError{Topic: o.t.name, Key: g.key, Expected: g.last.at, Actual: at}
	}
	return err
}

// remember writes what tells a repetition of this append.
func (g *guard) remember(t *store.Turn, o *appendOp) {
	switch {
	case g.producer != nil:
		g.rememberNumber(t, &o.pieces[0])
	case g.unique:
		g.rememberID(t, o)
	}
}
