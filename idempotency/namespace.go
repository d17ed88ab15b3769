package idempotency

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Limits and defaults.
const (
	MaxKeyBytes           = 1024
	DefaultExpiry         = 24 * time.Hour
	MinExpiry             = time.Millisecond
	MaxExpiry             = 100 * 365 * 24 * time.Hour
	DefaultMaxResultBytes = 1 << 20
	MaxMaxResultBytes     = 32 << 20
	DefaultCacheBytes     = 1 << 20
)

// Config is stored with a namespace; opening it with another is
// pebblemq.ErrConfigMismatch.
type Config struct {
	// Expiry is how long a completed key is remembered, counted from its
	// completion. Default 24 h, 1 ms to 100 years.
	Expiry time.Duration
	// Lease is how long a key whose process died in the middle of a Do stays
	// taken, counted from the next opening of the namespace: time for what that
	// process has sent to arrive. Default 0: it is free at once. At most
	// Expiry.
	Lease time.Duration
	// MaxResultBytes is the largest result that is stored. Default 1 MiB, at
	// most 32 MiB.
	MaxResultBytes int
	// CacheBytes bounds the memory that the outcomes stored or asked for last are
	// kept in, so that a key that comes again soon needs no look at the disk. It
	// fills as needed; an outcome of more than a quarter of it is left out. It is
	// not stored: the first Open in a process counts. Default 1 MiB, negative for
	// no cache.
	CacheBytes int `json:"-"`
}

func (c *Config) normalize() (Config, error) {
	var full Config
	if c != nil {
		full = *c
	}
	if full.Expiry == 0 {
		full.Expiry = DefaultExpiry
	}
	if full.MaxResultBytes == 0 {
		full.MaxResultBytes = DefaultMaxResultBytes
	}
	if full.CacheBytes == 0 {
		full.CacheBytes = DefaultCacheBytes
	}
	switch {
	case full.Expiry < MinExpiry || full.Expiry > MaxExpiry:
		return full, store.Invalid("Expiry %v is not between %v and %v", full.Expiry, MinExpiry, MaxExpiry)
	case full.Lease < 0 || full.Lease > full.Expiry:
		return full, store.Invalid("Lease %v is not between 0 and Expiry, %v", full.Lease, full.Expiry)
	case full.MaxResultBytes < 0 || full.MaxResultBytes > MaxMaxResultBytes:
		return full, store.Invalid("MaxResultBytes %d is not between 1 and %d", full.MaxResultBytes, MaxMaxResultBytes)
	}
	return full, nil
}

func (c Config) match(name string, stored Config) error {
	object := fmt.Sprintf("namespace %q", name)
	switch {
	case c.Expiry != stored.Expiry:
		return store.Mismatch(object, "Expiry", stored.Expiry, c.Expiry)
	case c.Lease != stored.Lease:
		return store.Mismatch(object, "Lease", stored.Lease, c.Lease)
	case c.MaxResultBytes != stored.MaxResultBytes:
		return store.Mismatch(object, "MaxResultBytes", stored.MaxResultBytes, c.MaxResultBytes)
	}
	return nil
}

// Keys is an open namespace of keys. All its methods are safe for concurrent
// use; handles to one namespace share their state.
type Keys struct {
	s  *store.Store
	db *pebblemq.DB
	n  *namespace
}

// namespace is the memory of the keys of one name. It is touched under the
// baton only.
//
// Invariant: a record of state claimed on disk without a claim here belongs to
// a handler that is gone. It counts for nothing, but under dead's lease.
type namespace struct {
	store.Sealed
	id      uint32
	name    string
	config  Config
	meta    meta
	claims  map[string]*claim
	dead    *claim // stands for all that the last process left, until their lease ends
	newest  uint64 // operation that stored the newest outcome
	reclaim reclaim
	absent  *absent
	cache   *cache
	s       *store.Store
}

type registryKey struct{}

