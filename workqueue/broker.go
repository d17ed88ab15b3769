package workqueue

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Broker is a set of exchanges, queues and bindings, like a virtual host. All
// its methods are safe for concurrent use; handles to one broker share their
// state.
type Broker struct {
	s *store.Store
	t *topology
}

// topology is a broker in memory. It is touched under the baton only.
type topology struct {
	id        uint32
	name      string
	s         *store.Store
	exchanges map[string]*exchange
	queues    map[string]*queue
	ends      map[destination]*end
	numbered  uint64 // newest binding
	walk      walk
	jobs      map[string]*job
	unrouted  uint64          // messages that were accepted and led nowhere
	consumers uint64          // ever, for tags
	evictions int             // under way, one because of the other
	stuck     map[*queue]bool // that have dead letters without a place
}

// scoped is the name of a part of the broker in the catalog.
func (t *topology) scoped(name string) string {
	return string(binary.BigEndian.AppendUint32(nil, t.id)) + name
}

type registryKey struct{}

// registry is the brokers that are open in a store.
type registry struct {
	mu      sync.Mutex // held while one is loaded
	brokers map[string]*topology
}

// Open opens a broker in db and creates it if need be.
func Open(db *pebblemq.DB, name string) (*Broker, error) {
	if err := store.CheckName("broker", name); err != nil {
		return nil, err
	}
	s := bridge.Store(db)
	open := s.Local(registryKey{}, func() any { return &registry{brokers: make(map[string]*topology)} }).(*registry)
	open.mu.Lock()
	defer open.mu.Unlock()
	if err := s.Cause(); err != nil && !errors.Is(err, store.ErrFailed) {
		return nil, err
	}
	if t := open.brokers[name]; t != nil {
		return &Broker{s: s, t: t}, nil
	}
	t, err := load(s, name)
	if err != nil {
		return nil, fmt.Errorf("workqueue: open broker %q: %w", name, err)
	}
	open.brokers[name] = t
	return &Broker{s: s, t: t}, nil
}

// load reads a broker: its objects from the catalog, its bindings, and the
// record of each queue. Nobody else has it yet, so what it does outside the
// baton is safe.
func load(s *store.Store, name string) (*topology, error) {
	t := &topology{
		s: s, name: name,
		exchanges: make(map[string]*exchange), queues: make(map[string]*queue), stuck: make(map[*queue]bool), ends: make(map[destination]*end),
		jobs: make(map[string]*job),
	}
	var exchanges, queues []*store.Object
	ctx := context.Background()
	err := s.Do(ctx, store.QuietFunc(func(turn *store.Turn) (err error) {
		o, known := turn.Lookup(store.ClassBroker, name)
		if !known {
			if o, err = turn.Create(store.ClassBroker, name, nil); err != nil {
				return err
			}
		}
		t.id = o.ID
		exchanges = turn.List(store.ClassExchange, t.scoped(""))
		queues = turn.List(store.ClassQueue, t.scoped(""))
		return nil
	}), store.Sync)
	if err != nil {
		return nil, err
	}
	for _, o := range exchanges {
		if t.exchanges[o.Name[4:]], err = newExchange(s, o); err != nil {
			return nil, err
		}
	}
	for _, o := range queues {
		if t.queues[o.Name[4:]], err = newQueue(ctx, t, o); err != nil {
			return nil, err
		}
	}
	if err := t.loadWindows(ctx); err != nil {
		return nil, err
	}
	if err := t.loadBindings(ctx); err != nil {
		return nil, err
	}
	if err := t.loadJobs(ctx); err != nil {
		return nil, err
	}
	return t, s.Do(ctx, store.QuietFunc(func(turn *store.Turn) error {
		for _, q := range t.queues {
			if q.config.Exclusive { // its owner is gone
				t.dropQueue(turn, q)
				continue
			}
			q.begin(turn)
		}
		for _, j := range t.jobs {
			if j.Every > 0 { // others wait for their Schedule
				turn.Arm(j.timer, j.next)
			}
		}
		return nil
	}), store.NoSync)
}

