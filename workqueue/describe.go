package workqueue

import (
	"context"
	"errors"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

func init() {
	store.RegisterDescriber(describeAll)
	store.RegisterAger("work queue", oldestAge)
}

// describeAll tells of all brokers, and of what is in those that are open.
func describeAll(ctx context.Context, s *store.Store) (all []store.Described, err error) {
	db := bridge.DB(s).(*pebblemq.DB)
	brokers, err := Brokers(ctx, db)
	if err != nil {
		return nil, err
	}
	for _, info := range brokers {
		all = append(all, store.Described{Kind: "broker", Name: info.Name, Info: info})
		if !info.Open {
			continue
		}
		b, err := LookupBroker(ctx, db, info.Name)
		if err != nil {
			return nil, err
		}
		if all, err = b.describe(ctx, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// describe adds the exchanges and queues of a broker.
func (b *Broker) describe(ctx context.Context, all []store.Described) ([]store.Described, error) {
	exchanges, err := b.Exchanges(ctx)
	if err != nil {
		return nil, err
	}
	for _, info := range exchanges {
		all = append(all, store.Described{Kind: "exchange", Parent: b.t.name, Name: info.Name, Info: info})
	}
	queues, err := b.Queues(ctx)
	if err != nil {
		return nil, err
	}
	for _, info := range queues {
		all = append(all, store.Described{Kind: "work queue", Parent: b.t.name, Name: info.Name, Info: info})
	}
	return all, nil
}

// oldestAge returns the age of the next message of a queue.
func oldestAge(ctx context.Context, s *store.Store, broker, name string) (time.Duration, error) {
	db := bridge.DB(s).(*pebblemq.DB)
	b, err := LookupBroker(ctx, db, broker)
	if err != nil {
		return 0, err
	}
	q, err := b.Queue(ctx, name)
	if err != nil {
		return 0, err
	}
	for m, err := range q.Browse(ctx, &BrowseOptions{State: Ready}) {
		switch {
		case err == nil:
			return max(0, s.Now().Sub(m.Timestamp)), nil
		case !errors.Is(err, store.ErrCorrupt): // of one message: the next may do
			return 0, err
		}
	}
	return 0, nil
}
