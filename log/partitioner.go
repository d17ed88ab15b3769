package log

import (
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Partitioner chooses the partition of a record, from 0 to partitions - 1. Anything
// else, a panic and runtime.Goexit refuse the append with a RecordError. It is called from many
// goroutines at once, and must be quick, call nothing of the store, and neither
// change nor keep what the record refers to.
type Partitioner func(r Record, partitions int) int

// SetPartitioner has p place records from now on, also those that an exchange
// routes to the topic; nil is Kafka's partitioner again. It is not stored: each
// process sets it, before it appends. An append with a Partition is not affected.
func (t *Topic) SetPartitioner(p Partitioner) {
	if p == nil {
		t.partitioner.Store(nil)
		return
	}
	t.partitioner.Store(&p)
}

// router places the records of one call.
type router struct {
	t       *Topic
	list    []*partition
	chosen  []int // by a custom partitioner, which else is not set
	keyless int   // where those without a key go, once there was one
}

// place chooses the partition of the record with that index in the call.
func (r *router) place(index int, rec *Record) int {
	switch {
	case r.chosen != nil:
		return r.chosen[index]
	case rec.Key != nil:
		return partitionOf(rec.Key, len(r.list))
	case r.keyless == anyPartition:
		r.keyless = r.next()
	}
	return r.keyless
}

// next chooses the partition whose turn it is, of those that take appends.
func (r *router) next() (p int) {
	for range r.list {
		p = int((r.t.turn.Add(1) - 1) % uint32(len(r.list)))
		if r.list[p].appendable() == nil {
			break
		}
	}
	return p
}

// choose asks the custom partitioner, if there is one, for all records of the call.
func (r *router) choose(records []Record) error {
	custom := r.t.partitioner.Load()
	if custom == nil {
		return nil
	}
	r.chosen = make([]int, 0, len(records))
	err := store.Call(fmt.Sprintf("partitioner of topic %q", r.t.name), func() error {
		for i := range records {
			p := (*custom)(records[i], len(r.list))
			if p < 0 || p >= len(r.list) {
				return store.Invalid("partitioner of topic %q chose %d of %d", r.t.name, p, len(r.list))
			}
			r.chosen = append(r.chosen, p)
		}
		return nil
	})
	if err != nil {
		return &RecordError{Index: len(r.chosen), Err: err}
	}
	return nil
}

// partitionOf places a key among n partitions as Kafka's default partitioner
// does, so that data keeps its place when it comes from there.
func partitionOf(key []byte, n int) int {
	return int(uint32(murmur2(key))&0x7fffffff) % n
}

// murmur2 is the hash of Kafka's partitioner: 32-bit MurmurHash2 with a fixed
// seed.
func murmur2(data []byte) int32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return int32(h)
}
