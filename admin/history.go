package admin

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/workqueue"
)

const (
	sampleEvery = 10 * time.Second
	maxSamples  = int(time.Hour / sampleEvery)

	// agedObjects is how many groups and work queues are asked for their oldest message, the
	// longest ones. Each costs a read.
	agedObjects = 20
)

// sample is what the store looked like at one moment.
type sample struct {
	at      time.Time
	settled bool // there was no change since the sample before, so it shows all of them

	changes, appended, published, delivered, acked uint64 // since the store was opened
	syncs                                          uint64
	syncTime                                       time.Duration

	ready, inFlight, delayed, dead, lag uint64
	oldest                              time.Duration
	disk, wal, memory, debt             uint64
}

// history has the samples of the last hour. All handlers of a store share it.
type history struct {
	db *pebblemq.DB
	mu struct {
		sync.Mutex
		samples []sample // the oldest first
	}
}

type historyKey struct{}

// historyOf returns the history of a store. The first caller begins it; it ends with the store.
func historyOf(db *pebblemq.DB) *history {
	kernel := bridge.Store(db)
	h := kernel.Local(historyKey{}, func() any { return &historyOnce{h: &history{db: db}} }).(*historyOnce)
	h.once.Do(func() { kernel.Spawn(h.h.run) })
	return h.h
}

type historyOnce struct {
	once sync.Once
	h    *history
}

func (h *history) run(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		h.record(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// record takes a sample. If nothing was changed since the last two, it does not ask the layers. One
// is not enough: a change counts at once, and shows when it is on disk.
func (h *history) record(ctx context.Context) {
	stats := h.db.Stats()
	last, ok := h.last()
	still := ok && last.changes == stats.Operations
	if still && last.settled {
		now := time.Now()
		if last.oldest > 0 || last.ready+last.lag > 0 { // what came just then was of age 0
			last.oldest += now.Sub(last.at)
		}
		last.at = now
		last.measure(stats)
		h.add(last)
		return
	}
	d, err := h.db.Describe(ctx)
	if err != nil {
		return // the curve has a gap
	}
	s := takeSample(ctx, h.db, takeInventory(d))
	s.settled = still && s.changes == stats.Operations
	h.add(s)
}

func (h *history) last() (sample, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.mu.samples) == 0 {
		return sample{}, false
	}
	return h.mu.samples[len(h.mu.samples)-1], true
}

func (h *history) add(s sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.mu.samples) == maxSamples {
		h.mu.samples = slices.Delete(h.mu.samples, 0, 1)
	}
	h.mu.samples = append(h.mu.samples, s)
}

// with returns the samples of the last hour and one of now.
func (h *history) with(now sample) []sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append(slices.Clone(h.mu.samples), now)
}

func takeSample(ctx context.Context, db *pebblemq.DB, i *inventory) sample {
	s := sample{at: time.Now()}
	s.measure(i.stats)
	for _, t := range i.topics {
		s.appended += uint64(t.Appended)
	}
	for _, t := range i.deadTopics() {
		s.dead += uint64(t.Kept)
	}
	for _, q := range i.queues {
		s.ready, s.inFlight, s.delayed = s.ready+q.Ready, s.inFlight+q.InFlight, s.delayed+q.Delayed
		s.published, s.delivered, s.acked = s.published+q.published, s.delivered+q.delivered, s.acked+q.acked
		s.dead += q.Dead() + q.Stuck
		s.oldest = max(s.oldest, time.Duration(q.OldestAgeSeconds*float64(time.Second)))
	}
	for _, g := range i.groups {
		s.lag += uint64(max(g.Lag, 0))
	}
	s.oldest = max(s.oldest, oldestOf(ctx, db, i))
	return s
}

// measure notes what the store says of itself.
func (s *sample) measure(stats pebblemq.Stats) {
	s.changes, s.syncs, s.syncTime = stats.Operations, stats.Syncs, stats.SyncTime
	s.disk, s.wal, s.memory, s.debt = stats.DiskBytes, stats.WALBytes, stats.MemoryBytes, stats.DebtBytes
}

// oldestOf returns the age of what waits longest in the longest work queues and groups. What cannot be
// asked now is left out.
func oldestOf(ctx context.Context, db *pebblemq.DB, i *inventory) (oldest time.Duration) {
	queues := slices.Clone(i.queues)
	slices.SortFunc(queues, func(a, b *queueRow) int { return cmp.Compare(b.Ready, a.Ready) })
	for _, row := range queues[:min(len(queues), agedObjects)] {
		oldest = max(oldest, headAge(ctx, db, row))
	}
	groups := slices.Clone(i.groups)
	slices.SortFunc(groups, func(a, b groupRow) int { return cmp.Compare(b.Lag, a.Lag) })
	for _, row := range groups[:min(len(groups), agedObjects)] {
		oldest = max(oldest, groupAge(ctx, db, row))
	}
	return oldest
}

// headAge returns how long ago the next message of a work queue was published, 0 if there is none.
func headAge(ctx context.Context, db *pebblemq.DB, row *queueRow) time.Duration {
	if row.Kind != "work" || row.Ready == 0 || row.Problem != "" {
		return 0
	}
	b, err := workqueue.LookupBroker(ctx, db, row.Broker)
	if err != nil {
		return 0
	}
	q, err := b.Queue(ctx, row.Name)
	if err != nil {
		return 0
	}
	for m, err := range q.Browse(ctx, &workqueue.BrowseOptions{State: workqueue.Ready}) {
		if err == nil {
			return max(time.Since(m.Timestamp), 0)
		}
		break
	}
	return 0
}

// groupAge returns the age of the oldest record that a group has not finished, 0 if there is none.
func groupAge(ctx context.Context, db *pebblemq.DB, row groupRow) (age time.Duration) {
	if row.Lag == 0 || row.Expired {
		return 0
	}
	t, err := log.LookupTopic(ctx, db, row.Topic)
	if err != nil {
		return 0
	}
	g, err := t.LookupGroup(ctx, row.Name)
	if err != nil {
		return 0
	}
	lags, err := g.Lag(ctx)
	if err != nil {
		return 0
	}
	for _, l := range lags {
		age = max(age, l.Age)
	}
	return age
}
