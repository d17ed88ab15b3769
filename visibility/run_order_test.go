package visibility_test

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
	"github.com/pebblemq/pebblemq/visibility"
)

// groupWatch sees that the messages of a group are handled one after the other, and in order.
type groupWatch struct {
	t    *testing.T
	mu   sync.Mutex
	busy map[string]bool
	next map[string]int // of each group
	fail func(group string, n int) bool
}

// handle handles some messages in one call.
func (w *groupWatch) handle(batch []*visibility.Received) pebblemq.BatchError {
	begun := make(map[string]bool)
	w.mu.Lock()
	for _, m := range batch {
		if !begun[m.Group] && w.busy[m.Group] {
			w.t.Errorf("%s is handled beside another message of group %s", m.Body, m.Group)
		}
		begun[m.Group], w.busy[m.Group] = true, true
	}
	w.mu.Unlock()
	time.Sleep(time.Second)
	w.mu.Lock()
	defer w.mu.Unlock()
	failed := make(pebblemq.BatchError, len(batch))
	for i, m := range batch {
		if string(m.Body) != fmt.Sprint(w.next[m.Group]) {
			w.t.Errorf("%s of group %s is handled, not %d", m.Body, m.Group, w.next[m.Group])
		}
		if w.fail(m.Group, w.next[m.Group]) {
			for j := i; j < len(batch); j++ { // those of other groups too
				failed[j] = errors.New("no")
			}
			break
		}
		w.next[m.Group]++
	}
	for group := range begun {
		w.busy[group] = false
	}
	return failed
}

func TestRunHandlesAGroupOfAFIFOQueueInOrder(t *testing.T) {
	const groups, messages = 3, 20
	one := func(w *groupWatch) func(*visibility.Queue, context.Context) error {
		return func(q *visibility.Queue, ctx context.Context) error {
			return q.Run(ctx, func(_ context.Context, m *visibility.Received) error {
				return w.handle([]*visibility.Received{m})[0]
			}, &visibility.RunOptions{Concurrency: 8})
		}
	}
	batch := func(w *groupWatch) func(*visibility.Queue, context.Context) error {
		return func(q *visibility.Queue, ctx context.Context) error {
			return q.RunBatch(ctx, func(_ context.Context, list []*visibility.Received) error {
				return w.handle(list)
			}, &visibility.RunOptions{Concurrency: 8, BatchSize: 4})
		}
	}
	for name, run := range map[string]func(*groupWatch) func(*visibility.Queue, context.Context) error{"Run": one, "RunBatch": batch} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, db *pebblemq.DB) {
				q := open(t, db, "q", &visibility.QueueConfig{FIFO: true})
				for i := range messages {
					for g := range groups {
						_, err := q.Send(ctx, visibility.Message{Group: fmt.Sprint("g", g), Body: fmt.Append(nil, i)})
						require.NoError(t, err)
					}
				}
				failures := 0
				w := &groupWatch{t: t, busy: map[string]bool{}, next: map[string]int{}}
				w.fail = func(group string, n int) bool {
					failing := slices.Contains([]int{3, 7}, n) && group == "g1" && failures < 4
					if failing {
						failures++
					}
					return failing
				}
				ctx, cancel := context.WithCancel(ctx)
				done := make(chan error, 1)
				go func() { done <- run(w)(q, ctx) }()
				for stats(t, q) != (visibility.Stats{}) {
					time.Sleep(time.Second)
					synctest.Wait()
				}
				cancel()
				require.NoError(t, <-done)
				require.Equal(t, map[string]int{"g0": messages, "g1": messages, "g2": messages}, w.next)
				require.Equal(t, 4, failures)
			})
		})
	}
}
