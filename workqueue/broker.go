package workqueue

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/codec"
	"github.com/pebblemq/pebblemq/internal/object"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/workqueue/internal/routing"
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
	queues    map[string]*declaredQueue
	ends      map[destination]*end
	numbered  uint64 // newest binding
	router    routing.Router
	asked     routing.Message // by the latest route
	found     []*end
	jobs      map[string]*job
	unrouted  uint64                  // messages that were accepted and led nowhere
	consumers uint64                  // ever, for tags
	evictions int                     // under way, one because of the other
	stuck     map[*declaredQueue]bool // that have dead letters without a place
}

// scope is the prefix of the names that the parts of a broker have in the catalog.
func scope(id uint32) string { return string(binary.BigEndian.AppendUint32(nil, id)) }

// scoped is the name of a part of the broker in the catalog.
func (t *topology) scoped(name string) string { return scope(t.id) + name }

// scopedName is the name of a part of a broker in its broker.
func scopedName(o *store.Object) string { return o.Name[4:] }

type registryKey struct{}

// registry is the brokers that are open in a store. Its lock is taken before the baton.
type registry struct {
	s  *store.Store
	mu struct {
		store.Latch
		brokers map[string]*topology
	}
}

func registryOf(s *store.Store) *registry {
	return s.Local(registryKey{}, func() any {
		r := &registry{s: s}
		r.mu.Latch = store.NewLatch()
		r.mu.brokers = make(map[string]*topology)
		return r
	}).(*registry)
}

// OpenBroker returns the broker of that name and creates it if need be. A creation is
// durable when OpenBroker returns. If the store is closed between the creation and the opening,
// the error is pebblemq.ErrUnknownOutcome.
func OpenBroker(ctx context.Context, db *pebblemq.DB, name string) (*Broker, error) {
	return registryOf(bridge.Store(db)).open(ctx, name, create)
}

// LookupBroker returns a broker that exists, or ErrUnknownBroker.
func LookupBroker(ctx context.Context, db *pebblemq.DB, name string) (*Broker, error) {
	return registryOf(bridge.Store(db)).open(ctx, name, lookup)
}

// Name returns the name of the broker.
func (b *Broker) Name() string { return b.t.name }

func (r *registry) open(ctx context.Context, name string, find func(*store.Turn, string) (*store.Object, error)) (*Broker, error) {
	if err := store.CheckName("broker", name); err != nil {
		return nil, err
	}
	if err := r.mu.Lock(ctx); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	if err := r.s.Cause(); err != nil && !errors.Is(err, store.ErrFailed) {
		return nil, err
	}
	if t := r.mu.brokers[name]; t != nil {
		return &Broker{s: r.s, t: t}, nil
	}
	t, err := load(ctx, r.s, name, find)
	if err != nil {
		return nil, fmt.Errorf("workqueue: open broker %q: %w", name, err)
	}
	r.mu.brokers[name] = t
	return &Broker{s: r.s, t: t}, nil
}

type storedBroker = codec.Stored[codec.None, codec.None]

func decodeBroker(o *store.Object) (storedBroker, error) {
	return codec.Decode[codec.None, codec.None](fmt.Sprintf("broker %q", o.Name), o.Config)
}

// lookup finds a broker in the catalog.
func lookup(t *store.Turn, name string) (*store.Object, error) {
	o, known := t.Lookup(store.ClassBroker, name)
	if !known {
		return nil, fmt.Errorf("%w: %q", ErrUnknownBroker, name)
	}
	_, err := decodeBroker(o)
	return o, err
}

// create is lookup for a broker that need not be there.
func create(t *store.Turn, name string) (*store.Object, error) {
	o, err := lookup(t, name)
	if !errors.Is(err, ErrUnknownBroker) {
		return o, err
	}
	text, err := storedBroker{Created: t.Now().UnixNano()}.Encode()
	if err != nil {
		return nil, err
	}
	return t.Create(store.ClassBroker, name, text)
}

