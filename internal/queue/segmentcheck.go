package queue

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// checkSegments compares the messages of a lane with what is derived from them.
func (l *laneCheck) checkSegments() error {
	lo, hi := l.span(l.Segment)
	return l.a.Walk(lo, hi, l.checkSegment)
}

func (l *laneCheck) checkSegment(key, v []byte) error {
	last, err := decodeSeqKey(key)
	if err != nil {
		return l.a.Drop(key, "%v", err)
	}
	if l.found && last < l.meta.low {
		return l.drop(key, fmt.Sprintf("messages up to %d were settled: all below %d were", last, l.meta.low))
	}
	value, err := decodeSegment(v, last, nil)
	if err != nil {
		return l.drop(key, fmt.Sprintf("messages up to %d: %v", last, err))
	}
	st, err := l.stateOf(key, last)
	if err != nil {
		return err
	}
	anew, wrong := segmentValue{first: value.first, rewritten: true}, ""
	for _, m := range value.items {
		if st.settled != nil && st.settled.has(int(m.seq-value.first)) {
			continue
		}
		text, kept, err := l.checkMessage(m)
		if err != nil {
			return err
		}
		if wrong == "" && text != "" {
			wrong = fmt.Sprintf("message %d: %s", m.seq, text)
		}
		if kept != nil {
			anew.items = append(anew.items, item{m.seq, kept})
			if i, marked := st.marks.find(m.seq); marked && st.marks[i].out {
				l.out++
			}
		}
	}
	switch {
	case wrong == "":
		return nil
	case len(anew.items) == 0:
		return l.drop(key, wrong)
	}
	return l.a.Put(key, anew.encode(), "%s", wrong)
}

// drop drops a segment, and its state.
func (l *laneCheck) drop(key []byte, wrong string) error {
	at := append([]byte{byte(l.State)}, key[1:]...)
	v, err := l.a.Get(at)
	if err == nil && v != nil {
		err = l.a.Drop(at, "state of messages that are dropped")
	}
	return errors.Join(err, l.a.Drop(key, "%s", wrong))
}

// stateOf returns the state of a segment, empty if it has none. One that is damaged is dropped:
// better that messages are handed out again than that they are lost.
func (l *laneCheck) stateOf(key []byte, last uint64) (st segmentState, err error) {
	at := append([]byte{byte(l.State)}, key[1:]...)
	v, err := l.a.Get(at)
	if v == nil || err != nil {
		return st, err
	}
	if st, err = decodeState(v, last); err != nil {
		return segmentState{}, l.a.Drop(at, "what was settled of the messages up to %d is lost, and they are handed out again: %v", last, err)
	}
	return st, nil
}

// checkMessage returns what is wrong with a message, and the message as it should be, nil if it
// should not be there.
func (l *laneCheck) checkMessage(m item) (wrong string, kept []byte, _ error) {
	if l.found && m.seq < l.meta.low {
		return fmt.Sprintf("was settled: all below %d were", l.meta.low), nil, nil
	}
	c, err := decodeEntry(m.data)
	if wrong, err = l.content(&c, slotEntries, err); wrong != "" || err != nil {
		return wrong, nil, err
	}
	if l.entries == 0 {
		l.first = m.seq
	}
	l.last = m.seq
	l.entries++
	l.bytes += c.size()
	l.count(&c)
	stray := c.stray
	err = errors.Join(l.checkExpiry(&c, m.seq), l.checkBirth(&c, m.seq), l.claims(&c, slotEntries, Position{Lane: l.place.lane, Seq: m.seq}))
	if c.stray != stray {
		return "is older than one before it, and does not say so", c.encode(), err
	}
	return "", m.data, err
}

// checkStates looks for states of segments that are not there.
func (l *laneCheck) checkStates() error {
	segments, err := l.cursor(l.Segment)
	if err != nil {
		return err
	}
	lo, hi := l.span(l.State)
	return l.a.Walk(lo, hi, func(key, _ []byte) error {
		last, err := decodeSeqKey(key)
		if err != nil {
			return l.a.Drop(key, "%v", err)
		}
		found, err := segments.Finds(seqKey(l.Segment, l.place, last))
		if err != nil || found {
			return err
		}
		return l.a.Drop(key, "state of the messages up to %d, which are not there", last)
	})
}

// messages calls visit with each message of a segment that is not settled. What is wrong with the
// segment was found before.
func (k *check) messages(key, v []byte, visit func(seq uint64, c Content, err error) error) error {
	last, err := decodeSeqKey(key)
	if err != nil {
		return nil
	}
	value, err := decodeSegment(v, last, nil)
	if err != nil {
		return nil
	}
	raw, err := k.a.Get(append([]byte{byte(k.State)}, key[1:]...))
	if err != nil {
		return err
	}
	st, err := decodeState(raw, last)
	for _, m := range value.items {
		if err == nil && st.settled.has(int(m.seq-value.first)) {
			continue
		}
		c, err := decodeEntry(m.data)
		if err := visit(m.seq, c, err); err != nil {
			return err
		}
	}
	return nil
}

// messageAt calls visit with the message at a position, if it is there.
func (k *check) messageAt(at Position, visit func(Content)) error {
	lo := seqKey(k.Segment, place{k.object, at.Lane}, at.Seq)
	hi := store.PrefixEnd(laneKey(k.Segment, place{k.object, at.Lane}, 0))
	c, err := k.a.Cursor(lo, hi)
	if err != nil {
		return err
	}
	if c.First() {
		v, err := c.Value()
		if err == nil {
			err = k.messages(bytes.Clone(c.Key()), v, func(seq uint64, c Content, err error) error {
				if seq == at.Seq && err == nil {
					visit(c)
				}
				return nil
			})
		}
		return errors.Join(err, c.Close())
	}
	return c.Close()
}
