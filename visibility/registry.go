package visibility

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/queue"
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

// open returns the memory of a queue that exists. Its caller has the lock.
func (r *registry) open(ctx context.Context, name string, release bool) (*Queue, error) {
	if q := r.mu.queues[name]; q != nil && release && !q.released {
		return nil, store.Invalid("queue %q is open already, as a dead-letter queue, by a broker, by a redrive or by a call without ReleaseOnOpen", name)
	}
	return r.load(ctx, name, release)
}

// lookup is open for those who do not have the lock.
func (r *registry) lookup(ctx context.Context, name string) (*Queue, error) {
	if err := r.mu.Lock(ctx); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	return r.open(ctx, name, false)
}

// load brings a queue into memory along with its dead-letter queue. It is put
// into the map first, so that queues which are each other's come to an end.
func (r *registry) load(ctx context.Context, name string, release bool) (*Queue, error) {
	if q := r.mu.queues[name]; q != nil {
		return q, nil
	}
	q, err := r.read(ctx, name, release)
	if err != nil {
		return nil, err
	}
	r.mu.queues[name] = q
	if q.config().DeadLetterQueue != "" {
		if q.dead, err = r.load(ctx, q.config().DeadLetterQueue, release); err != nil {
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
		q.core.Start(t)
		q.redrives.Resume(t)
		return nil
	}), store.NoSync)
	if err != nil {
		delete(r.mu.queues, name)
		return nil, err
	}
	return q, nil
}

func (r *registry) read(ctx context.Context, name string, release bool) (*Queue, error) {
	var o *store.Object
	var is stored
	err := r.s.Do(ctx, store.QuietFunc(func(t *store.Turn) (err error) {
		o, is, err = lookup(t, name)
		return err
	}), store.NoSync)
	if err != nil {
		return nil, err
	}
	q := &Queue{s: r.s, name: name, id: o.ID, sealer: newSealer(o.ID, is.State.Secret)}
	q.current.Store(&is.Config)
	q.leases.timer = store.NewTimer(q.expire)
	so := queue.Options{Name: name, Ready: q.serve, Leased: q.resume, ID: idOf, Numbered: true, Born: sentAt, Outlived: q.outlived, Promoted: q.promoted}
	if release {
		so.Leased, q.released = nil, true
	}
	q.config().grouped(&so)
	q.openWindow(r.s)
	if q.core, err = queue.Open(ctx, r.s, layout, o.ID, q.config().MaxPriority, so); err != nil {
		return nil, err
	}
	q.redrives = q.newRedrives()
	return q, q.redrives.Read(ctx)
}

// drop ends a queue in memory.
func (q *Queue) drop(t *store.Turn) {
	q.dropped = true
	q.core.Close(t)
	if q.window != nil {
		q.window.Close(t)
	}
	t.Disarm(q.leases.timer)
	q.leases.messages = nil
	q.waiting.fail(q.gone())
	q.recalled.Fire()
}

// lookup finds a queue in the catalog.
func lookup(t *store.Turn, name string) (*store.Object, stored, error) {
	o, ok := t.Lookup(store.ClassVisQueue, name)
	if !ok {
		return nil, stored{}, fmt.Errorf("%w: %q", ErrUnknownQueue, name)
	}
	is, err := decodeConfig(o)
	return o, is, err
}
