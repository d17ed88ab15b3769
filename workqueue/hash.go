package workqueue

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/pebblemq/pebblemq/internal/store"
)

// MaxHashWeight is the largest weight of a binding to a Hash exchange.
const MaxHashWeight = 100

// What a Hash exchange goes by instead of the routing key, beside the headers.
const (
	HashMessageID     = "message-id"
	HashCorrelationID = "correlation-id"
	HashReplyTo       = "reply-to"
	HashType          = "type"
	HashAppID         = "app-id"
)

var hashProperties = []string{HashMessageID, HashCorrelationID, HashReplyTo, HashType, HashAppID}

func checkHashSource(kind ExchangeKind, c *ExchangeConfig) error {
	switch {
	case c.HashHeader == "" && c.HashProperty == "":
		return nil
	case kind != Hash:
		return store.Invalid("HashHeader or HashProperty of an exchange of kind %s", kind)
	case c.HashHeader != "" && c.HashProperty != "":
		return store.Invalid("HashHeader %q and HashProperty %q: only one can be hashed", c.HashHeader, c.HashProperty)
	case c.HashProperty != "" && !slices.Contains(hashProperties, c.HashProperty):
		return store.Invalid("HashProperty %q is none of %s", c.HashProperty, strings.Join(hashProperties, ", "))
	}
	return checkShort("HashHeader", c.HashHeader)
}

// pointsPerWeight is how many points of the ring a weight of one has. With a
// hundred, the shares of equal queues differ by about a tenth.
const pointsPerWeight = 100

// ring shares messages out over the destinations of a Hash exchange.
//
// The remainder of a hash would send nearly every message elsewhere once a queue
// is added. So each destination has points on a ring, as many as its weight
// asks for, and a message goes to the next point after its hash: a destination
// that comes takes over what is before its points, and one that goes leaves that
// to the others; nothing else moves. The points are made of the destination's
// sort and name alone, so that they are the same after a restart.
type ring struct {
	config ExchangeConfig
	shares map[*end][]share // of each destination, in the order of binding
	points []point          // in order
	stale  bool             // the points are to be made anew
}

// share is what a binding asks for. The first of a destination counts.
type share struct {
	number uint64
	weight int
}

type point struct {
	at uint64
	to *end
}

func newRing(c ExchangeConfig) matcher { return &ring{config: c, shares: make(map[*end][]share)} }

func weight(b binding) (int, error) {
	n, err := strconv.Atoi(b.key)
	if err != nil || n < 1 || n > MaxHashWeight || strconv.Itoa(n) != b.key {
		return 0, store.Invalid("binding key %q is not a weight between 1 and %d", b.key, MaxHashWeight)
	}
	return n, nil
}

func (r *ring) check(b binding) error {
	_, err := weight(b)
	return err
}

func (r *ring) add(b binding, to *end, number uint64) {
	n, _ := weight(b) // was checked
	r.shares[to] = append(r.shares[to], share{number, n})
	r.stale = true
}

func (r *ring) remove(_ binding, to *end, number uint64) {
	r.shares[to] = slices.DeleteFunc(r.shares[to], func(s share) bool { return s.number == number })
	if len(r.shares[to]) == 0 {
		delete(r.shares, to)
	}
	r.stale = true
}

func (r *ring) match(a *address, w *walk) {
	if r.stale {
		r.build()
	}
	if len(r.points) == 0 {
		return
	}
	at := hashOf(r.source(a))
	i, _ := slices.BinarySearchFunc(r.points, at, func(p point, at uint64) int { return cmp.Compare(p.at, at) })
	w.reach(r.points[i%len(r.points)].to)
}

// source is what a message is sent by. One that lacks it goes where all those
// go.
func (r *ring) source(a *address) string {
	if r.config.HashHeader != "" {
		return a.m.Headers[r.config.HashHeader]
	}
	switch r.config.HashProperty {
	case HashMessageID:
		return a.m.MessageID
	case HashCorrelationID:
		return a.m.CorrelationID
	case HashReplyTo:
		return a.m.ReplyTo
	case HashType:
		return a.m.Type
	case HashAppID:
		return a.m.AppID
	}
	return a.key
}

// build makes the points, once for any number of bindings that came or went.
func (r *ring) build() {
	r.stale, r.points = false, r.points[:0]
	for to, shares := range r.shares {
		name := fmt.Sprintf("%d/%s/", to.class, to.name)
		for i := range shares[0].weight * pointsPerWeight {
			r.points = append(r.points, point{hashOf(name + strconv.Itoa(i)), to})
		}
	}
	slices.SortFunc(r.points, func(p, q point) int { return cmp.Or(cmp.Compare(p.at, q.at), p.to.compare(q.to.destination)) })
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
