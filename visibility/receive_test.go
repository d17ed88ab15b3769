package visibility_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func TestSendReceiveDelete(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		sent := time.Now()
		id, err := q.Send(ctx, visibility.Message{
			Body: []byte("hello"),
			Attributes: map[string]visibility.Attribute{
				"s": visibility.StringAttribute("käse"), "n": visibility.NumberAttribute("-1.5e3"), "b": visibility.BinaryAttribute([]byte{0, 255}),
			},
		})
		require.NoError(t, err)
		<-time.After(time.Second)
		m := one(t, q)
		require.Equal(t, id, m.ID)
		require.Equal(t, "hello", string(m.Body))
		require.Equal(t, visibility.NumberAttribute("-1.5e3"), m.Attributes["n"])
		require.Len(t, m.Attributes, 3)
		require.Equal(t, 1, m.ReceiveCount)
		require.True(t, sent.Equal(m.SentAt))
		require.True(t, sent.Add(time.Second).Equal(m.FirstReceivedAt))
		require.True(t, sent.Add(31*time.Second).Equal(m.VisibleAt))
		none(t, q)
		counts(t, q, 0, 1, 0)
		require.NoError(t, q.Delete(ctx, m.Receipt))
		require.NoError(t, q.Delete(ctx, m.Receipt), "again")
		<-time.After(time.Minute)
		none(t, q)
		require.Zero(t, stats(t, q))
	})
}

func TestTimeoutBringsAMessageBackBeforeYoungerOnes(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "a", "b", "c")
		first := one(t, q)
		<-time.After(30*time.Second - 1)
		synctest.Wait()
		require.Equal(t, []string{"b"}, bodies(receive(t, q, 1)))
		<-time.After(time.Nanosecond)
		synctest.Wait()
		counts(t, q, 2, 1, 0)
		got := receive(t, q, 10)
		require.Equal(t, []string{"a", "c"}, bodies(got))
		require.Equal(t, 2, got[0].ReceiveCount)
		require.True(t, first.FirstReceivedAt.Equal(got[0].FirstReceivedAt))
		require.NotEqual(t, first.Receipt, got[0].Receipt)
	})
}

func TestLongPollWakesAtOnce(t *testing.T) {
	for name, wake := range map[string]func(t *testing.T, q *visibility.Queue, held *visibility.Received){
		"send": func(t *testing.T, q *visibility.Queue, _ *visibility.Received) { send(t, q, "x") },
		"due":  func(*testing.T, *visibility.Queue, *visibility.Received) {},
		"release": func(t *testing.T, q *visibility.Queue, m *visibility.Received) {
			require.NoError(t, q.ChangeVisibility(ctx, m.Receipt, 0))
		},
		"shorten": func(t *testing.T, q *visibility.Queue, m *visibility.Received) {
			require.NoError(t, q.ChangeVisibility(ctx, m.Receipt, 1))
		},
		"timeout": func(*testing.T, *visibility.Queue, *visibility.Received) {},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, db *pebblemq.DB) {
				q := open(t, db, "q", nil)
				send(t, q, "x")
				held := one(t, q)
				expected := 10 * time.Second
				switch name {
				case "due":
					_, err := q.Send(ctx, visibility.Message{Body: []byte("x"), Delay: expected})
					require.NoError(t, err)
				case "shorten":
					expected++
				case "timeout":
					expected = 30 * time.Second
				}
				start := time.Now()
				got := make(chan []*visibility.Received, 1)
				go func() {
					ms, err := q.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Hour})
					if err == nil {
						got <- ms
					}
				}()
				<-time.After(10 * time.Second)
				wake(t, q, held)
				require.Equal(t, []string{"x"}, bodies(<-got))
				require.Equal(t, expected, time.Since(start))
			})
		})
	}
}

func TestLongPollEndsEmpty(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		start := time.Now()
		got, err := q.Receive(ctx, &visibility.ReceiveOptions{Wait: 20 * time.Second})
		require.NoError(t, err)
		require.Empty(t, got)
		require.Equal(t, 20*time.Second, time.Since(start))
	})
}

func TestWaitersAreServedInOrderAndOnlyOnce(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		const n = 20
		var mu sync.Mutex
		var order []string
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				got, err := q.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Minute, VisibilityTimeout: time.Hour})
				mu.Lock()
				defer mu.Unlock()
				order = append(order, fmt.Sprint(i, bodies(got), err))
			})
			synctest.Wait()
		}
		for i := range n / 2 {
			send(t, q, fmt.Sprint(i))
			synctest.Wait()
		}
		mu.Lock() // those whose wait is to end in vain have yet to write
		served := append([]string(nil), order...)
		mu.Unlock()
		require.Len(t, served, n/2)
		for i, o := range served {
			require.Equal(t, fmt.Sprint(i, []string{fmt.Sprint(i)}, nil), o)
		}
		wg.Wait()
		require.Len(t, order, n)
		counts(t, q, 0, n/2, 0)
	})
}

func TestCancelledReceiveTakesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := q.Receive(short, &visibility.ReceiveOptions{Wait: time.Hour})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		send(t, q, "x")
		counts(t, q, 1, 0, 0)
		_, err = q.Receive(short, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 1, one(t, q).ReceiveCount)
	})
}

func TestZeroVisibilityCountsAndLeavesTheMessage(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "x")
		for i := range 3 {
			got, err := q.Receive(ctx, &visibility.ReceiveOptions{VisibilityTimeout: visibility.NoVisibilityTimeout, Max: 10})
			require.NoError(t, err)
			require.Len(t, got, 1)
			require.Equal(t, i+1, got[0].ReceiveCount)
			counts(t, q, 1, 0, 0)
		}
		m := one(t, q)
		require.Equal(t, 4, m.ReceiveCount)
		require.NoError(t, q.Delete(ctx, m.Receipt))
	})
}

func TestDelay(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{Delay: time.Hour})
		send(t, q, "late")
		_, err := q.Send(ctx, visibility.Message{Body: []byte("now"), Delay: visibility.NoDelay})
		require.NoError(t, err)
		_, err = q.Send(ctx, visibility.Message{Body: []byte("soon"), Delay: time.Minute})
		require.NoError(t, err)
		counts(t, q, 1, 0, 2)
		start := time.Now()
		for _, want := range []struct {
			body string
			at   time.Duration
		}{{"now", 0}, {"soon", time.Minute}, {"late", time.Hour}} {
			got, err := q.Receive(ctx, &visibility.ReceiveOptions{Wait: 2 * time.Hour})
			require.NoError(t, err)
			require.Equal(t, []string{want.body}, bodies(got))
			require.Equal(t, want.at, time.Since(start))
			require.NoError(t, q.Delete(ctx, got[0].Receipt))
		}
	})
}

func TestBacklogBeyondMemoryIsReceivedWithoutWaiting(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		const n = 9000
		fast := pebblemq.WithDurability(ctx, pebblemq.NoSync)
		for i := range n {
			_, err := q.Send(fast, visibility.Message{Body: fmt.Append(nil, i)})
			require.NoError(t, err)
		}
		for i := 0; i < n; {
			got := receive(t, q, 100)
			require.NotEmpty(t, got, "after %d", i)
			for _, m := range got {
				require.Equal(t, fmt.Sprint(i), string(m.Body))
				i++
				require.NoError(t, q.Delete(ctx, m.Receipt))
			}
		}
		none(t, q)
	})
}
