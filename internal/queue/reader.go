package queue

import (
	"bytes"
	"context"
	"errors"

	"github.com/pebblemq/pebblemq/internal/store"
)

// reader walks the messages of a lane in order, beside the baton. It passes over what it cannot
// read, if pass agrees. Data that it returns are copies.
type reader struct {
	q        *Lane
	segments *store.Iter
	states   *store.Iter

	segment *segment // at hand
	value   segmentValue
	err     error // why the state of the segment cannot be read
	at      int   // in its items
	room    []item

	gaps int    // of segments, seen
	end  uint64 // everything below is behind it
	lost []missing
}

// newReader returns a reader that begins at a message.
func newReader(ctx context.Context, q *Lane, from uint64, pass func(error) bool) (*reader, error) {
	r := &reader{q: q, end: from}
	lo, hi := seqKey(q.layout.Segment, q.place, from), store.PrefixEnd(laneKey(q.layout.Segment, q.place, 0))
	var err error
	if r.segments, err = q.loader.iter(ctx, lo, hi, pass); err != nil {
		return nil, err
	}
	lo, hi = seqKey(q.layout.State, q.place, from), store.PrefixEnd(laneKey(q.layout.State, q.place, 0))
	if r.states, err = q.loader.iter(ctx, lo, hi, pass); err != nil {
		return nil, errors.Join(err, r.segments.Close())
	}
	r.states.First()
	if r.segments.First() {
		err = r.open()
	} else {
		r.noteGap(^uint64(0))
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	r.skip(from)
	return r, nil
}

func (r *reader) close() error { return errors.Join(r.segments.Close(), r.states.Close()) }

// skip goes on to the first message of the segment at hand that is not below a number.
func (r *reader) skip(seq uint64) {
	for r.at < len(r.value.items) && r.value.items[r.at].seq < seq {
		r.at++
	}
}

// open reads the segment that the iterator stands on.
func (r *reader) open() error {
	last, err := decodeSeqKey(r.segments.Key())
	if err != nil {
		return err
	}
	v, err := r.segments.Value()
	if err != nil {
		return err
	}
	r.segment, r.err, r.at = &segment{q: r.q, first: last, last: last, sealed: true}, nil, 0
	if r.value, err = decodeSegment(v, last, r.room); err != nil {
		r.segment.first = min(r.end, last) // where it begins is not known
		r.lose(1, err)
		return nil
	}
	r.room = r.value.items
	r.noteGap(r.value.first)
	r.segment.take(&r.value)
	r.segment.size = len(v)
	if err := r.readState(last); err != nil {
		r.lose(uint64(r.segment.live), err)
	}
	return nil
}

// lose passes over the segment at hand. Without its state nobody knows what is settled.
func (r *reader) lose(messages uint64, err error) {
	r.err, r.value.items = err, nil
	if to := r.segment.last + 1; r.end < to {
		r.lost = append(r.lost, missing{span: span{max(r.end, r.segment.first), to}, messages: messages, err: err})
	}
}

// readState reads the state of the segment at hand, walking along beside it.
func (r *reader) readState(last uint64) error {
	key := seqKey(r.q.layout.State, r.q.place, last)
	if r.states.Valid() && bytes.Compare(r.states.Key(), key) < 0 {
		if r.states.Next(); r.states.Valid() && bytes.Compare(r.states.Key(), key) < 0 {
			r.states.Seek(key)
		}
	}
	if err := r.states.Missed(key); err != nil {
		return err
	}
	if !r.states.Valid() || !bytes.Equal(r.states.Key(), key) {
		return nil
	}
	v, err := r.states.Value()
	if err != nil {
		return err
	}
	return r.segment.takeState(v)
}

// noteGap notes what was passed over before a segment that begins at a number.
func (r *reader) noteGap(first uint64) {
	for ; r.gaps < len(r.segments.Gaps()); r.gaps++ {
		if g := r.segments.Gaps()[r.gaps]; r.end < first {
			r.lost = append(r.lost, missing{span: span{r.end, first}, err: g.Err})
		}
	}
}

// next returns the next message, if there is one. Of one that cannot be read, err says why.
func (r *reader) next() (l loadedMessage, ok bool, err error) {
	l, ok, err = r.glance()
	l.Data = bytes.Clone(l.Data)
	return l, ok, err
}

// glance is next with data that are good until the reader goes on.
func (r *reader) glance() (l loadedMessage, ok bool, err error) {
	for r.segment != nil {
		for r.at < len(r.value.items) {
			m := r.value.items[r.at]
			r.at++
			if !r.segment.settled.has(int(m.seq - r.segment.first)) {
				r.end = m.seq + 1
				return r.message(m), true, nil
			}
		}
		if err := r.advance(); err != nil {
			return l, false, err
		}
	}
	return l, false, nil
}

// advance goes on to the next segment.
func (r *reader) advance() error {
	r.end = max(r.end, r.segment.last+1)
	if r.segments.Next() {
		return r.open()
	}
	r.noteGap(^uint64(0))
	r.segment = nil
	return nil
}

// message decodes the message of an item. Its data are those of the item.
func (r *reader) message(m item) (l loadedMessage) {
	l.seq, l.segment = m.seq, r.segment
	l.decode(m)
	return l
}

// read decodes the message of an item of its segment.
func (l *loadedMessage) read(m item) {
	l.decode(m)
	l.Data = bytes.Clone(l.Data)
}

// decode is read with data that are those of the item.
func (l *loadedMessage) decode(m item) {
	l.Content, l.err = decodeEntry(m.data)
	l.mark = l.segment.absent.of(m.seq)
}

// seek goes to the first message that is not below a number.
func (r *reader) seek(seq uint64) error {
	if r.segment != nil && r.segment.first <= seq && seq <= r.segment.last {
		r.at = 0
		r.skip(seq)
		return nil
	}
	r.segment, r.end = nil, seq
	if !r.segments.Seek(seqKey(r.q.layout.Segment, r.q.place, seq)) {
		return nil
	}
	r.states.Seek(seqKey(r.q.layout.State, r.q.place, seq))
	if err := r.open(); err != nil {
		return err
	}
	r.skip(seq)
	return nil
}

// read returns the message of a number.
func (r *reader) read(seq uint64) (l loadedMessage, err error) {
	if err := r.seek(seq); err != nil {
		return l, err
	}
	l = loadedMessage{seq: seq, gone: true}
	switch {
	case r.segment == nil || r.segment.first > seq:
		l.err = r.missed(seq)
	case r.err != nil:
		l.err = r.err
	case r.at < len(r.value.items) && r.value.items[r.at].seq == seq && !r.segment.settled.has(int(seq-r.segment.first)):
		l = r.message(r.value.items[r.at])
		l.Data = bytes.Clone(l.Data)
	}
	l.gone = l.gone && l.err == nil
	return l, nil
}

// missed returns why a segment cannot be read that may have a message, and is not the one at
// hand, behind which it would stand.
func (r *reader) missed(seq uint64) error {
	for _, g := range r.segments.Gaps() {
		if seqFrom(g.To) > seq && (r.segment == nil || seqFrom(g.From) <= r.segment.last) {
			return g.Err
		}
	}
	return nil
}

// loses reports that some of the messages from one number up to another may have been passed over.
func (r *reader) loses(from, to uint64) bool {
	for _, m := range r.lost {
		if m.from < to && from < m.to {
			return true
		}
	}
	for _, g := range r.segments.Gaps() { // a segment stands under its last number
		if first, last := seqFrom(g.From), seqFrom(g.To); from < last && (first < segmentMessages || first-segmentMessages < to) {
			return true
		}
	}
	return false
}
