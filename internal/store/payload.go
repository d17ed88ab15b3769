package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// Payload refers to bytes that several queues share. The zero Payload refers to
// nothing.
type Payload struct {
	Generation uint32 // from 1
	Number     uint32
	Size       uint32
}

// Shared reports whether p refers to anything.
func (p Payload) Shared() bool { return p.Generation != 0 }

// Holder is who refers to payloads: an object, which may keep several counts.
type Holder struct {
	ID   uint32
	Slot uint16 // below holderSlots
}

const holderSlots = 512

// payloads keeps what several queues share, once.
//
// A count of references beside each payload would cost a write for every copy that is settled,
// and a purge would have to look at each message that it drops. So payloads are numbered within
// generations of about 4 MiB, and the store counts how many copies each holder has in each
// generation. That is one small record a group at most; a purge or a drop writes a few. A
// generation without holders is deleted as one range, and one of which little is left is written
// anew, see payloadsweep.go.
//
//	03 generation 4 B | number 4 B               ->  version 1 B | bytes
//	04 object id 4 B | slot 2 B | generation 4 B ->  version 1 B | copies 8 B
//
// Invariant: live[g] is the sum of held[*][g]; a generation that is not live is
// the current one, or in emptied, or has no keys.
type payloads struct {
	Sealed
	held    map[Holder]map[uint32]uint64
	live    map[uint32]uint64
	numbers map[uint32]uint32 // payloads of a generation, or more
	dirty   map[holding]bool
	emptied []uint32 // perhaps; Seal looks again
	current uint32
	number  uint32
	size    int  // of the current generation
	keep    bool // what nobody holds; a salvaged store does not know yet who holds what
	sweep   payloadSweep
}

type holding struct {
	Holder
	generation uint32
}

const (
	payloadVersion  = 1
	generationBytes = 4 << 20
)

func newPayloads() payloads {
	return payloads{
		held: make(map[Holder]map[uint32]uint64), live: make(map[uint32]uint64), numbers: make(map[uint32]uint32),
		dirty: make(map[holding]bool), current: 1, sweep: payloadSweep{referrers: new(sync.Map), sparse: make(map[uint32]bool)},
	}
}

func payloadKey(generation, number uint32) []byte {
	k := binary.BigEndian.AppendUint32([]byte{byte(KindPayload)}, generation)
	return binary.BigEndian.AppendUint32(k, number)
}

func (h holding) key() []byte {
	k := binary.BigEndian.AppendUint16(Key(KindHolding, h.ID, 6), h.Slot)
	return binary.BigEndian.AppendUint32(k, h.generation)
}

func decodeHolding(k, v []byte) (h holding, copies uint64, err error) {
	if len(v) > 0 && v[0] != payloadVersion {
		return h, 0, fmt.Errorf("%w: holding %x has version %d", ErrFormat, k, v[0])
	}
	if len(k) != 11 || len(v) != 9 {
		return h, 0, fmt.Errorf("%w: holding %x", ErrCorrupt, k)
	}
	h.ID, h.Slot = binary.BigEndian.Uint32(k[1:]), binary.BigEndian.Uint16(k[5:])
	h.generation = binary.BigEndian.Uint32(k[7:])
	if h.Slot >= holderSlots {
		return h, 0, fmt.Errorf("%w: holding %x", ErrCorrupt, k)
	}
	return h, binary.BigEndian.Uint64(v[1:]), nil
}

// PutPayload stores bytes for sharing. They stay as long as a Holder holds them,
// from the running Op on. It needs no Undo beyond that of the holding.
func (t *Turn) PutPayload(b []byte) Payload {
	s := &t.s.payloads
	if s.size >= generationBytes {
		s.emptied = append(s.emptied, s.current)
		s.current, s.number, s.size = s.current+1, 0, 0
	}
	p := Payload{Generation: s.current, Number: s.number, Size: uint32(len(b))}
	s.number++
	s.numbers[s.current] = s.number
	s.size += len(b)
	t.putPayload(p, b)
	t.Touch(s)
	return p
}

func (t *Turn) putPayload(p Payload, b []byte) {
	k, v := t.SetDeferred(9, 1+len(b))
	copy(k, payloadKey(p.Generation, p.Number))
	v[0] = payloadVersion
	copy(v[1:], b)
}

// Hold counts n more copies of p with h, or fewer. UndoHold takes it back.
func (t *Turn) Hold(h Holder, p Payload, n int) {
	if p.Shared() && n != 0 {
		t.s.payloads.add(holding{h, p.Generation}, n)
		t.Touch(&t.s.payloads)
	}
}

// UndoHold takes a Hold with the same arguments back. The baton is held.
func (s *Store) UndoHold(h Holder, p Payload, n int) {
	if p.Shared() && n != 0 {
		s.payloads.add(holding{h, p.Generation}, -n)
	}
}

// HoldOnly sets the copies that h holds, by generation. It has no Undo.
func (t *Turn) HoldOnly(h Holder, copies map[uint32]uint64) {
	s := &t.s.payloads
	for g, n := range s.held[h] {
		if d := int(copies[g]) - int(n); d != 0 {
			s.add(holding{h, g}, d)
			t.Touch(s)
		}
	}
}

// Refer says who tells what an object refers to, nil for nobody any more. It needs no baton.
func (s *Store) Refer(object uint32, r Referrer) {
	if r == nil {
		s.payloads.sweep.referrers.Delete(object)
		return
	}
	s.payloads.sweep.referrers.Store(object, r)
}

