package visibility_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

// runFor runs a handler for a time.
func runFor(q *visibility.Queue, d time.Duration, h visibility.Handler, o *visibility.RunOptions) error {
	c, stop := context.WithTimeout(ctx, d)
	defer stop()
	return q.Run(c, h, o)
}

var exactly = pebblemq.Backoff{Min: time.Second, Max: time.Minute, Jitter: pebblemq.NoJitter}

func TestAMessageThatFailsForGoodIsInTheDeadQueueByDefault(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error":  func() error { return errors.New("no such address") },
		"panic":  func() error { panic("no such address") },
		"Goexit": func() error { runtime.Goexit(); return nil },
	} {
		for _, fifo := range []bool{false, true} {
			t.Run(fmt.Sprint(name, fifo), func(t *testing.T) {
				bubble(t, func(t *testing.T, db *pebblemq.DB) {
					q := open(t, db, "mail", &visibility.QueueConfig{FIFO: fifo})
					_, err := q.Send(ctx, visibility.Message{ID: "m", Group: "g", Body: []byte("x")})
					require.NoError(t, err)
					calls := 0
					require.NoError(t, runFor(q, time.Hour, func(context.Context, *visibility.Received) error {
						calls++
						return fail()
					}, &visibility.RunOptions{Backoff: exactly}))
					require.Equal(t, 20, calls)
					require.Zero(t, stats(t, q))
					dead, err := visibility.LookupQueue(ctx, db, "mail.dead")
					require.NoError(t, err)
					pass(13 * 24 * time.Hour)
					got := receive(t, dead, 10)
					require.Len(t, got, 1)
					info := got[0].DeadLetter
					require.Equal(t, "mail", info.Queue)
					require.Equal(t, visibility.ReasonMaxAttempts, info.Reason)
					require.Equal(t, 20, info.ReceiveCount)
					require.Contains(t, info.LastError, map[string]string{"Goexit": "runtime.Goexit"}[name]+map[string]string{"error": "no such address", "panic": "no such address"}[name])
				})
			})
		}
	}
}

func TestDeadLettersOfADefaultPlaceAreRedriven(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "x")
		require.NoError(t, runFor(q, time.Second, func(context.Context, *visibility.Received) error {
			return pebblemq.Reject(errors.New("bad"))
		}, nil))
		dead, err := visibility.LookupQueue(ctx, db, "q.dead")
		require.NoError(t, err)
		got := receive(t, dead, 1)
		require.Equal(t, visibility.ReasonRejected, got[0].DeadLetter.Reason)
		require.Equal(t, "bad", got[0].DeadLetter.LastError)
		require.NoError(t, dead.Release(ctx, got[0].Receipt, 0))
		redrive(t, dead, nil)
		require.Equal(t, []string{"x"}, bodies(receive(t, q, 1)))

		// The place may be deleted: it is created again.
		require.NoError(t, deleteQueue(db, "q.dead"))
		send(t, q, "y")
		require.NoError(t, runFor(q, time.Second, func(context.Context, *visibility.Received) error {
			return pebblemq.Reject(nil)
		}, nil))
		dead, err = visibility.LookupQueue(ctx, db, "q.dead")
		require.NoError(t, err)
		require.Equal(t, []string{"y"}, bodies(receive(t, dead, 1)))
	})
}

func TestDropDeadKeepsNoDeadLetters(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "x")
		require.NoError(t, runFor(q, time.Hour, func(context.Context, *visibility.Received) error { return errors.New("no") },
			&visibility.RunOptions{MaxAttempts: 2, DropDead: true}))
		require.Zero(t, stats(t, q))
		_, err := visibility.LookupQueue(ctx, db, "q.dead")
		require.ErrorIs(t, err, visibility.ErrUnknownQueue)
	})
}

func TestADeadQueueOfAnotherKindKeepsTheMessageInTheQueue(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		open(t, db, "q.dead", &visibility.QueueConfig{FIFO: true})
		q := open(t, db, "q", nil)
		send(t, q, "x", "y")
		require.NoError(t, runFor(q, time.Hour, func(_ context.Context, m *visibility.Received) error {
			if string(m.Body) == "x" {
				return pebblemq.Reject(nil)
			}
			return nil
		}, &visibility.RunOptions{Concurrency: 2}))
		pass(time.Hour)
		require.Equal(t, []string{"x"}, bodies(receive(t, q, 10)))
	})
}

