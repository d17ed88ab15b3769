package queue

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

// pins are the records of a queue.
type pins struct {
	h    *shared
	of   func(data []byte) []byte // the group of a message
	told map[string]bool          // groups that were reported
}

func (p *pins) key(group []byte) []byte {
	return append(store.Key(p.h.layout.Pin, p.h.object, len(group)), group...)
}

func (p *pins) read(t *store.Turn, group []byte) (pin, error) {
	v, err := t.Get(p.key(group))
	if v == nil && err == nil {
		return pin{}, nil
	}
	var r pin
	if err == nil {
		r, err = decodePin(v)
	}
	if err != nil {
		return pin{}, fmt.Errorf("priority of group %q of queue %q: %w", group, p.h.name, err)
	}
	return r, nil
}

func (p *pins) write(t *store.Turn, group []byte, r pin) {
	if r.messages == 0 {
		t.Delete(p.key(group))
		return
	}
	t.Set(p.key(group), r.encode())
}

// add counts a message that is going to be put, and returns the lane for it, with the one that it
// wants to come to.
func (p *pins) add(t *store.Turn, wanted byte, data []byte) (byte, error) {
	if p == nil {
		return wanted, nil
	}
	group := p.of(data)
	if len(group) == 0 {
		return wanted, nil
	}
	r, err := p.read(t, group)
	if err != nil {
		return 0, err
	}
	if r.messages == 0 {
		r.lane = wanted
	}
	r.messages++
	p.write(t, group, r)
	return r.lane, nil
}

// remove counts a message that goes.
func (p *pins) remove(t *store.Turn, m *Message) {
	if p == nil {
		return
	}
	group := p.of(m.Data)
	if len(group) == 0 {
		return
	}
	r, err := p.read(t, group)
	if err != nil || r.messages == 0 {
		p.report(group, err)
		return
	}
	r.messages--
	p.write(t, group, r)
}

// report tells of a group whose record is wrong, once.
func (p *pins) report(group []byte, err error) {
	if p.told[string(group)] {
		return
	}
	if p.told == nil {
		p.told = make(map[string]bool)
	}
	p.told[string(group)] = true
	p.h.s.Log().Error("group is not known to have messages", "queue", p.h.name, "group", string(group), "error", err)
}

// rewrite writes the records of what a purge has kept.
func (p *pins) rewrite(t *store.Turn, lanes []*Lane) {
	if p == nil {
		return
	}
	t.DeleteRange(store.Span(p.h.layout.Pin, p.h.object))
	kept := make(map[string]pin)
	for _, lane := range lanes {
		lane.order.messages(func(m *Message) {
			if group := p.of(m.Data); len(group) > 0 {
				kept[string(group)] = pin{m.Lane, kept[string(group)].messages + 1}
			}
		})
	}
	for group, r := range kept {
		p.write(t, []byte(group), r)
	}
}
