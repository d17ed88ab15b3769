package workqueue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// byType is a key for Run.
func byType(d *workqueue.Delivery) string { return d.Type }

// publishTyped publishes messages "key/text".
func publishTyped(t testing.TB, b *workqueue.Broker, key string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{Type: key, Body: []byte(key + "/" + text)}))
	}
}

// watcher is a handler that takes its time and notes how many run at once.
type watcher struct {
	mu      sync.Mutex
	running map[string]int
	most    map[string]int
	begun   []string
	takes   time.Duration
}

func newWatcher(takes time.Duration) *watcher {
	return &watcher{running: map[string]int{}, most: map[string]int{}, takes: takes}
}

func (w *watcher) handle(_ context.Context, d *workqueue.Delivery) error {
	w.count(d.Type, 1)
	w.mu.Lock()
	w.begun = append(w.begun, string(d.Body))
	w.mu.Unlock()
	<-time.After(w.takes)
	w.count(d.Type, -1)
	return nil
}

func (w *watcher) count(key string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running[key] += n
	w.most[key] = max(w.most[key], w.running[key])
}

func TestRunHandlesOneMessageOfAKeyAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		for i := range 12 {
			publishTyped(t, b, "a", fmt.Sprint(i))
			publishTyped(t, b, "b", fmt.Sprint(i))
			publishTyped(t, b, "", fmt.Sprint(i))
		}
		w := newWatcher(time.Second)
		runFor(t, b, time.Minute, &workqueue.RunOptions{Concurrency: 10, Key: byType}, w.handle)
		require.Len(t, w.begun, 36)
		require.Equal(t, 1, w.most["a"])
		require.Equal(t, 1, w.most["b"])
		require.Greater(t, w.most[""], 3, "no key, no limit")
	})
}

func TestHandlersOfAKeyBeginInTheOrderOfDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		var want []string
		for i := range 200 {
			publishTyped(t, b, fmt.Sprint(i%3), fmt.Sprintf("%03d", i))
			want = append(want, fmt.Sprintf("%d/%03d", i%3, i))
		}
		w := newWatcher(time.Millisecond)
		runFor(t, b, time.Minute, &workqueue.RunOptions{Concurrency: 8, Key: byType}, w.handle)
		slices.Sort(want)
		slices.SortStableFunc(w.begun, func(a, b string) int { return int(a[0]) - int(b[0]) })
		require.Equal(t, want, w.begun)
	})
}

// TestAKeyThatIsBusyHoldsUpNoOther: with far more of it ahead than there are workers.
func TestAKeyThatIsBusyHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		for i := range 500 {
			publishTyped(t, b, "busy", fmt.Sprint(i))
		}
		publishTyped(t, b, "other", "1", "2")
		w := newWatcher(time.Minute)
		runFor(t, b, time.Second, &workqueue.RunOptions{Concurrency: 3, Key: byType}, w.handle)
		require.ElementsMatch(t, []string{"busy/0", "other/1"}, w.begun, "those of one second")
		require.Equal(t, 500, ready(t, b, "q"))
		require.Equal(t, 1, get(t, b, "q", "busy/1").DeliveryCount, "what waited for its key does not count")
	})
}

func TestWhatWaitsForItsKeyHasNoAckTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{AckTimeout: time.Minute})
		for i := range 10 {
			publishTyped(t, b, "a", fmt.Sprint(i))
		}
		counts := map[int]int{}
		runFor(t, b, time.Hour, &workqueue.RunOptions{Concurrency: 2, Key: byType}, func(ctx context.Context, d *workqueue.Delivery) error {
			<-time.After(50 * time.Second)
			counts[d.DeliveryCount]++
			return ctx.Err()
		})
		require.Equal(t, map[int]int{1: 10}, counts)
		require.Zero(t, ready(t, b, "q"))

		publishTyped(t, b, "a", "slow", "next")
		runFor(t, b, 3*time.Minute, &workqueue.RunOptions{Concurrency: 2, Key: byType}, func(ctx context.Context, d *workqueue.Delivery) error {
			if string(d.Body) == "next" || d.DeliveryCount > 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		require.Zero(t, ready(t, b, "q"), "it begins when it is handled")
	})
}