// Sound returns what is wrong with a queue in memory, if anything is. It is for tests.
func (s *Store) Sound(ctx context.Context) error {
	return s.Do(WithDurability(ctx, NoSync), QuietFunc(func(*Turn) (err error) {
		s.payloads.sweep.referrers.Range(func(object, r any) bool {
			if wrong := r.(Referrer).Sound(); wrong != nil {
				err = fmt.Errorf("object %d: %w", object, wrong)
			}
			return err == nil
		})
		return err
	}), NoSync)
}

// Payload reads what p refers to. It returns nil if the payload has no holder any more. It must
// not be called under the baton.
func (s *Store) Payload(p Payload) ([]byte, error) {
	key := payloadKey(p.Generation, p.Number)
	var v []byte
	known := false
	s.mu.Peek(func() { v, known = s.unapplied(key) }) // whoever refers to it knows that it was accepted
	if known {
		return cutPayload(v, nil)
	}
	return cutPayload(s.engineGet(key))
}

// Payload is Store.Payload for use under the baton.
func (t *Turn) Payload(p Payload) ([]byte, error) {
	return cutPayload(t.Get(payloadKey(p.Generation, p.Number)))
}

// PayloadMissing is the error of a payload that is not there although somebody holds it. It
// names the tables that should have it, if the engine can tell them in time. It must not be
// called under the baton.
func (s *Store) PayloadMissing(ctx context.Context, p Payload) error {
	ctx, cancel := context.WithTimeout(ctx, engineGrace)
	defer cancel()
	key := payloadKey(p.Generation, p.Number)
	tables, err := s.engineTables(ctx)
	if err != nil {
		return fmt.Errorf("%w: %s: payload %d/%d is missing", ErrCorrupt, s.opts.Dir, p.Generation, p.Number)
	}
	var names []string
	for _, t := range tables {
		if bytes.Compare(t.Smallest.UserKey, key) <= 0 && bytes.Compare(key, t.Largest.UserKey) <= 0 {
			names = append(names, tableName(uint64(t.BackingSSTNum)))
		}
	}
	return fmt.Errorf("%w: %s: payload %d/%d is missing; the tables with such keys are %q",
		ErrCorrupt, s.opts.Dir, p.Generation, p.Number, names)
}

func cutPayload(v []byte, err error) ([]byte, error) {
	switch {
	case err != nil || v == nil:
		return nil, err
	case len(v) == 0:
		return nil, fmt.Errorf("%w: empty payload", ErrCorrupt)
	case v[0] != payloadVersion:
		return nil, fmt.Errorf("%w: payload has version %d", ErrFormat, v[0])
	}
	return v[1:], nil
}

func (s *payloads) add(h holding, n int) {
	if s.held[h.Holder] == nil {
		s.held[h.Holder] = make(map[uint32]uint64)
	}
	s.held[h.Holder][h.generation] += uint64(n)
	s.live[h.generation] += uint64(n)
	s.dirty[h] = true
	if s.live[h.generation] == 0 {
		s.emptied = append(s.emptied, h.generation)
	}
	s.noteCopies(h.generation, n)
}

// Seal writes the counts that changed, and deletes generations without holders.
func (s *payloads) Seal(t *Turn) {
	for h := range s.dirty {
		n := s.held[h.Holder][h.generation]
		if n > 0 {
			t.Set(h.key(), binary.BigEndian.AppendUint64([]byte{payloadVersion}, n))
			continue
		}
		t.Delete(h.key())
		delete(s.held[h.Holder], h.generation)
		if len(s.held[h.Holder]) == 0 {
			delete(s.held, h.Holder)
		}
	}
	clear(s.dirty)
	for _, g := range s.emptied {
		if !s.keep && s.live[g] == 0 && g != s.current {
			t.DeleteRange(payloadKey(g, 0), payloadKey(g+1, 0))
			delete(s.live, g)
			delete(s.numbers, g)
		}
	}
	s.emptied = s.emptied[:0]
	s.armSweep(t)
}

// letGo ends the holdings of an object that is dropped.
func (t *Turn) letGo(id uint32) {
	for slot := range uint16(holderSlots) {
		t.HoldOnly(Holder{id, slot}, nil)
	}
}

// loadPayloads reads the counts, and finds generations without holders, because a process does
// not delete its last one.
func (s *Store) loadPayloads() (err error) {
	s.payloads = newPayloads()
	p := &s.payloads
	p.sweep.s, p.sweep.timer = s, NewTimer(p.sweep.start)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{byte(KindPayload)}, UpperBound: []byte{byte(KindHolding) + 1}})
	if err != nil {
		return damaged(err)
	}
	defer func() { err = errors.Join(err, damaged(it.Close())) }()
	for ok := it.SeekGE([]byte{byte(KindHolding)}); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return damaged(err)
		}
		h, n, err := decodeHolding(it.Key(), v)
		if err != nil {
			return err
		}
		p.add(h, int(n))
		p.current = max(p.current, h.generation+1)
	}
	// The next move would forget the error, and what was not read would look as if nothing
	// referred to it.
	if err := it.Error(); err != nil {
		return damaged(err)
	}
	clear(p.dirty)
	for ok := it.First(); ok && it.Key()[0] == byte(KindPayload); {
		if len(it.Key()) != 9 {
			return fmt.Errorf("%w: payload key %x", ErrCorrupt, it.Key())
		}
		g := binary.BigEndian.Uint32(it.Key()[1:])
		if p.live[g] == 0 {
			p.emptied = append(p.emptied, g)
		}
		p.current = max(p.current, g+1)
		if it.SeekLT(payloadKey(g+1, 0)) && len(it.Key()) == 9 {
			p.numbers[g] = binary.BigEndian.Uint32(it.Key()[5:]) + 1
		}
		ok = it.SeekGE(payloadKey(g+1, 0))
	}
	for g := range p.live {
		if p.isSparse(g) {
			p.sweep.sparse[g] = true
		}
	}
	return damaged(it.Error())
}
