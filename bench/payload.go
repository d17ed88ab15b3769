package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// A body is its number, 8 bytes, and random bytes that follow from the number:
// nothing for a compressor, and any of them can be checked.
var pool = sync.OnceValue(func() []byte {
	r := rand.New(rand.NewChaCha8([32]byte{1}))
	b := make([]byte, 1<<20)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
})

const stamp = 8

func content(n uint64, size int) []byte {
	p := pool()
	at := int(n*4099) % (len(p) - size)
	return p[at : at+size]
}

func fill(body []byte, n uint64) {
	binary.BigEndian.PutUint64(body, n)
	copy(body[stamp:], content(n, len(body)-stamp))
}

// bodies returns the buffers for one call.
func bodies(count, size int) [][]byte {
	all := make([]byte, count*size)
	b := make([][]byte, count)
	for i := range b {
		b[i] = all[i*size : (i+1)*size : (i+1)*size]
	}
	return b
}

// Ledger knows which bodies were sent, and finds what is lost, twice there or
// damaged. Its methods are safe for concurrent use.
type Ledger struct {
	size       int
	next       atomic.Uint64
	seen       []atomic.Uint64 // a bit for each number
	got        atomic.Int64
	duplicates atomic.Int64
}

func newLedger(size, limit int) *Ledger {
	return &Ledger{size: size, seen: make([]atomic.Uint64, limit/64+1)}
}

func (l *Ledger) limit() int { return len(l.seen) * 64 }

// stampNext numbers bodies on, and returns false when the numbers are used up.
func (l *Ledger) stampNext(b [][]byte) bool {
	n := l.next.Add(uint64(len(b)))
	if n > uint64(l.limit()) {
		l.next.Add(-uint64(len(b)))
		return false
	}
	for i := range b {
		fill(b[i], n-uint64(len(b)-i))
	}
	return true
}

func (l *Ledger) sent() int { return int(l.next.Load()) }

// checked compares one in so many bodies byte by byte; the number and the length
// are looked at in all of them.
const checked = 16

// checkBody compares a body with what was sent as number n.
func checkBody(body []byte, n uint64, size int) error {
	if len(body) != size {
		return fmt.Errorf("a body of %d bytes came back with %d", size, len(body))
	}
	if got := binary.BigEndian.Uint64(body); got != n {
		return fmt.Errorf("body %d came back in the place of %d", got, n)
	}
	if n%checked == 0 && !bytes.Equal(body[stamp:], content(n, size-stamp)) {
		return fmt.Errorf("body %d came back changed", n)
	}
	return nil
}

// receive notes a body that came back.
func (l *Ledger) receive(body []byte) error {
	if len(body) < stamp {
		return fmt.Errorf("a body of %d bytes came back with %d", l.size, len(body))
	}
	n := binary.BigEndian.Uint64(body)
	if n >= l.next.Load() {
		return fmt.Errorf("body %d was never sent", n)
	}
	if err := checkBody(body, n, l.size); err != nil {
		return err
	}
	bit := uint64(1) << (n % 64)
	if l.seen[n/64].Or(bit)&bit != 0 {
		l.duplicates.Add(1)
		return nil
	}
	l.got.Add(1)
	return nil
}

// settle returns an error if anything that was sent did not come back.
func (l *Ledger) settle() error {
	if got := int(l.got.Load()); got != l.sent() {
		return fmt.Errorf("%d of %d messages are lost", l.sent()-got, l.sent())
	}
	return nil
}

func bodyNumber(body []byte) uint64 { return binary.BigEndian.Uint64(body) }

// firstOf is the number of the first body of the call that sent body, which sent
// batch of them.
func firstOf(body []byte, batch int) uint64 { return bodyNumber(body) / uint64(batch) * uint64(batch) }
