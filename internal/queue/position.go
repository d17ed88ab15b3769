package queue

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Position is where a message stands: in the order of its lane or, as long as it is
// delayed, in that of the due times. No two messages of a queue ever have the same.
type Position struct {
	Lane byte
	Due  int64  // in nanoseconds since 1970, of one that is delayed; else 0
	Seq  uint64 // its sequence number or, if it is delayed, its number among those
}

// Delayed reports whether it is that of a delayed message.
func (p Position) Delayed() bool { return p.Due != 0 }

// compare says which of two positions a Browse comes to first: it begins with what
// waits, in the highest lane.
func (p Position) compare(o Position) int {
	if p.Delayed() != o.Delayed() {
		return cmp.Compare(p.Due, o.Due)
	}
	return cmp.Or(cmp.Compare(o.Lane, p.Lane), cmp.Compare(p.Due, o.Due), cmp.Compare(p.Seq, o.Seq))
}

// next is the least position behind it in its part.
func (p Position) next() Position {
	p.Seq++
	return p
}

// String is lane "." number, or lane "." number "@" due time.
func (p Position) String() string {
	if p.Delayed() {
		return fmt.Sprintf("%d.%d@%d", p.Lane, p.Seq, p.Due)
	}
	return fmt.Sprintf("%d.%d", p.Lane, p.Seq)
}

// ParsePosition is the inverse of String.
func ParsePosition(s string) (Position, error) {
	lane, rest, _ := strings.Cut(s, ".")
	number, due, delayed := strings.Cut(rest, "@")
	var p Position
	n, err := strconv.ParseUint(lane, 10, 8)
	p.Lane = byte(n)
	if err == nil {
		p.Seq, err = strconv.ParseUint(number, 10, 64)
	}
	if err == nil && delayed {
		p.Due, err = strconv.ParseInt(due, 10, 64)
	}
	if err != nil || p.String() != s || p.Due < 0 || p.Seq == math.MaxUint64 { // there is one form of each
		return Position{}, store.Invalid("%.60q is not the position of a message", s)
	}
	return p, nil
}

// position is where a message is that is not delayed.
func (m *Message) position() Position { return Position{Lane: m.Lane, Seq: m.Seq} }