// Open opens a namespace of keys in db and creates it if need be. Nil is the
// default configuration.
func Open(db *pebblemq.DB, name string, c *Config) (*Keys, error) {
	if err := store.CheckName("namespace", name); err != nil {
		return nil, err
	}
	config, err := c.normalize()
	if err != nil {
		return nil, err
	}
	s := bridge.Store(db)
	open := s.Local(registryKey{}, func() any { return make(map[string]*namespace) }).(map[string]*namespace)
	k := &Keys{s: s, db: db}
	err = s.Do(context.Background(), store.QuietFunc(func(t *store.Turn) (err error) {
		if k.n = open[name]; k.n != nil {
			return config.match(name, k.n.config)
		}
		if k.n, err = load(t, s, name, config); err == nil {
			open[name] = k.n
		}
		return err
	}), store.Sync)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// Config returns the stored configuration, with its defaults filled in.
func (k *Keys) Config() Config { return k.n.config }

func load(t *store.Turn, s *store.Store, name string, config Config) (*namespace, error) {
	n := &namespace{
		s: s, name: name, config: config, claims: make(map[string]*claim),
		absent: newAbsent(s), cache: newCache(config.CacheBytes),
	}
	n.reclaim.init(n)
	o, known := t.Lookup(store.ClassNamespace, name)
	if !known {
		text, err := json.Marshal(config)
		if err != nil {
			return nil, err
		}
		if o, err = t.Create(store.ClassNamespace, name, text); err != nil {
			return nil, err
		}
		n.id = o.ID
		n.learn(t)
		return n, nil
	}
	var stored Config
	if err := json.Unmarshal(o.Config, &stored); err != nil {
		return nil, fmt.Errorf("%w: configuration of namespace %q: %w", store.ErrCorrupt, name, err)
	}
	if err := config.match(name, stored); err != nil {
		return nil, err
	}
	n.id = o.ID
	v, err := t.Get(store.Key(store.KindIdemMeta, n.id, 0))
	if err != nil {
		return nil, err
	}
	if v == nil {
		n.learn(t)
		return n, nil
	}
	if n.meta, err = decodeMeta(v); err != nil {
		return nil, err
	}
	n.learn(t)
	n.arm(t)
	n.hold(t)
	return n, nil
}

// Seal writes the counters along with what they count.
func (n *namespace) Seal(t *store.Turn) {
	t.Set(store.Key(store.KindIdemMeta, n.id, 0), n.meta.encode())
}

// read returns the record of a key as of this turn; found is false if there is
// none on disk, whatever its state.
func (n *namespace) read(t *store.Turn, key []byte) (r record, found bool, err error) {
	if n.absent.sure(key) {
		return record{}, false, nil
	}
	if r, found = n.cache.get(key); found {
		return r, true, nil
	}
	v, err := t.Probe(recordKey(n.id, key))
	if err != nil || v == nil {
		return record{}, false, n.about(key, err)
	}
	r, err = decodeRecord(v)
	return r, err == nil, n.about(key, err)
}

// about says which key an error is about.
func (n *namespace) about(key []byte, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("pebblemq: namespace %q, key %q: %w", n.name, key[:min(len(key), 64)], err)
}

// unset removes the record of a key.
func (n *namespace) unset(t *store.Turn, key []byte) {
	t.Delete(recordKey(n.id, key))
	n.cache.drop(key)
}

// put stores the outcome of a key, which is encoded but for its times. Entry is
// the due time of an expiry entry that it has already, or 0.
func (n *namespace) put(t *store.Turn, key, value []byte, expiry, entry int64) {
	due := entry
	if due < expiry {
		due = n.dueFor(expiry)
		n.addEntry(t, due, key)
	}
	stamp(value, due, expiry)
	n.set(t, key, value)
	n.note(key)
	n.meta.records++
	n.newest = t.Seq()
	t.Touch(n)
}

// settled makes the running operation, which answers from what is stored, wait
// until that is on disk: whoever stored it may have chosen NoSync.
func (n *namespace) settled(t *store.Turn) {
	if n.follow(t) {
		t.ForceSync()
	}
}

// follow makes the running operation, if it is Sync, wait as settled does. It reports
// whether there is something to wait for.
func (n *namespace) follow(t *store.Turn) bool {
	if n.newest <= t.Durable() {
		return false
	}
	t.Touch(n)
	return true
}

func checkKey(key []byte) error {
	switch {
	case len(key) == 0:
		return store.Invalid("idempotency key is empty")
	case len(key) > MaxKeyBytes:
		return store.TooLarge("idempotency key in bytes", int64(len(key)), MaxKeyBytes)
	}
	return nil
}

func checkFingerprint(f []byte) error {
	if len(f) > maxFingerprint {
		return store.TooLarge("fingerprint in bytes", int64(len(f)), maxFingerprint)
	}
	return nil
}

func (n *namespace) checkResult(result []byte) error {
	if len(result) > n.config.MaxResultBytes {
		return store.TooLarge("result in bytes", int64(len(result)), int64(n.config.MaxResultBytes))
	}
	return nil
}
