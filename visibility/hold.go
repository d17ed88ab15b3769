package visibility

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// With QueueConfig.DelayBlocksGroup a delayed message blocks its group: messages sent to the
// group after it are delayed as well, at least until then. Delayed messages that are due at one
// time become visible in the order of sending, so the group keeps its order. They take as much
// memory as any delayed message.
//
//	hold  kind id group  ->  version 1 B | due 8 B | number 8 B
//
// is the last delayed message of a group, with its number among the delayed ones. It
// goes when that becomes visible, and not when it is due: a message that is sent in
// between has to stand behind it. If the last one is cancelled the others keep their
// delay, and the next one takes its place.
type hold struct {
	due    int64
	number uint64
}

const (
	holdVersion = 1
	holdLen     = 1 + 8 + 8
)

func (h hold) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte{holdVersion}, uint64(h.due))
	return binary.BigEndian.AppendUint64(b, h.number)
}

func decodeHold(v []byte) (hold, error) {
	switch {
	case len(v) > 0 && v[0] != holdVersion:
		return hold{}, fmt.Errorf("%w: hold of a group has version %d", store.ErrFormat, v[0])
	case len(v) != holdLen:
		return hold{}, fmt.Errorf("%w: hold %x of a group", store.ErrCorrupt, v)
	}
	return hold{int64(binary.BigEndian.Uint64(v[1:])), binary.BigEndian.Uint64(v[9:])}, nil
}

func (q *Queue) holdKey(group []byte) []byte {
	return append(store.Key(store.KindVisHold, q.id, len(group)), group...)
}

// readHold returns a zero hold for a group that is not held up.
func (q *Queue) readHold(t *store.Turn, group []byte) (hold, error) {
	v, err := t.Probe(q.holdKey(group))
	if v == nil && err == nil {
		return hold{}, nil
	}
	var h hold
	if err == nil {
		h, err = decodeHold(v)
	}
	if err != nil {
		return hold{}, fmt.Errorf("hold of group %q of queue %q: %w", group, q.name, err)
	}
	return h, nil
}

// due returns when the message can be received, and whether that is later.
func (o *sendOp) due(t *store.Turn) (due time.Time, later bool, err error) {
	due = t.Now().Add(o.delay)
	if !o.q.config().DelayBlocksGroup {
		return due, o.delay > 0, nil
	}
	h, err := o.q.readHold(t, groupOf(o.data))
	if h.due == 0 || err != nil {
		return due, o.delay > 0, err
	}
	if held := time.Unix(0, h.due); due.Before(held) {
		due = held
	}
	return due, true, nil
}

// holdUp notes that the group has another message that is delayed.
func (q *Queue) holdUp(t *store.Turn, data []byte, d queue.Delayed) {
	if q.config().DelayBlocksGroup {
		t.Set(q.holdKey(groupOf(data)), hold{d.Due, d.Seq}.encode())
	}
}

// promoted is called with a message that was delayed, as it is put into the queue.
func (q *Queue) promoted(t *store.Turn, was queue.Position, m *queue.Message) {
	if !q.config().DelayBlocksGroup {
		return
	}
	group := groupOf(m.Data)
	h, err := q.readHold(t, group)
	if err != nil {
		if !q.holdLost { // not for each message
			q.s.Log().Error("hold of a group cannot be read; it stays held up", "queue", q.name, "group", string(group), "error", err)
		}
		q.holdLost = true
		return
	}
	if h == (hold{was.Due, was.Seq}) {
		t.Delete(q.holdKey(group))
	}
}