func TestAReleaseIsNotCounted(t *testing.T) {
	for _, delay := range []time.Duration{0, time.Hour, 48 * time.Hour} {
		for _, keyed := range []bool{false, true} {
			t.Run(fmt.Sprint(delay, keyed), func(t *testing.T) {
				bubble(t, func(t *testing.T, db *pebblemq.DB) {
					open(t, db, "dead", nil)
					q := open(t, db, "q", &visibility.QueueConfig{MaxReceives: 1, DeadLetterQueue: "dead", MaxVisibilityTimeout: 24 * time.Hour})
					send(t, q, "x")
					var at []time.Duration
					begin := time.Now()
					o := &visibility.RunOptions{}
					if keyed {
						if delay > 24*time.Hour {
							return // it cannot be kept for so long
						}
						o.Key = func(*visibility.Received) string { return "k" }
					}
					require.NoError(t, runFor(q, 60*time.Hour, func(_ context.Context, m *visibility.Received) error {
						require.Equal(t, 1, m.ReceiveCount)
						if at = append(at, time.Since(begin)); len(at) == 1 {
							return pebblemq.Release(delay)
						}
						return nil
					}, o))
					require.Equal(t, []time.Duration{0, delay}, at)
					require.Zero(t, stats(t, q))
				})
			})
		}
	}
}

// A worker that is shut down before it has come to a message has not failed at it.
func TestOrderlyReturnsAreNotCounted(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", nil)
		q := open(t, db, "q", &visibility.QueueConfig{MaxReceives: 3, DeadLetterQueue: "dead"})
		send(t, q, "slow", "waits")
		for range 10 {
			require.NoError(t, runFor(q, time.Second, func(ctx context.Context, m *visibility.Received) error {
				require.Equal(t, "slow", string(m.Body))
				require.Equal(t, 1, m.ReceiveCount)
				<-ctx.Done()
				require.ErrorIs(t, context.Cause(ctx), pebblemq.ErrDrainTimeout)
				return ctx.Err()
			}, &visibility.RunOptions{DrainTimeout: time.Minute, Key: func(*visibility.Received) string { return "k" }}))
		}
		counts(t, q, 2, 0, 0)
		counts(t, dead, 0, 0, 0)
	})
}

func TestStopEndsRun(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "x")
		oops := errors.New("oops")
		require.Equal(t, oops, q.Run(ctx, func(context.Context, *visibility.Received) error { return pebblemq.Stop(oops) }, nil))
		require.Equal(t, 1, receive(t, q, 1)[0].ReceiveCount)
	})
}

func TestKeysKeepTheirOrderOverFailures(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		var want []string
		for i := range 30 {
			send(t, q, fmt.Sprintf("k%d-%02d", i%3, i))
			want = append(want, fmt.Sprintf("k%d-%02d", i%3, i))
		}
		var mu sync.Mutex
		var done []string
		failed := map[string]bool{}
		key := func(m *visibility.Received) string { return string(m.Body[:2]) }
		require.NoError(t, runFor(q, time.Hour, func(_ context.Context, m *visibility.Received) error {
			mu.Lock()
			defer mu.Unlock()
			if body := string(m.Body); strings.HasSuffix(body, "5") && !failed[body] {
				failed[body] = true
				return errors.New("once")
			}
			done = append(done, string(m.Body))
			return nil
		}, &visibility.RunOptions{Concurrency: 8, Key: key, Backoff: exactly, VisibilityTimeout: 100 * time.Millisecond}))
		require.ElementsMatch(t, want, done)
		for _, k := range []string{"k0", "k1", "k2"} {
			var of []string
			for _, body := range done {
				if body[:2] == k {
					of = append(of, body)
				}
			}
			require.IsIncreasing(t, of)
		}
		require.Zero(t, stats(t, q))
	})
}

func TestABatchIsHandledAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", nil)
		q := open(t, db, "q", &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 5})
		send(t, q, "a", "b", "c", "d", "e")
		c, stop := context.WithTimeout(ctx, time.Hour)
		defer stop()
		var sizes []int
		released := false
		require.NoError(t, q.RunBatch(c, func(_ context.Context, batch []*visibility.Received) error {
			sizes = append(sizes, len(batch))
			errs := make(pebblemq.BatchError, len(batch))
			for i, m := range batch {
				switch string(m.Body) {
				case "b":
					errs[i] = errors.New("bad")
				case "c":
					if !released {
						released, errs[i] = true, pebblemq.Release(0)
					}
				}
			}
			return errs
		}, &visibility.RunOptions{BatchSize: 3, MaxAttempts: 1}))
		require.Equal(t, 3, sizes[0])
		require.Zero(t, stats(t, q))
		got := receive(t, dead, 10)
		require.Equal(t, []string{"b"}, bodies(got))
	})
}