// TestDeliveriesThatAreLostWhileTheyWaitForTheirKeyAreNotHandled: they are deleted, or
// come again.
func TestDeliveriesThatAreLostWhileTheyWaitForTheirKeyAreNotHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		publishTyped(t, b, "a", "1", "2", "3")
		w := newWatcher(time.Minute)
		done := make(chan error, 1)
		go func() {
			done <- queueOf(t, b, "q").Run(bg, w.handle, &workqueue.RunOptions{Concurrency: 2, Key: byType})
		}()
		synctest.Wait()
		require.NoError(t, queueOf(t, b, "q").Delete(bg))
		require.ErrorIs(t, <-done, workqueue.ErrQueueDeleted)
		pass(time.Minute) // until the handler, which heeds no context, has returned
		require.Equal(t, []string{"a/1"}, w.begun)
	})
}

func TestAKeyThatPanicsFailsItsDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "dead")
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead, DeliveryLimit: 2})
		publishTyped(t, b, "bad", "m")
		publishTyped(t, b, "good", "m")
		w := newWatcher(0)
		runFor(t, b, time.Minute, &workqueue.RunOptions{Key: func(d *workqueue.Delivery) string {
			if d.Type == "bad" {
				panic("no key")
			}
			return d.Type
		}}, w.handle)
		require.Equal(t, []string{"good/m"}, w.begun)
		require.Equal(t, workqueue.ReasonDeliveryLimit, get(t, b, "dead", "bad/m").Deaths[0].Reason)
	})
}

func TestWhatWaitsForItsKeyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		batch := make([]workqueue.Publishing, 5000)
		for i := range batch {
			batch[i] = workqueue.Publishing{Key: "q", Message: workqueue.Message{Type: "busy"}}
		}
		require.NoError(t, b.PublishBatch(bg, "", batch))
		w := newWatcher(time.Minute)
		ctx, stop := context.WithCancel(bg)
		done := make(chan error, 1)
		go func() {
			done <- queueOf(t, b, "q").Run(ctx, w.handle, &workqueue.RunOptions{Concurrency: 3, Key: byType, DrainTimeout: pebblemq.Unlimited})
		}()
		synctest.Wait()
		require.Equal(t, 1024, unacked(t, b, "q"))
		<-time.After(90 * time.Second)
		require.Equal(t, 1024, unacked(t, b, "q"))
		stop()
		require.NoError(t, <-done)
		require.Len(t, w.begun, 2)
		require.Equal(t, 5000-2, ready(t, b, "q"))
	})
}

// A rejected message that its dead letter place refuses is no end of its worker, nor of
// its key.
func TestARejectedMessageThatHasNoPlaceYetComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareQueue(t, b, "dead", &workqueue.QueueConfig{MaxLength: 1, Overflow: workqueue.RejectPublish})
		publish(t, b, "dead", "full")
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead})
		publishTyped(t, b, "k", "bad", "1", "2")
		var mu sync.Mutex
		var handled []string
		ctx, stop := context.WithCancel(bg)
		done := make(chan error, 1)
		go func() {
			done <- queueOf(t, b, "q").Run(ctx, func(_ context.Context, d *workqueue.Delivery) error {
				if string(d.Body) == "k/bad" {
					return pebblemq.Reject(errors.New("no"))
				}
				mu.Lock()
				defer mu.Unlock()
				handled = append(handled, string(d.Body))
				return nil
			}, &workqueue.RunOptions{Concurrency: 2, Key: byType})
		}()
		pass(time.Minute)
		require.Equal(t, []string{"k/1", "k/2"}, handled)
		require.NoError(t, get(t, b, "dead", "full").Ack(bg))
		pass(time.Minute)
		get(t, b, "dead", "k/bad")
		stop()
		require.NoError(t, <-done)
	})
}
