package idempotency

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/object"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Namespace is a handle on the keys of one name. All its methods are safe for concurrent
// use, handles on one namespace share their state, and none needs closing. Once the
// namespace is deleted they return ErrNamespaceDeleted.
type Namespace struct {
	s  *store.Store
	db *pebblemq.DB
	n  *keys
}

// registry is this package's memory of a store: the namespaces that were opened, by name. It
// is touched under the baton only.
type registry map[string]*keys

type registryKey struct{}

func registryOf(s *store.Store) registry {
	return s.Local(registryKey{}, func() any { return make(registry) }).(registry)
}

func named(name string) string { return fmt.Sprintf("namespace %q", name) }

// OpenNamespace returns the namespace of that name and creates it if need be. A nil
// config is the stored one, or the defaults for a new namespace. Another config than the
// stored one is pebblemq.ErrConfigMismatch, which lists all fields that differ;
// EnsureNamespace alters them. A creation is durable when OpenNamespace
// returns, unless ctx says NoSync.
func OpenNamespace(ctx context.Context, db *pebblemq.DB, name string, c *Config) (*Namespace, error) {
	k, _, err := openNamespace(ctx, db, name, c, false)
	return k, err
}

// EnsureNamespace is OpenNamespace, but it alters a namespace whose config is another one.
// It says what it did.
func EnsureNamespace(ctx context.Context, db *pebblemq.DB, name string, c *Config) (*Namespace, pebblemq.Ensured, error) {
	return openNamespace(ctx, db, name, c, true)
}

func openNamespace(ctx context.Context, db *pebblemq.DB, name string, c *Config, ensure bool) (k *Namespace, did pebblemq.Ensured, err error) {
	if err := store.CheckName("namespace", name); err != nil {
		return nil, did, err
	}
	config, err := c.normalize()
	if err != nil {
		return nil, did, fmt.Errorf("%s: %w", named(name), err)
	}
	s := bridge.Store(db)
	k = &Namespace{s: s, db: db}
	err = s.Do(ctx, store.QuietFunc(func(t *store.Turn) (err error) {
		if k.n, err = registryOf(s).open(t, s, name, config.CacheBytes); err != nil {
			return err
		}
		if did.Created = k.n == nil; did.Created {
			k.n, err = registryOf(s).create(t, s, name, config)
			return err
		}
		if c == nil {
			return nil
		}
		changes := object.Compare(k.n.config(), config)
		if !ensure {
			return changes.Mismatch(named(name), "EnsureNamespace")
		}
		did.Altered = changes.Fields()
		return k.n.alter(t, config, changes)
	}), store.Sync)
	if err != nil {
		return nil, pebblemq.Ensured{}, err
	}
	return k, did, nil
}

// LookupNamespace returns a namespace that exists, or ErrUnknownNamespace.
func LookupNamespace(ctx context.Context, db *pebblemq.DB, name string) (*Namespace, error) {
	if err := store.CheckName("namespace", name); err != nil {
		return nil, err
	}
	s := bridge.Store(db)
	k := &Namespace{s: s, db: db}
	err := s.Do(ctx, store.QuietFunc(func(t *store.Turn) (err error) {
		if k.n, err = registryOf(s).open(t, s, name, DefaultCacheBytes); err == nil && k.n == nil {
			err = fmt.Errorf("%w: %q", ErrUnknownNamespace, name)
		}
		return err
	}), store.Sync)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// open returns the memory of a namespace, nil if there is none of that name.
func (r registry) open(t *store.Turn, s *store.Store, name string, cacheBytes int) (*keys, error) {
	if n := r[name]; n != nil {
		return n, nil
	}
	o, known := t.Lookup(store.ClassNamespace, name)
	if !known {
		return nil, nil
	}
	is, err := decodeConfig(o)
	if err != nil {
		return nil, err
	}
	is.Config.CacheBytes = cacheBytes
	n := newKeys(s, o, is)
	if err := n.load(t); err != nil {
		return nil, err
	}
	r[name] = n
	return n, nil
}

func (r registry) create(t *store.Turn, s *store.Store, name string, config Config) (*keys, error) {
	is := stored{Created: t.Now().UnixNano(), Config: config}
	text, err := is.Encode()
	if err != nil {
		return nil, err
	}
	o, err := t.Create(store.ClassNamespace, name, text)
	if err != nil {
		return nil, err
	}
	n := newKeys(s, o, is)
	n.learn(t)
	r[name] = n
	return n, nil
}

// Alter gives the namespace another config, nil for the defaults, durably. Expiry counts
// for what is completed from then on, Lease from the next opening of the store. CacheBytes
// stays as it is.
func (k *Namespace) Alter(ctx context.Context, c *Config) error {
	config, err := c.normalize()
	if err != nil {
		return fmt.Errorf("%s: %w", named(k.n.name), err)
	}
	return k.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		if err := k.n.alive(); err != nil {
			return err
		}
		return k.n.alter(t, config, object.Compare(k.n.config(), config))
	}), store.Sync)
}