// loadWindows finds out what the windows hold.
func (t *topology) loadWindows(ctx context.Context) error {
	for _, e := range t.exchanges {
		if e.window != nil {
			if err := e.window.Ready(ctx); err != nil {
				return err
			}
		}
	}
	for _, q := range t.queues {
		if q.window != nil {
			if err := q.window.Ready(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// loadBindings reads the bindings. Those to an object that was deleted while no
// broker was open are dropped, even if the name is in use again.
func (t *topology) loadBindings(ctx context.Context) error {
	stored, err := t.readBindings(ctx)
	if err != nil {
		return err
	}
	sinks := make(map[destination]store.Sink)
	for _, b := range stored {
		if _, open := sinks[b.to]; open {
			continue
		}
		sink, id, err := t.openSink(ctx, b.to)
		if err != nil {
			return fmt.Errorf("%v, bound to exchange %q: %w", b.to, b.exchange, err)
		}
		if id == b.id {
			sinks[b.to] = sink
		}
	}
	return t.s.Do(ctx, store.QuietFunc(func(turn *store.Turn) error {
		t.watch(turn)
		var bereft []*exchange
		for _, b := range stored {
			id, known := t.find(turn, b.to)
			switch {
			case t.exchanges[b.exchange] == nil:
				return damaged("binding", bindingKey(t.id, b.binding))
			case known && id == b.id:
				if err := t.exchanges[b.exchange].matcher.check(b.binding); err != nil {
					return fmt.Errorf("%w: %w", damaged("binding", bindingKey(t.id, b.binding)), err)
				}
				t.bind(b.binding, b.number, sinks[b.to])
			default:
				turn.Delete(bindingKey(t.id, b.binding))
				bereft = append(bereft, t.exchanges[b.exchange])
			}
		}
		for _, e := range bereft {
			t.dropBereft(turn, e)
		}
		return nil
	}), store.NoSync)
}

type storedBinding struct {
	binding
	record
}

func (t *topology) readBindings(ctx context.Context) (found []storedBinding, err error) {
	lo, hi := store.Span(store.KindWorkBinding, t.id)
	it, err := t.s.Iter(ctx, lo, hi)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			return nil, err
		}
		b, made, err := decodeBinding(it.Key(), v)
		if err != nil {
			return nil, err
		}
		found = append(found, storedBinding{b, made})
	}
	slices.SortFunc(found, func(a, b storedBinding) int { return cmp.Compare(a.number, b.number) })
	return found, nil
}

// watch has bindings go with what they lead to.
func (t *topology) watch(turn *store.Turn) {
	for class, place := range places {
		if place.pkg != "" {
			turn.WatchDrops(class, func(turn *store.Turn, o *store.Object) {
				t.unbindAll(turn, destination{class, o.Name})
			})
		}
	}
}

// Exchanges returns the names of the declared exchanges and their kinds.
func (b *Broker) Exchanges(ctx context.Context) (map[string]ExchangeKind, error) {
	kinds := make(map[string]ExchangeKind)
	err := b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		for name, e := range b.t.exchanges {
			kinds[name] = e.config.Kind
		}
		return nil
	}), store.Sync)
	return kinds, err
}

// Queues returns the names of the declared queues, in order.
func (b *Broker) Queues(ctx context.Context) (names []string, err error) {
	err = b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		for name := range b.t.queues {
			names = append(names, name)
		}
		return nil
	}), store.Sync)
	slices.Sort(names)
	return names, err
}

// Unrouted returns how many messages were accepted since the store was opened
// although no binding matched them.
func (b *Broker) Unrouted(ctx context.Context) (n uint64, err error) {
	err = b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		n = b.t.unrouted
		return nil
	}), store.Sync)
	return n, err
}
