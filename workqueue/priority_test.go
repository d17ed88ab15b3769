package workqueue_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// declareWith declares queue q.
func declareWith(t testing.TB, b *workqueue.Broker, c workqueue.QueueConfig) {
	t.Helper()
	declareQueue(t, b, "q", &c)
}

func publishPriority(t testing.TB, b *workqueue.Broker, body string, priority uint8) {
	t.Helper()
	require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{Body: []byte(body), Priority: priority}))
}

// drain acknowledges all that is ready in queue q, and returns it.
func drain(t require.TestingT, b *workqueue.Broker) (bodies []string) {
	for {
		d, ok, err := queueOf(t, b, "q").Get(bg)
		require.NoError(t, err)
		if !ok {
			return bodies
		}
		bodies = append(bodies, string(d.Body))
		require.NoError(t, d.Ack(bg))
	}
}

func TestTheHighestPriorityGoesFirst(t *testing.T) {
	_, b := open(t)
	declareWith(t, b, workqueue.QueueConfig{MaxPriority: 3})
	for i := range 3 {
		for p := range uint8(3) {
			publishPriority(t, b, fmt.Sprint(p+1, i), p+1)
		}
	}
	require.Equal(t, []string{"3 0", "3 1", "3 2", "2 0", "2 1", "2 2", "1 0", "1 1", "1 2"}, drain(t, b))
}

func TestNoPriorityIsTheLowestAndOneBeyondTheMaximumIsTheMaximum(t *testing.T) {
	_, b := open(t)
	declareWith(t, b, workqueue.QueueConfig{MaxPriority: 5})
	for _, m := range []struct {
		body     string
		priority uint8
	}{{"none", 0}, {"0", 0}, {"5", 5}, {"10", 10}, {"none too", 0}, {"255", 255}} {
		publishPriority(t, b, m.body, m.priority)
	}
	require.Equal(t, []string{"5", "10", "255", "none", "0", "none too"}, drain(t, b))
}

func TestAQueueWithoutPrioritiesDoesNotLookAtThem(t *testing.T) {
	_, b := open(t)
	declareWith(t, b, workqueue.QueueConfig{})
	publishPriority(t, b, "low", 0)
	publishPriority(t, b, "high", 9)
	require.Equal(t, []string{"low", "high"}, drain(t, b))
	require.ErrorIs(t, errOf(b.DeclareQueue(bg, "q", &workqueue.QueueConfig{MaxPriority: 9})), pebblemq.ErrConfigMismatch)
}

func TestARequeuedMessageIsAtItsOldPlaceAmongItsPriority(t *testing.T) {
	_, b := open(t)
	declareWith(t, b, workqueue.QueueConfig{MaxPriority: 255})
	for i := range 3 {
		publishPriority(t, b, fmt.Sprint("low ", i), 1)
		publishPriority(t, b, fmt.Sprint("high ", i), 255)
	}
	first, second := get(t, b, "q", "high 0"), get(t, b, "q", "high 1")
	require.NoError(t, get(t, b, "q", "high 2").Ack(bg))
	low := get(t, b, "q", "low 0")
	require.NoError(t, second.Nack(bg, true))
	require.NoError(t, low.Nack(bg, true))
	require.NoError(t, first.Nack(bg, true))
	require.Equal(t, []string{"high 0", "high 1", "low 0", "low 1", "low 2"}, drain(t, b))
}

func TestDelayedMessagesHaveAPriority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{MaxPriority: 2})
		for p := range uint8(3) {
			m := workqueue.Message{Body: []byte{'0' + p}, Priority: p, Delay: time.Second}
			require.NoError(t, b.Publish(bg, "", "q", m))
		}
		publishPriority(t, b, "1 now", 1)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []string{"2", "1 now", "1", "0"}, drain(t, b))
	})
}

// What is on disk only has its turn before what is in memory, if its priority is
// higher; and all of it is there after a crash.
func TestPrioritiesOfABacklogSurviveACrash(t *testing.T) {
	const n = 5000 // more than a window
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(storetest.NewFS(fs), store.Options{})
	require.NoError(t, err)
	b := openBroker(t, db)
	declareWith(t, b, workqueue.QueueConfig{MaxPriority: 2})
	for p := range uint8(3) {
		var batch []workqueue.Publishing
		for i := range n {
			m := workqueue.Message{Body: fmt.Appendf(nil, "%d %05d", p, i), Priority: p}
			batch = append(batch, workqueue.Publishing{Key: "q", Message: m})
		}
		require.NoError(t, b.PublishBatch(bg, "", batch))
	}
	require.NoError(t, get(t, b, "q", "2 00000").Ack(pebblemq.WithDurability(bg, pebblemq.Sync)))
	get(t, b, "q", "2 00001")
	after := fs.CrashClone(vfs.CrashCloneCfg{})
	storetest.Close(t, db)

	db, err = storetest.OpenFS(storetest.NewFS(after), store.Options{})
	require.NoError(t, err)
	defer storetest.Close(t, db)
	b = openBroker(t, db)
	require.Equal(t, 3*n-1, ready(t, b, "q"))
	d := get(t, b, "q", "2 00001")
	require.True(t, d.Redelivered)
	require.NoError(t, d.Nack(bg, true))
	got := drain(t, b)
	require.Len(t, got, 3*n-1)
	require.True(t, slices.IsSortedFunc(got, func(a, b string) int {
		if a[0] != b[0] {
			return int(b[0]) - int(a[0])
		}
		return slices.Compare([]byte(a), []byte(b))
	}))
}

