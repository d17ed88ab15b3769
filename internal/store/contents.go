package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// Contents says which objects may have keys in a range of the key space. It tells
// an operator what a damaged block or table can cost.
//
// The answer comes from the catalog in memory and from the bounds of the range; no
// key is read. An object is listed if one of its keys could lie in the range.
type Contents struct {
	Parts []Part // at most maxParts, by class and name
	More  int    // objects left out
}

// maxParts bounds Contents: a range may hold a hundred thousand objects.
const maxParts = 16

// Part is what a range may hold of one object, of the application or of the kernel.
type Part struct {
	Class   Class    // 0 for the application, the kernel and unknown objects
	ID      uint32   // of the object; 0 for the application and the kernel
	Name    string   // "" if the catalog does not have the object
	Owner   string   // the broker of an exchange or queue, the topic of a group
	Records []string // the sorts of record: "messages", "message states"
}

func (p Part) String() string {
	records := strings.Join(p.Records, ", ")
	switch {
	case p.ID == 0:
		return records
	case p.Class == 0:
		return fmt.Sprintf("%s of object %d, which is not in the catalog", records, p.ID)
	}
	return records + " of " + p.Object()
}

// Object names the object with what it lies in; "" for the application and the kernel.
func (p Part) Object() string {
	if p.ID == 0 {
		return ""
	}
	text := fmt.Sprintf("%s %q", p.Class, p.Name)
	switch p.Class {
	case ClassGroup:
		return fmt.Sprintf("%s of topic %q", text, p.Owner)
	case ClassExchange, ClassQueue:
		return fmt.Sprintf("%s of broker %q", text, p.Owner)
	}
	return text
}

// Strings describes each part, and says how many were left out.
func (c Contents) Strings() []string {
	var list []string
	for _, p := range c.Parts {
		list = append(list, p.String())
	}
	if c.More > 0 {
		list = append(list, fmt.Sprintf("and %d more", c.More))
	}
	return list
}

func (c Contents) String() string { return strings.Join(c.Strings(), "; ") }

// String returns the name of the class as it stands in reports.
func (c Class) String() string {
	switch c {
	case ClassTopic:
		return "topic"
	case ClassGroup:
		return "group"
	case ClassBroker:
		return "broker"
	case ClassExchange:
		return "exchange"
	case ClassQueue:
		return "queue"
	case ClassVisQueue:
		return "visibility queue"
	case ClassNamespace:
		return "namespace"
	}
	return fmt.Sprintf("class %d", byte(c))
}

// recordKind describes one kind of key: the sort of record, and the classes whose
// objects have such records. Kinds without a class do not carry an object id.
type recordKind struct {
	kind    Kind
	records string
	classes []Class
}

var (
	holders    = []Class{ClassQueue, ClassVisQueue} // of payloads
	topics     = []Class{ClassTopic}
	brokers    = []Class{ClassBroker}
	queues     = []Class{ClassQueue}
	visQueues  = []Class{ClassVisQueue}
	namespaces = []Class{ClassNamespace}
)

var recordKinds = []recordKind{
	{KindMeta, "kernel records", nil},
	{KindCatalog, "catalog entries", nil},
	{KindApp, "application keys", nil},
	{KindPayload, "shared payloads", nil},
	{KindHolding, "payload counts", holders},
	{KindLogBatch, "records", topics},
	{KindLogMeta, "partition starts", topics},
	{KindLogCommit, "committed offsets", []Class{ClassGroup}},
	{KindLogProducer, "producers", topics},
	{KindLogWindow, "message ids", topics},
	{KindLogIndex, "key index", topics},
	{KindWorkMessage, "messages", queues},
	{KindWorkState, "message states", queues},
	{KindWorkMeta, "counters", queues},
	{KindWorkBinding, "bindings", brokers},
	{KindWorkDelay, "delayed messages", queues},
	{KindWorkExpiry, "expiry index", queues},
	{KindWorkWindow, "message ids", []Class{ClassExchange, ClassQueue}},
	{KindWorkJob, "jobs", brokers},
	{KindWorkDelayID, "index of delayed messages", queues},
	{KindWorkUnique, "unique keys", queues},
	{KindWorkRedrive, "redrives", queues},
	{KindVisMessage, "messages", visQueues},
	{KindVisState, "message states", visQueues},
	{KindVisMeta, "counters", visQueues},
	{KindVisDelay, "delayed messages", visQueues},
	{KindVisWindow, "deduplication ids", visQueues},
	{KindVisExpiry, "retention index", visQueues},
	{KindVisParked, "index of waiting messages", visQueues},
	{KindVisPin, "priorities of groups", visQueues},
	{KindVisHold, "delays of groups", visQueues},
	{KindVisDelayID, "index of delayed messages", visQueues},
	{KindVisRedrive, "redrives", visQueues},
	{KindIdemRecord, "claims and results", namespaces},
	{KindIdemExpiry, "expiry index", namespaces},
	{KindIdemMeta, "counters", namespaces},
}

