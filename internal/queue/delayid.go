package queue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/pebblemq/pebblemq/internal/store"
)

// What is delayed can be found by the layer's id of the message, at a cost that does
// not grow with how much there is: an index leads from the hash of the id to the due
// times. Several messages may have one id, and several ids one hash. Only delayed
// messages are in it, and of these only those with an id: for every message it would
// double what a queue writes.

// idOf returns the id of a message, or nil.
func (l *delays) idOf(c *Content) []byte {
	if l.identify == nil {
		return nil
	}
	return l.identify(c.Data)
}

// index notes the id of a message that is being delayed.
func (l *delays) index(t *store.Turn, c *Content, at Position) {
	q := l.q
	if id := l.idOf(c); len(id) > 0 {
		t.Set(idKey(q.layout.DelayedID, q.place, hashID(id), at), nil)
	}
}

// unindex forgets it.
func (l *delays) unindex(t *store.Turn, c *Content, at Position) {
	q := l.q
	if id := l.idOf(c); len(id) > 0 {
		t.DeleteSingle(idKey(q.layout.DelayedID, q.place, hashID(id), at))
	}
}

// hashID is what stands for an id in the index.
func hashID(id []byte) uint64 {
	sum := sha256.Sum256(id)
	return binary.BigEndian.Uint64(sum[:])
}

// read reads delayed messages from a position on, all of them or those with an
// id, up to a number. Next is where to go on, and zero at the end.
func (l *delays) read(ctx context.Context, from Position, id []byte, most int) (read []Seen, next Position, err error) {
	q := l.q
	if id != nil {
		return l.readByID(ctx, from, id, most)
	}
	_, hi := q.span(q.layout.Delayed)
	it, err := q.loader.iter(ctx, dueKey(q.layout.Delayed, q.place, from.Due, from.Seq), hi, store.IsDamage)
	if err != nil {
		return nil, next, err
	}
	defer func() { err = q.unread(errors.Join(err, it.Close())) }()
	size := 0
	for ok := it.First(); ok; ok = it.Next() {
		d, err := l.see(it)
		if err != nil {
			return nil, next, err
		}
		if size += len(d.Data); len(read) == most || size > browseBytes && len(read) > 0 {
			next = d.Position
			break
		}
		read = append(read, d)
	}
	gaps, err := lateGaps(it.Gaps())
	for _, g := range gaps {
		read = append(read, Seen{Position: Position{Lane: q.lane, Due: g.from.Due, Seq: g.from.Seq}, Err: g.err})
	}
	slices.SortFunc(read, func(a, b Seen) int { return a.Position.compare(b.Position) })
	return read, next, err
}

// readByID is readLater of those with an id.
func (l *delays) readByID(ctx context.Context, from Position, id []byte, most int) (read []Seen, next Position, err error) {
	q := l.q
	hash := hashID(id)
	hi := store.PrefixEnd(idKey(q.layout.DelayedID, q.place, hash, Position{})[:laneKeyLen+8])
	index, err := q.s.Iter(ctx, idKey(q.layout.DelayedID, q.place, hash, from), hi)
	if err != nil {
		return nil, next, err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	lo, hi := q.span(q.layout.Delayed)
	it, err := q.s.Iter(ctx, lo, hi)
	if err != nil {
		return nil, next, err
	}
	defer func() { err = q.unread(errors.Join(err, it.Close())) }()
	for ok := index.First(); ok; ok = index.Next() {
		_, at, err := decodeIDKey(index.Key())
		if err != nil {
			return nil, next, err
		}
		if len(read) == most {
			return read, at, nil
		}
		key := dueKey(q.layout.Delayed, q.place, at.Due, at.Seq)
		if !it.Seek(key) || !bytes.Equal(it.Key(), key) {
			continue // became due between the two, or an error, which Close returns
		}
		d, err := l.see(it)
		if err != nil {
			return nil, next, err
		}
		if bytes.Equal(l.idOf(&d.Content), id) {
			read = append(read, d)
		}
	}
	return read, next, nil
}

// see reads the delayed message at which an iterator stands.
func (l *delays) see(it *store.Iter) (s Seen, err error) {
	s.Lane = l.q.lane
	if s.Due, s.Seq, err = decodeDueKey(it.Key()); err != nil {
		return s, err
	}
	v, err := it.Value()
	if err != nil {
		return s, err
	}
	s.Content, s.Err = decodeDelayed(bytes.Clone(v))
	return s, nil
}

// peek is Peek of a delayed message.
func (l *delays) peek(ctx context.Context, alive func() error, at Position) (*Seen, error) {
	q := l.q
	v, err := q.s.Get(ctx, dueKey(q.layout.Delayed, q.place, at.Due, at.Seq))
	if err != nil {
		return nil, q.unread(err)
	}
	s := Seen{Position: at}
	s.Content, s.Err = decodeDelayed(v)
	if err := fence(ctx, q.s, alive, func(*store.Turn) {}); v == nil || err != nil {
		return nil, err
	}
	return &s, nil
}

// MaxLater is the most positions that Later returns.
const MaxLater = 1024

// later returns the positions of the delayed messages whose id may be this one, which
// is for Cancel to find out. It must not be called under the baton.
func (l *delays) later(ctx context.Context, id []byte) (found []Position, err error) {
	q := l.q
	hash := hashID(id)
	lo := idKey(q.layout.DelayedID, q.place, hash, Position{})
	index, err := q.s.Iter(ctx, lo, store.PrefixEnd(lo[:laneKeyLen+8]))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	for ok := index.First(); ok && len(found) < MaxLater; ok = index.Next() {
		_, at, err := decodeIDKey(index.Key())
		if err != nil {
			return nil, err
		}
		found = append(found, at)
	}
	return found, nil
}
