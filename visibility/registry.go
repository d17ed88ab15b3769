package visibility

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
)

// registry holds the queues of a store that are open, so that there is one
// memory of each. Its lock is taken before the baton and never under it, and
// by nothing but opening and deleting.
type registry struct {
	s  *store.Store
	mu struct {
		store.Latch
		queues map[string]*Queue
	}
}

type registryKey struct{}

func registryOf(s *store.Store) *registry {
	return s.Local(registryKey{}, func() any {
		r := &registry{s: s}
		r.mu.Latch = store.NewLatch()
		r.mu.queues = make(map[string]*Queue)
		return r
	}).(*registry)
}

// open returns the memory of a queue that exists.
func (r *registry) open(ctx context.Context, name string, o *Options) (*Queue, error) {
	if err := r.mu.Lock(ctx); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	if q := r.mu.queues[name]; q != nil && o != nil && o.ReleaseOnOpen && !q.released {
		return nil, store.Invalid("queue %q is open already, as a dead-letter queue, by a broker, by a redrive or by a call without ReleaseOnOpen", name)
	}
	return r.load(ctx, name, o)
}

// load brings a queue into memory along with its dead-letter queue. It is put
// into the map first, so that queues which are each other's come to an end.
func (r *registry) load(ctx context.Context, name string, o *Options) (*Queue, error) {
	if q := r.mu.queues[name]; q != nil {
		return q, nil
	}
	q, err := r.read(ctx, name, o)
	if err != nil {
		return nil, err
	}
	r.mu.queues[name] = q
	if q.config().DeadLetterQueue != "" {
		if q.dead, err = r.load(ctx, q.config().DeadLetterQueue, o); err != nil {
			delete(r.mu.queues, name)
			return nil, err
		}
	}
	if q.window != nil {
		if err := q.window.Ready(ctx); err != nil {
			delete(r.mu.queues, name)
			return nil, err
		}
	}
	err = r.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		q.retain(t)
		q.spool.Start(t)
		q.resumeRedrive(t)
		return nil
	}), store.NoSync)
	if err != nil {
		delete(r.mu.queues, name)
		return nil, err
	}
	return q, nil
}

func (r *registry) read(ctx context.Context, name string, o *Options) (*Queue, error) {
	var object *store.Object
	err := r.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		var ok bool
		if object, ok = t.Lookup(store.ClassVisQueue, name); !ok {
			return fmt.Errorf("%w: %q", ErrUnknownQueue, name)
		}
		return nil
	}), store.NoSync)
	if err != nil {
		return nil, err
	}
	stored, err := decodeConfig(name, object.Config)
	if err != nil {
		return nil, err
	}
	q := &Queue{s: r.s, name: name, id: object.ID, sealer: newSealer(object.ID, stored.Secret)}
	q.current.Store(stored.config())
	q.leases.timer = store.NewTimer(q.expire)
	so := spool.Options{Name: name, Ready: q.serve, Leased: q.resume, ID: idOf, Numbered: true, Born: sentAt, Outlived: q.outlived, Promoted: q.promoted}
	if o != nil && o.ReleaseOnOpen {
		so.Leased, q.released = nil, true
	}
	q.config().grouped(&so)
	q.openWindow(r.s)
	if q.spool, err = spool.OpenLanes(ctx, r.s, layout, object.ID, q.config().MaxPriority, so); err != nil {
		return nil, err
	}
	return q, q.readRedrives(ctx)
}

// drop deletes a queue, whether it is in memory or not.
func (r *registry) drop(ctx context.Context, name string) error {
	if err := store.CheckName("queue", name); err != nil {
		return err
	}
	if err := r.mu.Lock(ctx); err != nil {
		return err
	}
	defer r.mu.Unlock()
	q, done := r.mu.queues[name], false
	err := r.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		o, ok := t.Lookup(store.ClassVisQueue, name)
		if !ok {
			return fmt.Errorf("%w: %q", ErrUnknownQueue, name)
		}
		if err := checkUnused(t, name); err != nil {
			return err
		}
		t.Drop(o, append(layout.Kinds(), store.KindVisWindow, store.KindVisRedrive, store.KindVisHold)...)
		if q != nil {
			q.drop(t)
		}
		done = true
		return nil
	}}, store.Sync)
	if done { // even if its fsync is not known of
		delete(r.mu.queues, name)
	}
	return err
}

// drop ends a queue in memory.
func (q *Queue) drop(t *store.Turn) {
	q.dropped = true
	q.spool.Close(t)
	if q.window != nil {
		q.window.Close(t)
	}
	t.Disarm(q.leases.timer)
	q.leases.messages = nil
	q.waiting.fail(q.gone())
	q.recalled.Fire()
}
