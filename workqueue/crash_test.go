package workqueue_test

import (
	"fmt"
	"maps"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

// witness remembers what an application was told.
type witness struct {
	mu        sync.Mutex
	published map[int]bool // confirmed
	gone      map[int]bool // an ack was asked for: it may be gone
	acked     map[int]bool // an ack was durable: it must be gone
}

func newWitness() *witness {
	return &witness{published: map[int]bool{}, gone: map[int]bool{}, acked: map[int]bool{}}
}

func (w *witness) note(set map[int]bool, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	set[n] = true
}

func (w *witness) clone() *witness {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &witness{published: maps.Clone(w.published), gone: maps.Clone(w.gone), acked: maps.Clone(w.acked)}
}

// check drains the queues of a store that came back and compares.
func (w *witness) check(t *testing.T, b *workqueue.Broker, at string) {
	t.Helper()
	redrives, err := queueOf(t, b, "dead").Redrives(bg) // one may go on
	require.NoError(t, err, at)
	for _, r := range redrives {
		_, err := r.Wait(bg)
		require.NoError(t, err, at)
	}
	present := map[int]bool{}
	for m, err := range queueOf(t, b, "q").Browse(bg, &workqueue.BrowseOptions{State: workqueue.Delayed}) {
		require.NoError(t, err, at)
		n, err := strconv.Atoi(m.MessageID)
		require.NoError(t, err, at)
		present[n] = true
		require.NoError(t, queueOf(t, b, "q").Cancel(bg, m.MessageID), at)
	}
	for _, queue := range []string{"q", "dead"} {
		depth := ready(t, b, queue)
		for {
			d, ok, err := queueOf(t, b, queue).Get(bg)
			require.NoError(t, err, at)
			if !ok {
				break
			}
			depth--
			n, err := strconv.Atoi(string(d.Body))
			require.NoError(t, err, at)
			require.False(t, present[n], "%s: %d is there twice", at, n)
			present[n] = true
			require.NoError(t, d.Ack(bg), at)
		}
		require.Zero(t, depth, "%s: the depth of %s does not equal its messages", at, queue)
	}
	for n := range w.published {
		require.True(t, present[n] || w.gone[n], "%s: %d was confirmed and is lost", at, n)
	}
	for n := range w.acked {
		require.False(t, present[n], "%s: %d was acknowledged and is back", at, n)
	}
}

func topology(t *testing.T, b *workqueue.Broker) {
	t.Helper()
	declare(t, b, "dead")
	declareQueue(t, b, "q", &workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Key: "dead"}})
}

// work is a workload of everything that moves messages.
func (w *witness) work(t *testing.T, db *pebblemq.DB, b *workqueue.Broker, from, n int) {
	sync := pebblemq.WithDurability(bg, pebblemq.Sync)
	for i := from; i < from+n; i++ {
		require.NoError(t, b.Publish(bg, "", "q", body(fmt.Sprint(i))))
		w.note(w.published, i)
		if i%20 == 18 {
			_, err := waited(queueOf(t, b, "dead").Redrive(bg, nil))
			require.NoError(t, err)
		}
		if i%4 == 2 {
			w.cancel(t, b, 1_000_000+i)
		}
		if i%2 == 0 {
			continue
		}
		d, ok, err := queueOf(t, b, "q").Get(bg)
		require.NoError(t, err)
		if !ok {
			continue
		}
		id, err := strconv.Atoi(string(d.Body))
		require.NoError(t, err)
		switch i / 2 % 5 {
		case 0:
			require.NoError(t, d.Nack(bg, true))
		case 1:
			require.NoError(t, d.Reject(bg))
		case 2:
			w.note(w.gone, id)
			require.NoError(t, d.Ack(bg))
		case 3:
			w.note(w.gone, id)
			require.NoError(t, d.Ack(sync))
			w.note(w.acked, id)
		case 4:
			w.note(w.gone, id)
			require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error { return b.In(tx).Ack(d) }))
			w.note(w.acked, id)
		}
	}
}

// cancel publishes a delayed message and cancels it.
func (w *witness) cancel(t *testing.T, b *workqueue.Broker, n int) {
	m := workqueue.Message{MessageID: fmt.Sprint(n), Delay: time.Hour}
	require.NoError(t, b.Publish(bg, "", "q", m))
	w.note(w.published, n)
	w.note(w.gone, n)
	require.NoError(t, queueOf(t, b, "q").Cancel(bg, m.MessageID))
	w.note(w.acked, n)
}

func TestCrashAtEveryWrite(t *testing.T) {
	type remains struct {
		at string
		fs *vfs.MemFS
		w  *witness
	}
	fs := storetest.NewFS(vfs.NewCrashableMem())
	w := newWitness()
	var mu sync.Mutex
	var left []remains
	fs.SetHook(func(c storetest.Call) error {
		told := w.clone()
		r := remains{at: c.Op + " " + c.Name, fs: fs.CrashClone(vfs.CrashCloneCfg{}), w: told}
		mu.Lock()
		defer mu.Unlock()
		left = append(left, r)
		return nil
	})
	for life := range 2 {
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		b := openBroker(t, db)
		topology(t, b)
		w.work(t, db, b, life*60, 60)
		require.NoError(t, db.Close())
	}
	for i, r := range left {
		if testing.Short() && i%4 != 0 {
			continue
		}
		db, err := storetest.OpenFS(r.fs, store.Options{})
		require.NoError(t, err, r.at)
		b := openBroker(t, db)
		topology(t, b)
		r.w.check(t, b, fmt.Sprintf("crash %d before %s", i, r.at))
		require.NoError(t, db.Close())
	}
	require.Greater(t, len(left), 100)
}
