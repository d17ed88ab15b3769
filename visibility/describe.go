package visibility

import (
	"context"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

func init() {
	store.RegisterDescriber(describeAll)
	store.RegisterAger("visibility queue", oldestAge)
}

func describeAll(ctx context.Context, s *store.Store) (all []store.Described, err error) {
	list, err := Queues(ctx, bridge.DB(s).(*pebblemq.DB))
	for _, info := range list {
		all = append(all, store.Described{Kind: "visibility queue", Name: info.Name, Info: info})
	}
	return all, err
}

// oldestAge returns the OldestAge of a queue, 0 if it is not open.
func oldestAge(ctx context.Context, s *store.Store, _, name string) (time.Duration, error) {
	r := registryOf(s)
	if err := r.mu.Lock(ctx); err != nil {
		return 0, err
	}
	q := r.mu.queues[name]
	r.mu.Unlock()
	if q == nil {
		return 0, nil
	}
	st, err := q.Stats(ctx)
	return st.OldestAge, err
}
