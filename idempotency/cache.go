package idempotency

import (
	"bytes"
	"container/list"
	"hash/maphash"
	"sync"
)

// cache holds the outcomes that were stored or asked for last, so that a key which
// comes again soon is answered without the engine.
//
// To store what a lookup has read is not safe by itself: the record may have changed since, and
// the old one would then answer for ever. So each change counts one up, in one of a few counters
// that the key's hash chooses. A record that was read is cached only if the count is still that
// of before the read. An outcome that is being stored is taken in the same way once it is
// visible, so one that is rolled back never is. A claim is never taken: memory has it.
//
// Invariant: a record in it is the one of its key after all operations accepted so
// far. Like the one on disk it may have expired, or not be synced yet, and whoever
// answers from it looks at both. A nil cache is empty.
type cache struct {
	limit int // bytes
	seed  maphash.Seed
	mu    struct {
		sync.Mutex
		entries map[string]*list.Element // of *cached
		recent  list.List                // newest use first
		bytes   int
		changes [changeCounts]uint64
	}
}

const (
	changeCounts = 256
	largestShare = 4   // of the cache, for one record
	cachedBytes  = 256 // of a record, beside its key and what the caller stored with it
)

type cached struct {
	key  string
	size int
	r    record
}

// newCache returns nil if nothing is to be cached.
func newCache(limit int) *cache {
	if limit <= 0 {
		return nil
	}
	c := &cache{limit: limit, seed: maphash.MakeSeed()}
	c.mu.entries = make(map[string]*list.Element)
	return c
}

func (c *cache) count(key []byte) *uint64 {
	return &c.mu.changes[maphash.Bytes(c.seed, key)%changeCounts]
}

// get returns the record of a key. Its result is a copy.
func (c *cache) get(key []byte) (record, bool) {
	if c == nil {
		return record{}, false
	}
	c.mu.Lock()
	e := c.mu.entries[string(key)]
	if e == nil {
		c.mu.Unlock()
		return record{}, false
	}
	c.mu.recent.MoveToFront(e)
	r := e.Value.(*cached).r
	c.mu.Unlock()
	r.result = bytes.Clone(r.result)
	return r, true
}

// moment returns what add is to be told of a record that is read after it.
func (c *cache) moment(key []byte) uint64 {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.count(key)
}

// add takes a copy of an outcome that was true at a moment.
func (c *cache) add(key []byte, moment uint64, r record) {
	if c == nil || r.state == claimed {
		return
	}
	size := cachedBytes + len(key) + len(r.fingerprint) + len(r.result)
	if size > c.limit/largestShare {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if *c.count(key) != moment || c.mu.entries[string(key)] != nil {
		return
	}
	r.fingerprint, r.result = bytes.Clone(r.fingerprint), bytes.Clone(r.result)
	n := &cached{string(key), size, r}
	c.mu.entries[n.key] = c.mu.recent.PushFront(n)
	c.mu.bytes += size
	for c.mu.bytes > c.limit {
		c.remove(c.mu.recent.Back())
	}
}

// drop is called for each change of a record, by the operation that makes it.
func (c *cache) drop(key []byte) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	*c.count(key)++
	if e := c.mu.entries[string(key)]; e != nil {
		c.remove(e)
	}
}

func (c *cache) remove(e *list.Element) {
	n := c.mu.recent.Remove(e).(*cached)
	delete(c.mu.entries, n.key)
	c.mu.bytes -= n.size
}