func TestAReleasedReceiptIsUsedUp(t *testing.T) {
	for _, delay := range []time.Duration{0, time.Minute} {
		bubble(t, func(t *testing.T, db *pebblemq.DB) {
			for _, fifo := range []bool{false, true} {
				q := open(t, db, fmt.Sprint("q", fifo), &visibility.QueueConfig{FIFO: fifo})
				for _, body := range []string{"a", "b"} {
					_, err := q.Send(ctx, visibility.Message{Group: "g", Body: []byte(body)})
					require.NoError(t, err)
				}
				first := receive(t, q, 1)[0]
				require.NoError(t, q.Release(ctx, first.Receipt, delay))
				require.ErrorIs(t, q.Release(ctx, first.Receipt, 0), pebblemq.ErrLost)
				require.ErrorIs(t, q.ChangeVisibility(ctx, first.Receipt, time.Second), pebblemq.ErrLost)
				if delay > 0 && fifo {
					require.Empty(t, receive(t, q, 1), "its group waits")
				}
				if pass(delay); delay > 0 {
					require.ErrorIs(t, q.Delete(ctx, first.Receipt), pebblemq.ErrLost)
				}
				synctest.Wait()
				again := receive(t, q, 1)[0]
				require.Equal(t, "a", string(again.Body))
				require.Equal(t, 1, again.ReceiveCount)
				require.ErrorIs(t, q.Delete(ctx, first.Receipt), visibility.ErrStaleReceipt)
				require.NoError(t, q.Delete(ctx, again.Receipt))
				require.ErrorIs(t, q.Release(ctx, again.Receipt, 0), visibility.ErrNotInFlight)
				require.ErrorIs(t, q.Release(ctx, again.Receipt, -1), pebblemq.ErrInvalid)
				require.Equal(t, []string{"b"}, bodies(receive(t, q, 2)))
			}
		})
	}
}

func TestAReleaseInATransactionIsTakenBackWithIt(t *testing.T) {
	for _, delay := range []time.Duration{0, time.Minute} {
		bubble(t, func(t *testing.T, db *pebblemq.DB) {
			q := open(t, db, "q", nil)
			send(t, q, "a")
			m := receive(t, q, 1)[0]
			oops := errors.New("oops")
			require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
				if err := q.In(tx).Release(m.Receipt, delay); err != nil {
					return err
				}
				return oops
			}), oops)
			stale := receiveStale(t, q, db)
			require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
				if err := q.In(tx).Release(m.Receipt, delay); err != nil {
					return err
				}
				return stale(tx) // refused as it commits
			}), pebblemq.ErrLost)
			counts(t, q, 0, 1, 0)
			require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) error { return q.In(tx).Release(m.Receipt, delay) }))
			pass(delay)
			synctest.Wait()
			require.Equal(t, 1, receive(t, q, 1)[0].ReceiveCount)
		})
	}
}

// receiveStale returns a change that is refused when its transaction commits.
func receiveStale(t *testing.T, _ *visibility.Queue, db *pebblemq.DB) func(*pebblemq.Tx) error {
	t.Helper()
	other := open(t, db, "other", nil)
	send(t, other, "x")
	old := receive(t, other, 1)[0]
	require.NoError(t, other.ChangeVisibility(ctx, old.Receipt, 0))
	synctest.Wait()
	require.NoError(t, other.Delete(ctx, receive(t, other, 1)[0].Receipt))
	return func(tx *pebblemq.Tx) error { return other.In(tx).ChangeVisibility(old.Receipt, time.Minute) }
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		nop := func(context.Context, *visibility.Received) error { return nil }
		all := func(context.Context, []*visibility.Received) error { return nil }
		err := q.Run(ctx, nop, &visibility.RunOptions{BatchSize: 2})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		require.ErrorContains(t, err, `queue "q" are for RunBatch`)
		require.ErrorIs(t, q.RunBatch(ctx, all, &visibility.RunOptions{Middleware: []visibility.Middleware{pebblemq.Recover[*visibility.Received]}}), pebblemq.ErrInvalid)
		require.ErrorIs(t, q.RunBatch(ctx, nil, nil), pebblemq.ErrInvalid)
		require.ErrorIs(t, q.Run(ctx, nop, &visibility.RunOptions{Rate: pebblemq.Rate{PerSecond: 1, PerKey: true}}), pebblemq.ErrInvalid)
	})
}
