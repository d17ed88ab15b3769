package idempotency

import (
	"fmt"
	"sync/atomic"

	"github.com/pebblemq/pebblemq/internal/store"
)

// keys is the memory of a namespace. It is touched under the baton only, but for what
// says that it may be read beside it.
//
// Invariant: a record of state claimed on disk without a claim here belongs to
// a handler that is gone. It counts for nothing, but under dead's lease.
type keys struct {
	store.Sealed
	id       uint32
	name     string
	object   *store.Object
	stored   stored
	settings atomic.Pointer[Config] // may be read beside the baton
	deleted  bool
	meta     meta
	claims   map[string]*claim
	dead     *claim // stands for all that the last process left, until their lease ends
	newest   uint64 // operation that stored the newest outcome
	reclaim  reclaim
	absent   *absent
	cache    *cache
	s        *store.Store
}

func newKeys(s *store.Store, o *store.Object, is stored) *keys {
	n := &keys{
		s: s, id: o.ID, name: o.Name, object: o, stored: is, claims: make(map[string]*claim),
		absent: newAbsent(s), cache: newCache(is.Config.CacheBytes),
	}
	n.settings.Store(&is.Config)
	n.reclaim.init(n)
	return n
}

// load reads what an earlier life has left of a namespace.
func (n *keys) load(t *store.Turn) error {
	m, used, err := readMeta(t, n.object)
	if err != nil {
		return err
	}
	n.meta = m
	n.learn(t)
	if used {
		n.arm(t)
		n.hold(t)
	}
	return nil
}

// readMeta returns the counters of a namespace; used is false if it has none yet.
func readMeta(t *store.Turn, o *store.Object) (m meta, used bool, err error) {
	v, err := t.Get(store.Key(store.KindIdemMeta, o.ID, 0))
	if err == nil && v != nil {
		m, err = decodeMeta(v)
	}
	if err != nil {
		err = fmt.Errorf("pebblemq: %s: %w", named(o.Name), err)
	}
	return m, v != nil, err
}

// config may be called beside the baton.
func (n *keys) config() Config { return *n.settings.Load() }

// alive refuses the use of a deleted namespace.
func (n *keys) alive() error {
	if n.deleted {
		return fmt.Errorf("%w: %q", ErrNamespaceDeleted, n.name)
	}
	return nil
}

// drop deletes the namespace and takes the claims from their handlers.
func (n *keys) drop(t *store.Turn) {
	n.deleted = true
	t.Disarm(n.reclaim.timer)
	t.Drop(n.object, store.KindIdemRecord, store.KindIdemExpiry, store.KindIdemMeta)
	for _, c := range n.claims {
		c.lose()
	}
	if n.dead != nil {
		n.dead.settle()
	}
	clear(n.claims)
	n.absent.drop()
}

// Seal writes the counters along with what they count.
func (n *keys) Seal(t *store.Turn) {
	if n.deleted {
		return
	}
	t.Set(store.Key(store.KindIdemMeta, n.id, 0), n.meta.encode())
}

// read returns the record of a key as of this turn; found is false if there is
// none on disk, whatever its state.
func (n *keys) read(t *store.Turn, key []byte) (r record, found bool, err error) {
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
func (n *keys) about(key []byte, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("pebblemq: namespace %q, key %q: %w", n.name, key[:min(len(key), 64)], err)
}

// unset removes the record of a key.
func (n *keys) unset(t *store.Turn, key []byte) {
	t.Delete(recordKey(n.id, key))
	n.cache.drop(key)
}

// put stores the outcome of a key, which is encoded but for its times. Entry is
// the due time of an expiry entry that it has already, or 0.
func (n *keys) put(t *store.Turn, key, value []byte, expiry, entry int64) {
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

// settled makes the running operation wait until the stored data that it answers from is on
// disk, because NoSync may have been used.
func (n *keys) settled(t *store.Turn) {
	if n.follow(t) {
		t.ForceSync()
	}
}

// follow makes the running operation, if it is Sync, wait as settled does. It reports
// whether there is something to wait for.
func (n *keys) follow(t *store.Turn) bool {
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

func (n *keys) checkResult(result []byte) error {
	if len(result) > n.config().MaxResultBytes {
		return fmt.Errorf("%w, which Config.MaxResultBytes of namespace %q says",
			store.TooLarge("result in bytes", int64(len(result)), int64(n.config().MaxResultBytes)), n.name)
	}
	return nil
}
