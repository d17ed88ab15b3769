package spool

import (
	"encoding/binary"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Priorities and the order within a group contradict one another when the messages of
// one group have several. Order wins: a group is pinned to the lane that its first
// message came to, and as long as anything of it is in the queue, whatever is put
// comes there too. Between groups the priorities count.
//
// Nothing is known in memory of a group that waits, so a record says where it is pinned
// and how many messages of it there are. That costs each message two more writes and
// reads, in queues that have both and in no others.
//
// Invariant: in a pinned queue, the messages of a group are in one lane, and its record
// has their number; there is none if there are none. Damaged messages count for ever.
type pin struct {
	lane     byte
	messages uint64
}

const pinLen = 10

func (p pin) encode() []byte {
	return binary.BigEndian.AppendUint64([]byte{version, p.lane}, p.messages)
}

func decodePin(v []byte) (pin, error) {
	if err := checkVersion("pin", v, pinLen); err != nil {
		return pin{}, err
	}
	p := pin{lane: v[1], messages: binary.BigEndian.Uint64(v[2:])}
	if len(v) != pinLen || p.messages == 0 {
		return pin{}, damaged("pin", v)
	}
	return p, nil
}

func (q *Spool) pinKey(group []byte) []byte {
	return append(store.Key(q.layout.Pin, q.id, len(group)), group...)
}

func (q *Spool) readPin(t *store.Turn, group []byte) (pin, error) {
	v, err := t.Get(q.pinKey(group))
	if v == nil && err == nil {
		return pin{}, nil
	}
	var p pin
	if err == nil {
		p, err = decodePin(v)
	}
	if err != nil {
		return pin{}, fmt.Errorf("priority of group %q of queue %q: %w", group, q.name, err)
	}
	return p, nil
}

func (q *Spool) writePin(t *store.Turn, group []byte, p pin) {
	if p.messages == 0 {
		t.Delete(q.pinKey(group))
		return
	}
	t.Set(q.pinKey(group), p.encode())
}

// Pin returns the lane for a message that is going to be put, with the lane that it
// wants to come to, and counts it. Put must follow.
func (q *Lanes) Pin(t *store.Turn, wanted byte, data []byte) (byte, error) {
	if !q.shared.pinned {
		return wanted, nil
	}
	first, group := q.byLane[0], q.o.Group(data)
	if len(group) == 0 {
		return wanted, nil
	}
	p, err := first.readPin(t, group)
	if err != nil {
		return 0, err
	}
	if p.messages == 0 {
		p.lane = wanted
	}
	p.messages++
	first.writePin(t, group, p)
	return p.lane, nil
}

// unpin counts a message that goes.
func (q *Spool) unpin(t *store.Turn, m *Message) {
	if !q.pinned {
		return
	}
	group := q.groups.of(m.Data)
	if len(group) == 0 {
		return
	}
	p, err := q.readPin(t, group)
	if err != nil || p.messages == 0 {
		if q.bad.first("pin " + string(group)) {
			q.s.Log().Error("group is not known to have messages", "queue", q.name, "group", string(group), "error", err)
		}
		return
	}
	p.messages--
	q.writePin(t, group, p)
}

// repin writes the records of what a purge has kept.
func (q *Lanes) repin(t *store.Turn) {
	if !q.shared.pinned {
		return
	}
	t.DeleteRange(store.Span(q.layout.Pin, q.id))
	pins := make(map[string]pin)
	add := func(m *Message) {
		if group := q.o.Group(m.Data); len(group) > 0 {
			pins[string(group)] = pin{m.Lane, pins[string(group)].messages + 1}
		}
	}
	for _, lane := range q.open {
		lane.order.messages(add)
	}
	for group, p := range pins {
		q.byLane[0].writePin(t, []byte(group), p)
	}
}
