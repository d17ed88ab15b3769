package workqueue

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/codec"
	"github.com/pebblemq/pebblemq/internal/store"
)

// QueueInfo is what is known of a queue at one moment.
type QueueInfo struct {
	Name    string
	ID      uint32      // of no other object of the store, also if the queue is deleted
	Config  QueueConfig // with its defaults filled in
	Created time.Time
	Altered time.Time // zero if it was not

	// Err is why the queue cannot be used: its messages cannot be read. Stats and Totals are
	// zero then.
	Err    error
	Stats  QueueStats
	Totals QueueTotals
}

// Info returns what is known of the queue. Sync calls under way do not count in Totals before
// they are durable.
func (q *Queue) Info(ctx context.Context) (info QueueInfo, err error) {
	var text []byte
	err = q.b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		if err := q.usable(); err != nil {
			return err
		}
		text = q.queue.object.Config
		info = q.queue.info()
		return nil
	}), store.Sync)
	if err != nil {
		return QueueInfo{}, err
	}
	info.Created, info.Altered, err = codec.Times(text)
	return info, err
}

// info has all but the times, which are read from the catalog's text without the baton.
func (q *declaredQueue) info() QueueInfo {
	info := QueueInfo{Name: q.name, ID: q.object.ID, Config: q.config.clone(), Err: q.damage}
	if q.damage == nil {
		info.Stats, info.Totals = q.stats(), q.totals
	}
	return info
}

// Queues returns what is known of all queues of the broker at one moment, by name.
func (b *Broker) Queues(ctx context.Context) (list []QueueInfo, err error) {
	var texts [][]byte // of the catalog; to decode thousands would hold up all others
	err = b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		list, texts = make([]QueueInfo, 0, len(b.t.queues)), make([][]byte, 0, len(b.t.queues))
		for _, q := range b.t.queues {
			list, texts = append(list, q.info()), append(texts, q.object.Config)
		}
		return nil
	}), store.Sync)
	if err != nil {
		return nil, err
	}
	for i, text := range texts {
		if list[i].Created, list[i].Altered, err = codec.Times(text); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, func(a, b QueueInfo) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// ExchangeInfo is what is known of an exchange at one moment.
type ExchangeInfo struct {
	Name     string
	ID       uint32 // of no other object of the store, also if the exchange is deleted
	Kind     ExchangeKind
	Config   ExchangeConfig // with its defaults filled in
	Created  time.Time
	Altered  time.Time // zero if it was not
	Bindings int       // that lead from it

	// Err is why nothing can be published through the exchange or bound to it: some of its
	// bindings cannot be read. After a deletion and a new declaration it has no bindings.
	Err error
}

// Exchange returns what is known of an exchange, or ErrUnknownExchange: it is the passive
// form of DeclareExchange.
func (b *Broker) Exchange(ctx context.Context, name string) (info ExchangeInfo, err error) {
	err = b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		e, err := b.t.exchange(name)
		if err != nil {
			return err
		}
		info, err = e.info()
		return err
	}), store.Sync)
	return info, err
}

func (e *exchange) info() (ExchangeInfo, error) {
	is, err := decodeConfig(e.object)
	if err != nil {
		return ExchangeInfo{}, err
	}
	created, altered := is.Times()
	return ExchangeInfo{
		Name: e.name, ID: e.object.ID, Kind: is.Config.Kind, Config: is.Config.ExchangeConfig,
		Created: created, Altered: altered, Bindings: len(e.bindings), Err: e.routes.Damage,
	}, nil
}

// Exchanges returns what is known of all exchanges of the broker at one moment, by name.
// The default exchange, which has none, is not among them.
func (b *Broker) Exchanges(ctx context.Context) (list []ExchangeInfo, err error) {
	err = b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		for _, e := range b.t.exchanges {
			info, err := e.info()
			if err != nil {
				return err
			}
			list = append(list, info)
		}
		return nil
	}), store.Sync)
	slices.SortFunc(list, func(a, b ExchangeInfo) int { return strings.Compare(a.Name, b.Name) })
	return list, err
}

// BrokerInfo is what is known of a broker at one moment.
type BrokerInfo struct {
	Name      string
	ID        uint32 // of no other object of the store
	Created   time.Time
	Exchanges int // that were declared
	Queues    int

	// Open says whether this process has opened the broker since it opened the store. What
	// follows is counted in memory: it is zero without.
	Open     bool
	Bindings int
	Jobs     int
	// Unrouted is how many messages were accepted since the broker was opened although no
	// binding matched them.
	Unrouted uint64
}

// Info returns what is known of the broker.
func (b *Broker) Info(ctx context.Context) (info BrokerInfo, err error) {
	err = b.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		o, err := lookup(t, b.t.name)
		if err != nil {
			return err
		}
		info, err = describe(t, o, b.t)
		return err
	}), store.Sync)
	return info, err
}

// Brokers returns what is known of all brokers of a store, by name. It opens none: see
// BrokerInfo.Open.
func Brokers(ctx context.Context, db *pebblemq.DB) (list []BrokerInfo, err error) {
	r := registryOf(bridge.Store(db))
	if err := r.mu.Lock(ctx); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	err = r.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		for _, o := range t.List(store.ClassBroker, "") {
			info, err := describe(t, o, r.mu.brokers[o.Name])
			if err != nil {
				return err
			}
			list = append(list, info)
		}
		return nil
	}), store.Sync)
	return list, err
}

// describe tells of a broker, which is nil if it is not open.
func describe(t *store.Turn, o *store.Object, open *topology) (BrokerInfo, error) {
	is, err := decodeBroker(o)
	if err != nil {
		return BrokerInfo{}, err
	}
	info := BrokerInfo{
		Name: o.Name, ID: o.ID, Open: open != nil,
		Exchanges: len(t.List(store.ClassExchange, scope(o.ID))), Queues: len(t.List(store.ClassQueue, scope(o.ID))),
	}
	if info.Created, _ = is.Times(); open == nil {
		return info, nil
	}
	for _, e := range open.exchanges {
		info.Bindings += len(e.bindings)
	}
	info.Jobs, info.Unrouted = len(open.jobs), open.unrouted
	return info, nil
}