// alter makes the changes, if there are any.
func (n *keys) alter(t *store.Turn, config Config, changes object.Differences) error {
	if len(changes) == 0 {
		return nil
	}
	if err := changes.Alterable(named(n.name)); err != nil {
		return err
	}
	if err := t.Grow(); err != nil {
		return err
	}
	is := n.stored
	config.CacheBytes = n.config().CacheBytes
	is.Config, is.Altered = config, t.Now().UnixNano()
	text, err := is.Encode()
	if err != nil {
		return err
	}
	t.Alter(n.object, text)
	n.stored = is
	n.settings.Store(&config)
	return nil
}

// Delete removes the namespace with its keys, durably. Handlers that run lose their
// claims, see ErrLeaseLost. A namespace that is created under the name later knows none of
// the keys.
func (k *Namespace) Delete(ctx context.Context) error {
	return k.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		if err := k.n.alive(); err != nil {
			return err
		}
		k.n.drop(t)
		delete(registryOf(k.s), k.n.name)
		return nil
	}}, store.Sync)
}

// NamespaceInfo is what is known of a namespace at one moment.
type NamespaceInfo struct {
	Name    string
	ID      uint32 // of no other namespace, also if it is deleted
	Config  Config // with its defaults filled in
	Created time.Time
	Altered time.Time // zero if it was not

	Completed  uint64 // keys with an outcome, those that have expired and are not reclaimed yet included
	InProgress int    // handlers that run
}

// Config returns the configuration, with its defaults filled in.
func (k *Namespace) Config() Config { return k.n.config() }

// Name returns the name of the namespace.
func (k *Namespace) Name() string { return k.n.name }

// Info returns what is known of the namespace.
func (k *Namespace) Info(ctx context.Context) (info NamespaceInfo, err error) {
	err = k.answer(ctx, func() { info = k.n.info() })
	return info, err
}

func (n *keys) info() NamespaceInfo {
	info := describe(n.object, n.stored, n.meta)
	info.InProgress = len(n.claims)
	return info
}

func describe(o *store.Object, is stored, m meta) NamespaceInfo {
	created, altered := is.Times()
	return NamespaceInfo{Name: o.Name, ID: o.ID, Config: is.Config, Created: created, Altered: altered, Completed: m.records}
}

// Namespaces returns what is known of all namespaces of a store, by name.
func Namespaces(ctx context.Context, db *pebblemq.DB) (list []NamespaceInfo, err error) {
	s := bridge.Store(db)
	err = s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		for _, o := range t.List(store.ClassNamespace, "") {
			info, err := registryOf(s).info(t, o)
			if err != nil {
				return err
			}
			list = append(list, info)
		}
		return nil
	}), store.Sync)
	return list, err
}

// info describes a namespace without opening it.
func (r registry) info(t *store.Turn, o *store.Object) (NamespaceInfo, error) {
	if n := r[o.Name]; n != nil {
		return n.info(), nil
	}
	is, err := decodeConfig(o)
	if err != nil {
		return NamespaceInfo{}, err
	}
	m, _, err := readMeta(t, o)
	return describe(o, is, m), err
}