// load reads a broker: its objects from the catalog, its bindings, and the record of each
// queue. No other goroutine has it yet, so its changes outside the baton are safe.
func load(ctx context.Context, s *store.Store, name string, find func(*store.Turn, string) (*store.Object, error)) (*topology, error) {
	t := &topology{
		s: s, name: name,
		exchanges: make(map[string]*exchange), queues: make(map[string]*declaredQueue), stuck: make(map[*declaredQueue]bool), ends: make(map[destination]*end),
		jobs: make(map[string]*job),
	}
	var exchanges, queues []*store.Object
	known := false
	err := s.Do(ctx, store.QuietFunc(func(turn *store.Turn) error {
		_, known = turn.Lookup(store.ClassBroker, name)
		o, err := find(turn, name)
		if err != nil {
			return err
		}
		t.id = o.ID
		exchanges = turn.List(store.ClassExchange, t.scoped(""))
		queues = turn.List(store.ClassQueue, t.scoped(""))
		return nil
	}), store.Sync)
	if err != nil {
		return nil, err
	}
	if err = t.fill(ctx, exchanges, queues); err != nil && !known {
		err = object.Unopened(fmt.Sprintf("broker %q", name), err)
	}
	return t, err
}

// fill brings what belongs to a broker into memory.
func (t *topology) fill(ctx context.Context, exchanges, queues []*store.Object) (err error) {
	for _, o := range exchanges {
		e, err := newExchange(t.s, o)
		if err != nil {
			return err
		}
		t.exchanges[e.name] = e
	}
	for _, o := range queues {
		if t.queues[scopedName(o)], err = newQueue(ctx, t, o); err != nil {
			return err
		}
	}
	if err := t.loadWindows(ctx); err != nil {
		return err
	}
	if err := t.loadBindings(ctx); err != nil {
		return err
	}
	if err := t.loadJobs(ctx); err != nil {
		return err
	}
	return t.s.Do(ctx, store.QuietFunc(func(turn *store.Turn) error {
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
		if e := t.exchanges[b.exchange]; e != nil && store.IsDamage(err) {
			t.damaged(e, fmt.Errorf("%v, bound to exchange %q: %w", b.to, e.name, err))
			continue
		}
		if err != nil {
			return fmt.Errorf("%v, bound to exchange %q: %w", b.to, b.exchange, err)
		}
		if id == b.id {
			sinks[b.to] = sink
		}
	}
	return t.s.Do(ctx, store.QuietFunc(func(turn *store.Turn) error {
		var bereft []*exchange
		for _, b := range stored {
			id, known := t.find(turn, b.to)
			switch {
			case t.exchanges[b.exchange] == nil:
				return damaged("binding", bindingKey(t.id, b.binding))
			case known && id == b.id:
				if err := t.exchanges[b.exchange].routes.Check(b.route()); err != nil {
					return fmt.Errorf("%w: %w", damaged("binding", bindingKey(t.id, b.binding)), err)
				}
				t.bind(b.binding, b.number, sinks[b.to])
			default:
				turn.Delete(bindingKey(t.id, b.binding))
				bereft = append(bereft, t.exchanges[b.exchange])
			}
		}
		t.watch(turn) // not before what may fail: a broker that was not opened has nothing to watch
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

// readBindings returns the bindings in the order in which they were made. What cannot be
// read is damage of the exchanges that it may be of.
func (t *topology) readBindings(ctx context.Context) (found []storedBinding, err error) {
	lo, hi := store.Span(store.KindWorkBinding, t.id)
	it, err := t.s.Iter(ctx, lo, hi)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	it.PassOver(ctx, store.IsDamage)
	defer func() { t.missBindings(it.Gaps()) }()
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

func (t *topology) missBindings(gaps []store.Gap) {
	for _, g := range gaps {
		for _, e := range t.exchanges {
			lo, hi := e.span(t.id)
			if bytes.Compare(g.To, lo) > 0 && bytes.Compare(hi, g.From) > 0 {
				t.damaged(e, fmt.Errorf("bindings of exchange %q: %w", e.name, g.Err))
			}
		}
	}
}

// damaged has an exchange refuse what would otherwise miss places.
func (t *topology) damaged(e *exchange, err error) {
	if e.routes.Damage != nil {
		return
	}
	e.routes.Damage = err
	t.s.Log().Error("exchange cannot be used, the others go on", "broker", t.name, "exchange", e.name, "error", err)
}

// watch removes bindings together with their destinations.
func (t *topology) watch(turn *store.Turn) {
	for class, place := range places {
		if place.pkg != "" {
			turn.WatchDrops(class, func(turn *store.Turn, o *store.Object) {
				t.unbindAll(turn, destination{class, o.Name})
			})
		}
	}
}