// Contents returns which objects may have keys in [lo, hi); a nil hi is the end of
// the key space. It takes the baton, so it must be called neither under it nor from a
// callback of the engine.
func (s *Store) Contents(lo, hi []byte) (c Contents) {
	s.mu.Peek(func() { c = newDirectory(&s.catalog).contents(lo, hi, &s.payloads) })
	return c
}

// mayHave reports whether an object may have keys in [lo, hi).
func mayHave(id uint32, lo, hi []byte) bool {
	for _, k := range recordKinds {
		if from, to := Span(k.kind, id); k.classes != nil && overlap(from, to, lo, hi) {
			return true
		}
	}
	return false
}

// directory finds objects by id. It holds references to those of the catalog, whose
// ids and names never change.
type directory map[uint32]*Object

func newDirectory(c *catalog) directory {
	d := make(directory)
	for _, names := range c.byName {
		for _, o := range names {
			d[o.ID] = o
		}
	}
	return d
}

func (d directory) contents(lo, hi []byte, p *payloads) Contents {
	found := make(map[uint32][]string)
	var rest []string // of records without an object
	for _, k := range recordKinds {
		from, to := []byte{byte(k.kind)}, PrefixEnd([]byte{byte(k.kind)})
		if !overlap(from, to, lo, hi) {
			continue
		}
		switch {
		case k.classes != nil:
			d.owners(k, lo, hi, found)
			continue
		case k.kind == KindCatalog:
			d.entries(lo, hi, found)
		case k.kind == KindPayload:
			d.holders(lo, hi, p, found)
		}
		rest = append(rest, k.records)
	}
	return d.list(found, rest)
}

// overlap reports whether two ranges have keys in common. A nil end is that of the
// key space.
func overlap(lo1, hi1, lo2, hi2 []byte) bool {
	below := func(lo, hi []byte) bool { return hi == nil || bytes.Compare(lo, hi) < 0 }
	return below(lo1, hi2) && below(lo2, hi1)
}

// owners notes the objects that may have records of a kind in the range. An object
// that the catalog lacks is noted if a bound of the range is a key of it.
func (d directory) owners(k recordKind, lo, hi []byte, found map[uint32][]string) {
	for id, o := range d {
		if from, to := Span(k.kind, id); slices.Contains(k.classes, o.Class) && overlap(from, to, lo, hi) {
			found[id] = append(found[id], k.records)
		}
	}
	for _, bound := range [][]byte{lo, hi} {
		if len(bound) <= 5 || bound[0] != byte(k.kind) { // a shorter one is no key of an object
			continue
		}
		if id := binary.BigEndian.Uint32(bound[1:]); d[id] == nil && !slices.Contains(found[id], k.records) {
			found[id] = append(found[id], k.records)
		}
	}
}

// entries notes the objects whose catalog entries lie in the range.
func (d directory) entries(lo, hi []byte, found map[uint32][]string) {
	for id, o := range d {
		if key := catalogKey(o.Class, o.Name); overlap(key, append(key, 0), lo, hi) {
			found[id] = append(found[id], "catalog entry")
		}
	}
}

// holders notes the objects that refer to payloads in the range.
func (d directory) holders(lo, hi []byte, p *payloads, found map[uint32][]string) {
	for h, copies := range p.held {
		for g := range copies {
			records := "bodies of messages"
			if overlap(payloadKey(g, 0), payloadKey(g+1, 0), lo, hi) && !slices.Contains(found[h.ID], records) {
				found[h.ID] = append(found[h.ID], records)
			}
		}
	}
}

// list orders what was found, and cuts it.
func (d directory) list(found map[uint32][]string, rest []string) Contents {
	var c Contents
	for _, records := range rest {
		c.Parts = append(c.Parts, Part{Records: []string{records}})
	}
	for id, records := range found {
		c.Parts = append(c.Parts, d.part(id, records))
	}
	slices.SortStableFunc(c.Parts, func(a, b Part) int {
		switch {
		case a.Class != b.Class:
			return int(a.Class) - int(b.Class)
		case a.Name != b.Name:
			return strings.Compare(a.Name, b.Name)
		}
		return int(int64(a.ID) - int64(b.ID))
	})
	if n := len(c.Parts) - maxParts; n > 0 {
		c.Parts, c.More = c.Parts[:maxParts:maxParts], n
	}
	return c
}

func (d directory) part(id uint32, records []string) Part {
	p := Part{ID: id, Records: records}
	o := d[id]
	if o == nil {
		return p
	}
	p.Class, p.Name = o.Class, o.Name
	if hasOwner := o.Class == ClassGroup || o.Class == ClassExchange || o.Class == ClassQueue; hasOwner && len(o.Name) >= 4 {
		p.Name = o.Name[4:]
		if owner := d[binary.BigEndian.Uint32([]byte(o.Name))]; owner != nil {
			p.Owner = owner.Name
		}
	}
	return p
}
