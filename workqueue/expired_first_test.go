package workqueue_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// Messages that have expired while the store was closed do not hold the others up, and all of them
// become dead letters.
func TestLiveMessagesComeBeforeThoseThatHaveExpired(t *testing.T) {
	const dead, live = 20_000, 5
	publish := func(t *testing.T, b *workqueue.Broker, from, n int, ttl time.Duration) {
		t.Helper()
		batch := make([]workqueue.Publishing, n)
		for i := range batch {
			batch[i] = workqueue.Publishing{Key: "q", Message: workqueue.Message{MessageID: fmt.Sprint(from + i), TTL: ttl}}
		}
		require.NoError(t, b.PublishBatch(bg, "", batch))
	}
	queues := map[string]workqueue.QueueConfig{
		"dropped":     {DropDead: true},
		"dead letter": {DeadLetter: &workqueue.DeadLetter{Key: "dead"}},
		"with limit":  {DropDead: true, MaxLength: 2 * dead},
		"priorities":  {DropDead: true, MaxPriority: 2},
	}
	// Each of them is done before the first message is got.
	betweens := map[string]func(t *testing.T, b *workqueue.Broker, q *workqueue.Queue) (live int){
		"nothing": func(*testing.T, *workqueue.Broker, *workqueue.Queue) int { return live },
		"browse": func(t *testing.T, _ *workqueue.Broker, q *workqueue.Queue) int {
			n := 0
			for m, err := range q.Browse(bg, nil) {
				require.NoError(t, err)
				if m.Expires.IsZero() {
					n++
				}
			}
			require.Equal(t, live, n)
			return live
		},
		"purge": func(t *testing.T, b *workqueue.Broker, q *workqueue.Queue) int {
			_, err := q.Purge(bg)
			require.NoError(t, err)
			publish(t, b, dead+live, 2, 0)
			return 2
		},
		"close": nil,
	}
	for name, config := range queues {
		for between, f := range betweens {
			t.Run(name+"/"+between, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					fs := vfs.NewMem()
					open := func() (func(), *workqueue.Broker, *workqueue.Queue) {
						db, err := storetest.OpenFS(fs, store.Options{})
						require.NoError(t, err)
						b := openBroker(t, db)
						declare(t, b, "dead")
						q, err := b.DeclareQueue(bg, "q", &config)
						require.NoError(t, err)
						return func() { storetest.Close(t, db) }, b, q
					}
					stop, b, _ := open()
					publish(t, b, 0, dead/2, time.Minute)
					publish(t, b, dead, live, 0)
					publish(t, b, dead/2, dead/2, time.Minute)
					stop()
					time.Sleep(time.Hour)
					stop, b, q := open()
					want := live
					if f == nil {
						_, ok, err := q.Get(bg)
						require.NoError(t, err)
						require.True(t, ok)
						stop() // and it comes back
						stop, b, q = open()
					} else {
						want = f(t, b, q)
					}
					before := 0
					for range want {
						d, ok, err := q.Get(bg)
						require.NoError(t, err)
						require.True(t, ok)
						var n int
						_, err = fmt.Sscan(d.MessageID, &n)
						require.NoError(t, err)
						require.GreaterOrEqual(t, n, dead)
						require.Greater(t, n, before)
						before = n
						require.NoError(t, d.Ack(bg))
					}
					time.Sleep(time.Minute)
					st, err := q.Stats(bg)
					require.NoError(t, err)
					require.Equal(t, workqueue.QueueStats{}, st)
					if config.DeadLetter != nil && between != "purge" {
						require.Equal(t, dead, ready(t, b, "dead"))
					}
					stop()
				})
			})
		}
	}
}
