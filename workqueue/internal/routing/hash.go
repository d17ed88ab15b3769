package routing

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

// MaxHashWeight is the largest weight of a binding to a Hash exchange.
const MaxHashWeight = 100

// The properties that a Hash exchange may go by.
const (
	MessageID     = "message-id"
	CorrelationID = "correlation-id"
	ReplyTo       = "reply-to"
	Type          = "type"
	AppID         = "app-id"
)

// HashProperties are all of them.
var HashProperties = []string{MessageID, CorrelationID, ReplyTo, Type, AppID}

// pointsPerWeight is how many points of the ring a weight of one has. With a
// hundred, the shares of equal queues differ by about a tenth.
const pointsPerWeight = 100

// ring shares messages out over the places of a Hash exchange.
//
// The remainder of a hash would send nearly every message elsewhere once a queue is added. So
// each place has points on a ring, as many as its weight says. A message goes to the next
// point after its hash. A place that comes takes over what is before its points. One that
// goes leaves that to the others. Nothing else moves. The points are made of the place's name
// alone, so that they are the same after a restart.
type ring struct {
	config Config
	shares map[*Place][]share // of each place, in the order of binding
	points []point            // in order
	stale  bool               // the points are to be made anew
}

// share is what a binding asks for. The first of a place counts.
type share struct {
	number uint64
	weight int
}

type point struct {
	at uint64
	to *Place
}

func newRing(c Config) matcher { return &ring{config: c, shares: make(map[*Place][]share)} }

func weight(b Binding) (int, error) {
	n, err := strconv.Atoi(b.Key)
	if err != nil || n < 1 || n > MaxHashWeight || strconv.Itoa(n) != b.Key {
		return 0, fmt.Errorf("binding key %q is not a weight between 1 and %d", b.Key, MaxHashWeight)
	}
	return n, nil
}

func (r *ring) check(b Binding) error {
	_, err := weight(b)
	return err
}

func (r *ring) add(b Binding, to *Place, number uint64) {
	n, _ := weight(b) // was checked
	r.shares[to] = append(r.shares[to], share{number, n})
	r.stale = true
}

func (r *ring) remove(_ Binding, to *Place, number uint64) {
	r.shares[to] = slices.DeleteFunc(r.shares[to], func(s share) bool { return s.number == number })
	if len(r.shares[to]) == 0 {
		delete(r.shares, to)
	}
	r.stale = true
}

func (r *ring) match(m *Message, to *Router) {
	if r.stale {
		r.build()
	}
	if len(r.points) == 0 {
		return
	}
	at := hashOf(r.source(m))
	i, _ := slices.BinarySearchFunc(r.points, at, func(p point, at uint64) int { return cmp.Compare(p.at, at) })
	to.reach(r.points[i%len(r.points)].to)
}

// source is what a message is sent by. One that lacks it goes where all those
// go.
func (r *ring) source(m *Message) string {
	if r.config.HashHeader != "" {
		return m.Headers[r.config.HashHeader]
	}
	switch r.config.HashProperty {
	case MessageID:
		return m.MessageID
	case CorrelationID:
		return m.CorrelationID
	case ReplyTo:
		return m.ReplyTo
	case Type:
		return m.Type
	case AppID:
		return m.AppID
	}
	return m.Key
}

// build makes the points, once for any number of bindings that came or went.
func (r *ring) build() {
	r.stale, r.points = false, r.points[:0]
	for to, shares := range r.shares {
		name := to.Name + "/"
		for i := range shares[0].weight * pointsPerWeight {
			r.points = append(r.points, point{hashOf(name + strconv.Itoa(i)), to})
		}
	}
	slices.SortFunc(r.points, func(p, q point) int { return cmp.Or(cmp.Compare(p.at, q.at), strings.Compare(p.to.Name, q.to.Name)) })
}

// hashOf is a part of what users rely on: another one would send the messages
// of a key elsewhere after an update. FNV alone is uneven for short texts that
// differ in their last letter; its bits are mixed once more.
func hashOf(text string) uint64 {
	f := fnv.New64a()
	_, _ = f.Write([]byte(text)) // never fails
	h := f.Sum64()
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
