package store

import (
	"bytes"
	"context"
	"errors"
	"math/big"
)

// An iterator of the engine ends with an error where it meets a damaged block, and
// says nothing about what stands behind it. A seek to any key in the block fails, a
// seek behind it works. So the end of a stretch that cannot be read is found by
// seeking: in growing steps until a seek works, then by bisection.
//
//	key    readable │ damaged block │ readable
//	                  ▲ ▲  ▲     ▲    │    ▲
//	seeks             └─┴──┴─────┴────┼────┘  each step an eighth of the way so far
//	                             └──▶ │ ◀──┘  bisection
//
// Keys count as numbers of skipBytes bytes. Objects number their keys, so the steps
// begin with the next possible key. A step is short beside the stretch, so that what
// can be read between two damaged blocks is found. If keys are texts, a single block
// between two damaged ones may be missed.

// Gap is a stretch of keys, half open, that an iterator could not read.
type Gap struct {
	From, To []byte
	Err      error
}

func (g *Gap) holds(key []byte) bool {
	return bytes.Compare(g.From, key) <= 0 && bytes.Compare(key, g.To) < 0
}

// skipBytes is how many bytes of a key the steps count with.
const skipBytes = 128

// skipping is the state of an Iter that passes over gaps.
type skipping struct {
	ctx  context.Context
	pass func(error) bool
	gaps []Gap
	last []byte // key before the move under way
	done bool   // the last gap reaches to the end
	err  error  // ended the search for the end of a gap
}

// IsDamage reports that a read failed because of what the disk holds. Another try
// fails as well; after any other error of a read it may succeed.
func IsDamage(err error) bool { return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrFormat) }

// IsUnread reports that a read failed, because of what the disk holds or because the
// operating system refused it.
func IsUnread(err error) bool { return IsDamage(err) || errors.Is(err, ErrUnreadable) }

// Err returns the error that ended the last move, or nil.
func (i *Iter) Err() error { return damaged(i.it.Error()) }

// PassOver makes First, Seek and Next go on behind a stretch of keys that cannot be
// read, if pass agrees after seeing the error. The search ends with ctx. Gaps returns
// the stretches. Without it, or if pass disagrees, the move fails and Close returns
// the error.
func (i *Iter) PassOver(ctx context.Context, pass func(error) bool) {
	i.skip = &skipping{ctx: ctx, pass: pass}
}

// Gaps returns the stretches that were passed over so far, in the order of the moves.
func (i *Iter) Gaps() []Gap {
	if i.skip == nil {
		return nil
	}
	return i.skip.gaps
}

// Missed returns the error of the gap that a key lies in, or nil. A key in a gap may
// have a value, or none.
func (i *Iter) Missed(key []byte) error {
	if g := i.gapAt(key); g != nil {
		return g.Err
	}
	return nil
}

func (i *Iter) gapAt(key []byte) *Gap {
	for n := range i.Gaps() {
		if g := &i.skip.gaps[n]; g.holds(key) {
			return g
		}
	}
	return nil
}

// first moves to the first key.
func (i *Iter) first() bool {
	if i.skip == nil {
		return i.it.First()
	}
	i.skip.done = false
	return i.it.First() || i.it.Error() != nil && i.passOver(i.lo)
}

// seek moves to the first key that is not below key, and leaves a known gap out.
func (i *Iter) seek(key []byte) bool {
	if i.skip == nil {
		return i.it.SeekGE(key)
	}
	i.skip.done = false
	if g := i.gapAt(key); g != nil {
		key = g.To
	}
	return i.stand(key)
}

// next moves on.
func (i *Iter) next() bool {
	if i.skip == nil {
		return i.it.Next()
	}
	i.skip.last = append(i.skip.last[:0], i.it.Key()...)
	if i.it.Next() {
		return true
	}
	return i.it.Error() != nil && i.passOver(successor(i.skip.last))
}

// ended reports that the iterator passed over all that is left.
func (i *Iter) ended() bool { return i.skip != nil && i.skip.done }

// closeSkipping is the error of Close: not that of a gap at the end.
func (i *Iter) closeSkipping(err error) error {
	switch {
	case i.skip == nil:
		return err
	case i.skip.err != nil:
		return i.skip.err
	case i.skip.done:
		return nil
	}
	return err
}

// stand seeks a key, or what follows the gap that it lies in.
func (i *Iter) stand(key []byte) bool {
	if i.beyond(key) {
		i.skip.done = true
		return false
	}
	return i.it.SeekGE(key) || i.it.Error() != nil && i.passOver(key)
}

// passOver goes on behind a gap, after a move that failed. No key before from is
// looked at.
func (i *Iter) passOver(from []byte) bool {
	s := i.skip
	err := damaged(i.it.Error())
	if !s.pass(err) {
		return false
	}
	to := i.readableFrom(from)
	if to == nil {
		return false
	}
	if bytes.Compare(from, to) < 0 {
		s.gaps = append(s.gaps, Gap{From: from, To: to, Err: err})
	}
	return i.stand(to)
}

// readableFrom returns the first key from which the iterator can read, or its upper
// bound; nil if the context has ended.
func (i *Iter) readableFrom(from []byte) []byte {
	if i.reads(from) {
		return from
	}
	width := min(len(from), skipBytes)
	begin := new(big.Int).SetBytes(from[:width])
	low, high := new(big.Int).Set(begin), new(big.Int) // low cannot be read
	for {
		step := new(big.Int).Sub(low, begin)
		high.Add(low, maxInt(step.Div(step, skipPart), one))
		if i.skip.err = i.skip.ctx.Err(); i.skip.err != nil {
			return nil
		}
		if i.reads(i.keyOf(high, width)) {
			break
		}
		low.Set(high)
	}
	for mid := between(low, high); mid.Cmp(low) > 0; mid = between(low, high) {
		if i.reads(i.keyOf(mid, width)) {
			high.Set(mid)
		} else {
			low.Set(mid)
		}
	}
	return i.keyOf(high, width)
}

// reads reports whether the iterator can stand at a key.
func (i *Iter) reads(key []byte) bool {
	if i.beyond(key) {
		return true
	}
	i.it.SeekGE(key)
	return i.it.Error() == nil
}

// beyond reports that the iterator ends before a key.
func (i *Iter) beyond(key []byte) bool { return i.hi != nil && bytes.Compare(key, i.hi) >= 0 }

// keyOf is the key of a number, at most the upper bound.
func (i *Iter) keyOf(n *big.Int, width int) []byte {
	if n.BitLen() > 8*width {
		return i.hi
	}
	key := n.FillBytes(make([]byte, width))
	if i.beyond(key) {
		return i.hi
	}
	return key
}

// successor is the next key that has as many bytes.
func successor(key []byte) []byte {
	width := min(len(key), skipBytes)
	n := new(big.Int).SetBytes(key[:width])
	return n.Add(n, one).FillBytes(make([]byte, width+1))[1:]
}

var (
	one      = big.NewInt(1)
	skipPart = big.NewInt(8) // a step is that part of the stretch
)

// between is the middle of two numbers, low if there is no other.
func between(low, high *big.Int) *big.Int {
	mid := new(big.Int).Add(low, high)
	return mid.Rsh(mid, 1)
}

func maxInt(a, b *big.Int) *big.Int {
	if a.Cmp(b) < 0 {
		return b
	}
	return a
}