// A purge of a queue with priorities takes all of them.
func TestAPurgeTakesAllPriorities(t *testing.T) {
	_, b := open(t)
	declareWith(t, b, workqueue.QueueConfig{MaxPriority: 3})
	for p := range uint8(4) {
		publishPriority(t, b, fmt.Sprint(p), p)
	}
	d := get(t, b, "q", "3")
	n, err := queueOf(t, b, "q").Purge(bg)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.NoError(t, d.Nack(bg, true))
	require.Equal(t, []string{"3"}, drain(t, b))
}

// TestModelOfPriorities compares a queue with a sorted list.
func TestModelOfPriorities(t *testing.T) {
	type message struct {
		body     string
		priority uint8
		number   int
	}
	before := func(a, b message) int {
		if a.priority != b.priority {
			return int(b.priority) - int(a.priority)
		}
		return a.number - b.number
	}
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem()
		var db *pebblemq.DB
		var b *workqueue.Broker
		var ready, out []message
		var held []*workqueue.Delivery
		openAll := func() {
			var err error
			db, err = storetest.OpenFS(storetest.NewFS(fs), store.Options{})
			require.NoError(t, err)
			b, err = workqueue.OpenBroker(bg, db, "main")
			require.NoError(t, err)
			declareQueue(t, b, "q", &workqueue.QueueConfig{MaxPriority: 4, DeliveryLimit: workqueue.NoDeliveryLimit})
		}
		putBack := func(i int) {
			ready = append(ready, out[i])
			slices.SortFunc(ready, before)
			out, held = slices.Delete(out, i, i+1), slices.Delete(held, i, i+1)
		}
		openAll()
		defer func() { require.NoError(t, db.Close()) }()
		number := 0
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				m := message{fmt.Sprint(number), uint8(rapid.IntRange(0, 4).Draw(t, "priority")), number}
				number++
				require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{Body: []byte(m.body), Priority: m.priority}))
				ready = append(ready, m)
				slices.SortFunc(ready, before)
			},
			"get": func(t *rapid.T) {
				d, ok, err := queueOf(t, b, "q").Get(bg)
				require.NoError(t, err)
				require.Equal(t, len(ready) > 0, ok)
				if ok {
					require.Equal(t, ready[0].body, string(d.Body))
					out, held, ready = append(out, ready[0]), append(held, d), ready[1:]
				}
			},
			"settle": func(t *rapid.T) {
				if len(out) == 0 {
					t.Skip("nothing is out")
				}
				i := rapid.IntRange(0, len(out)-1).Draw(t, "which")
				if rapid.Bool().Draw(t, "requeue") {
					require.NoError(t, held[i].Nack(bg, true))
					putBack(i)
					return
				}
				require.NoError(t, held[i].Ack(bg))
				out, held = slices.Delete(out, i, i+1), slices.Delete(held, i, i+1)
			},
			"reopen": func(t *rapid.T) {
				require.NoError(t, db.Close())
				for len(out) > 0 {
					putBack(0)
				}
				openAll()
			},
			"": func(t *rapid.T) {
				st, err := queueOf(t, b, "q").Stats(bg)
				require.NoError(t, err)
				require.Equal(t, []int{len(ready), len(out)}, []int{int(st.Ready), int(st.Unacked)})
			},
		})
	})
}

// A queue may be given higher priorities; its messages keep their places.
func TestMaxPriorityIsRaisedInPlace(t *testing.T) {
	fs := vfs.NewMem()
	db, err := storetest.OpenFS(storetest.NewFS(fs), store.Options{})
	require.NoError(t, err)
	b := openBroker(t, db)
	declareWith(t, b, workqueue.QueueConfig{})
	publishPriority(t, b, "old", 9)
	require.NoError(t, queueOf(t, b, "q").Alter(bg, &workqueue.QueueConfig{MaxPriority: 9}))
	publishPriority(t, b, "new", 9)
	publishPriority(t, b, "low", 0)
	require.ErrorIs(t, queueOf(t, b, "q").Alter(bg, &workqueue.QueueConfig{MaxPriority: 8}), pebblemq.ErrConfigMismatch)
	storetest.Close(t, db)

	db, err = storetest.OpenFS(storetest.NewFS(fs), store.Options{})
	require.NoError(t, err)
	defer storetest.Close(t, db)
	require.Equal(t, []string{"new", "old", "low"}, drain(t, openBroker(t, db)))
}
