package visibility

import (
	"context"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// QueueInfo is what is known of a queue at one moment.
type QueueInfo struct {
	Name    string
	ID      uint32      // of no other queue, also if it is deleted
	Config  QueueConfig // with its defaults filled in
	Created time.Time
	Altered time.Time // zero if it was not

	// DeadLettersOf are the queues whose dead-letter queue this one is, by name.
	DeadLettersOf []string

	// Open says whether this process has opened the queue since it opened the store, be it
	// as a dead-letter queue. Messages are counted in memory: Stats is zero without.
	Open  bool
	Stats Stats
}

// Info returns what is known of the queue.
func (q *Queue) Info(ctx context.Context) (QueueInfo, error) {
	st, err := q.Stats(ctx)
	if err != nil {
		return QueueInfo{}, err
	}
	var info QueueInfo
	err = q.s.Do(ctx, store.QuietFunc(func(t *store.Turn) (err error) {
		if q.dropped {
			return q.gone()
		}
		o, is, err := lookup(t, q.name)
		if err != nil {
			return err
		}
		info = describe(o, is)
		info.DeadLettersOf, err = deadLettersOf(t, q.name)
		return err
	}), store.NoSync)
	if err != nil {
		return QueueInfo{}, err
	}
	info.Open, info.Stats = true, st
	return info, nil
}

func describe(o *store.Object, is stored) QueueInfo {
	created, altered := is.Times()
	return QueueInfo{Name: o.Name, ID: o.ID, Config: is.Config, Created: created, Altered: altered}
}

// Queues returns what is known of all queues of a store, by name. It opens none: see
// QueueInfo.Open. The counters are of a moment just after that of the list.
func Queues(ctx context.Context, db *pebblemq.DB) ([]QueueInfo, error) {
	r := registryOf(bridge.Store(db))
	if err := r.mu.Lock(ctx); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	list, err := r.list(ctx)
	if err != nil {
		return nil, err
	}
	for i, info := range list {
		q := r.mu.queues[info.Name]
		if q == nil {
			continue
		}
		list[i].Open = true
		if list[i].Stats, err = q.Stats(ctx); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// list reads the catalog.
func (r *registry) list(ctx context.Context) (list []QueueInfo, err error) {
	sources := make(map[string][]string)
	err = r.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		for _, o := range t.List(store.ClassVisQueue, "") {
			is, err := decodeConfig(o)
			if err != nil {
				return err
			}
			list = append(list, describe(o, is))
			if dead := is.Config.DeadLetterQueue; dead != "" {
				sources[dead] = append(sources[dead], o.Name)
			}
		}
		return nil
	}), store.NoSync)
	for i := range list {
		list[i].DeadLettersOf = sources[list[i].Name]
	}
	return list, err
}
