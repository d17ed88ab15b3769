package guide_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/pebblemqtest"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

func saveOrder(ctx context.Context, db *pebblemq.DB, outbox *log.Topic, id string, order []byte) error {
	return db.Update(ctx, func(tx *pebblemq.Tx) error {
		if err := tx.Set([]byte("order/"+id), order); err != nil {
			return err
		}
		_, err := outbox.In(tx).Append(log.Record{Key: []byte(id), Value: order})
		return err
	})
}

func relay(ctx context.Context, outbox *log.Topic, post func(ctx context.Context, id string, body []byte) error) error {
	group, err := outbox.OpenGroup(ctx, "relay", nil)
	if err != nil {
		return err
	}
	return group.Run(ctx, func(ctx context.Context, r log.Record) error {
		return post(ctx, fmt.Sprintf("%d-%d", r.Partition, r.Offset), r.Value)
	}, &log.RunOptions{Concurrency: 16, MaxAttempts: pebblemq.Unlimited, Timeout: 10 * time.Second})
}

func project(ctx context.Context, db *pebblemq.DB, transfers *log.Group) error {
	return transfers.Run(ctx, func(ctx context.Context, r log.Record) error {
		return db.Update(ctx, func(tx *pebblemq.Tx) error {
			if err := book(tx, "balance/"+string(r.Key), r.Value); err != nil {
				return err
			}
			return transfers.In(tx).Ack(r)
		})
	}, nil)
}

func rebuild(ctx context.Context, db *pebblemq.DB, transfers *log.Group) error {
	return db.Update(ctx, func(tx *pebblemq.Tx) error {
		for e, err := range tx.Scan(&pebblemq.ScanOptions{Prefix: []byte("balance/")}) {
			if err != nil {
				return err
			}
			if err := tx.Delete(e.Key); err != nil {
				return err
			}
		}
		return transfers.In(tx).Seek(log.Start())
	})
}

// book adds an amount to the number under a key.
func book(tx *pebblemq.Tx, key string, amount []byte) error {
	old, err := tx.Get([]byte(key))
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(string(old))
	more, err := strconv.Atoi(string(amount))
	if err != nil {
		return err
	}
	return tx.Set([]byte(key), strconv.AppendInt(nil, int64(n+more), 10))
}

func runLimited(ctx context.Context, calls *workqueue.Queue, call workqueue.Handler) error {
	return calls.Run(ctx, call, &workqueue.RunOptions{
		Concurrency: 10,
		Rate:        pebblemq.Rate{PerSecond: 5, Burst: 10, PerKey: true},
		Key:         func(d *workqueue.Delivery) string { return d.Headers["tenant"] },
	})
}

func sendFor(ctx context.Context, mail *visibility.Queue, tenant string, body []byte) error {
	_, err := mail.Send(ctx, visibility.Message{Group: tenant, Body: body})
	return err
}

func putReport(ctx context.Context, broker *workqueue.Broker) error {
	return broker.PutJob(ctx, workqueue.Job{
		Name:  "nightly report",
		Every: 24 * time.Hour,
		First: time.Date(2000, 1, 1, 3, 0, 0, 0, time.UTC),
		Key:   "reports",
		Message: workqueue.Message{
			Type:      "sales",
			UniqueKey: "sales", // none is published while the last one is not done
		},
	})
}

func workOff(ctx context.Context, jobs *workqueue.Queue, handle workqueue.Handler) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return jobs.Run(ctx, handle, nil) })
	g.Go(func() error {
		defer stop()
		for {
			st, err := jobs.Stats(ctx)
			if err != nil || st.Ready+st.Delayed+st.Unacked == 0 {
				return err
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	})
	return g.Wait()
}

func openLadder(ctx context.Context, broker *workqueue.Broker) (*workqueue.Queue, error) {
	calls, _, err := broker.EnsureQueue(ctx, "calls", &workqueue.QueueConfig{
		DeliveryLimit: 5,
		Retry:         &pebblemq.Backoff{Min: time.Minute, Factor: 5, Max: 2 * time.Hour, Jitter: pebblemq.NoJitter},
	})
	return calls, err
}

var (
	errBadRequest = errors.New("bad request")
	errBusy       = errors.New("busy")
)

func judged(call workqueue.Handler) workqueue.Handler {
	return func(ctx context.Context, d *workqueue.Delivery) error {
		err := call(ctx, d)
		switch {
		case errors.Is(err, errBadRequest):
			return pebblemq.Reject(err) // a dead letter at once
		case errors.Is(err, errBusy):
			return pebblemq.Release(time.Minute) // again in a minute, uncounted
		}
		return err // nil is done; any other error is counted and tried again
	}
}

func handleDead(ctx context.Context, db *pebblemq.DB, handle log.Handler) error {
	dead, err := log.LookupTopic(ctx, db, "orders.dead")
	if errors.Is(err, pebblemq.ErrNotFound) {
		return nil // no record has failed for good
	}
	if err != nil {
		return err
	}
	group, _, err := dead.EnsureGroup(ctx, "billing", nil)
	if err != nil {
		return err
	}
	return group.Run(ctx, func(ctx context.Context, r log.Record) error {
		if slices.ContainsFunc(r.Headers, ofAnotherGroup) {
			return nil
		}
		return handle(ctx, r)
	}, &log.RunOptions{MaxAttempts: pebblemq.Unlimited})
}

func ofAnotherGroup(h log.Header) bool {
	return h.Name == log.HeaderGroup && string(h.Value) != "billing"
}

func serveUpper(ctx context.Context, requests *workqueue.Queue) error {
	return requests.Run(ctx, func(ctx context.Context, d *workqueue.Delivery) error {
		return d.Reply(ctx, workqueue.Message{Body: bytes.ToUpper(d.Body)})
	}, nil)
}

func ask(ctx context.Context, caller *workqueue.Caller, text string) (string, error) {
	ctx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	reply, err := caller.Call(ctx, "", "requests", workqueue.Message{Body: []byte(text), TTL: 10 * time.Second}, nil)
	if err != nil {
		return "", err
	}
	return string(reply.Body), nil
}

func runWithRetryTopic(ctx context.Context, db *pebblemq.DB, orders *log.Topic, handle log.Handler) error {
	later, _, err := log.EnsureTopic(ctx, db, "orders.retry", nil)
	if err != nil {
		return err
	}
	group, err := orders.OpenGroup(ctx, "billing", nil)
	if err != nil {
		return err
	}
	return group.Run(ctx, handle, &log.RunOptions{
		MaxAttempts: 3,
		Retry:       &log.Retry{Topic: later, Delay: 10 * time.Minute, Times: 5},
	})
}

func openPriorities(ctx context.Context, broker *workqueue.Broker) (*workqueue.Queue, error) {
	jobs, _, err := broker.EnsureQueue(ctx, "jobs", &workqueue.QueueConfig{
		MaxPriority:  3,
		MaxOvertakes: 10, // then one of a lower priority goes, so that none starves
	})
	return jobs, err
}

func remind(ctx context.Context, broker *workqueue.Broker, order string, at time.Time) error {
	return broker.Publish(ctx, "", "reminders", workqueue.Message{
		MessageID: "reminder-" + order,
		Delay:     time.Until(at),
		Body:      []byte(order),
	})
}

func forget(ctx context.Context, reminders *workqueue.Queue, order string) error {
	err := reminders.Cancel(ctx, "reminder-"+order)
	if errors.Is(err, pebblemq.ErrNotFound) {
		return nil // it is due already, or there never was one
	}
	return err
}

func redrive(ctx context.Context, dead *workqueue.Queue) (moved uint64, err error) {
	r, err := dead.Redrive(ctx, &workqueue.RedriveOptions{Rate: 100})
	if err != nil {
		return 0, err
	}
	info, err := r.Wait(ctx)
	return info.Moved, err
}

func TestTheOutboxIsRelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, quiet())
		outbox, err := log.OpenTopic(t.Context(), db, "outbox", nil)
		require.NoError(t, err)
		require.NoError(t, saveOrder(t.Context(), db, outbox, "42", []byte("two teapots")))
		must(outbox.OpenGroup(t.Context(), "relay", nil)) // WaitIdle looks at groups that are there
		var got []string
		attempts := 0
		runs(t, func(ctx context.Context) error {
			return relay(ctx, outbox, func(_ context.Context, id string, body []byte) error {
				if attempts++; attempts < 50 {
					return errors.New("down")
				}
				got = append(got, id+" "+string(body))
				return nil
			})
		})
		pebblemqtest.WaitIdle(t, db)
		require.Equal(t, []string{"0-0 two teapots"}, got)
	})
}

func TestAProjectionIsRebuiltWhileItRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		topic := openTopic(t, db, "transfers", nil)
		transfers := must(topic.OpenGroup(ctx, "balances", nil))
		runs(t, func(ctx context.Context) error { return project(ctx, db, transfers) })
		for range 3 {
			for range 20 {
				must(topic.Append(ctx, log.Record{Key: []byte("ann"), Value: []byte("5")}))
			}
			require.NoError(t, rebuild(ctx, db, transfers))
		}
		pebblemqtest.WaitIdle(t, db)
		require.NoError(t, db.View(ctx, func(tx *pebblemq.Tx) error {
			balance, err := tx.Get([]byte("balance/ann"))
			require.Equal(t, "300", string(balance))
			return err
		}))
	})
}

func TestTheWorkEndsWhenTheQueueIsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := openBroker(t, pebblemqtest.Open(t, quiet()))
		jobs := declare(t, broker, "jobs", &workqueue.QueueConfig{DeliveryLimit: 2})
		for i := range 10 {
			require.NoError(t, broker.Publish(t.Context(), "", "jobs", workqueue.Message{Body: []byte{byte(i)}, Delay: time.Duration(i) * time.Minute}))
		}
		n := 0
		handle := func(_ context.Context, d *workqueue.Delivery) error {
			n++
			if d.Body[0] == 3 {
				return errors.New("never")
			}
			return nil
		}
		require.NoError(t, workOff(t.Context(), jobs, handle))
		require.Equal(t, 11, n)
		require.NoError(t, workOff(t.Context(), jobs, handle), "of an empty queue")
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		require.NoError(t, broker.Publish(t.Context(), "", "jobs", workqueue.Message{Delay: time.Hour}))
		require.ErrorIs(t, workOff(ctx, jobs, handle), context.DeadlineExceeded)
	})
}

func TestDeadRecordsAreHandledByTheirGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, quiet())
		require.NoError(t, handleDead(t.Context(), db, nil), "nothing is dead")
		orders := openTopic(t, db, "orders", nil)
		must(orders.Append(t.Context(), log.Record{Value: []byte("bad")}))
		reject := func(context.Context, log.Record) error { return pebblemq.Reject(errors.New("bug")) }
		for _, name := range []string{"billing", "search"} {
			group := must(orders.OpenGroup(t.Context(), name, nil))
			runs(t, func(ctx context.Context) error { return group.Run(ctx, reject, nil) })
		}
		pebblemqtest.WaitIdle(t, db)
		handled := make(chan string, 10)
		must(must(log.LookupTopic(t.Context(), db, "orders.dead")).OpenGroup(t.Context(), "billing", nil))
		runs(t, func(ctx context.Context) error {
			return handleDead(ctx, db, func(_ context.Context, r log.Record) error { handled <- string(r.Value); return nil })
		})
		pebblemqtest.WaitIdle(t, db)
		require.Len(t, handled, 1)
		require.Equal(t, "bad", <-handled)
	})
}

func TestEachTenantHasItsRate(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		broker := openBroker(t, db)
		calls := declare(t, broker, "calls", nil)
		for n := range 60 {
			m := workqueue.Message{Headers: map[string]string{"tenant": []string{"noisy", "quiet"}[n/58]}}
			require.NoError(t, broker.Publish(ctx, "", "calls", m))
		}
		began := time.Now()
		var mu sync.Mutex
		last := map[string]time.Duration{}
		runs(t, func(ctx context.Context) error {
			return runLimited(ctx, calls, func(_ context.Context, d *workqueue.Delivery) error {
				mu.Lock()
				defer mu.Unlock()
				last[d.Headers["tenant"]] = time.Since(began)
				return nil
			})
		})
		pebblemqtest.WaitIdle(t, db)
		require.Zero(t, last["quiet"].Round(time.Second))
		require.Equal(t, 10*time.Second, last["noisy"].Round(time.Second), "(58-10)/5 seconds")
	})
}

func TestAQuietTenantDoesNotWait(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		mail := openQueue(t, db, "mail", nil)
		for range 50 {
			require.NoError(t, sendFor(ctx, mail, "noisy", []byte("x")))
		}
		_, err := mail.Receive(ctx, &visibility.ReceiveOptions{Max: 5})
		require.NoError(t, err)
		require.NoError(t, sendFor(ctx, mail, "quiet", []byte("x")))
		got, err := mail.Receive(ctx, nil)
		require.NoError(t, err)
		require.Equal(t, "quiet", got[0].Group)
	})
}

func TestTheReportIsDoneOnceANight(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		broker := openBroker(t, db)
		reports := declare(t, broker, "reports", nil)
		require.NoError(t, putReport(ctx, broker))
		require.NoError(t, putReport(ctx, broker), "at each start")
		time.Sleep(73 * time.Hour)
		st, err := reports.Stats(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 1, st.Ready)
		require.Contains(t, fmt.Sprint(must(broker.Jobs(ctx))[0].Next.UTC()), "03:00:00")
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestTheLadderHasFiveSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, quiet())
		broker := openBroker(t, db)
		calls := must(openLadder(t.Context(), broker))
		require.NoError(t, broker.Publish(t.Context(), "", "calls", workqueue.Message{MessageID: "1"}))
		began := time.Now()
		var at []time.Duration
		runs(t, func(ctx context.Context) error {
			return calls.Run(ctx, func(context.Context, *workqueue.Delivery) error {
				at = append(at, time.Since(began).Round(time.Minute))
				return errors.New("down")
			}, nil)
		})
		time.Sleep(3 * time.Hour)
		pebblemqtest.WaitIdle(t, db)
		require.Equal(t, []time.Duration{0, time.Minute, 6 * time.Minute, 31 * time.Minute, 151 * time.Minute}, at)
		dead := must(broker.Queue(t.Context(), "calls.dead"))
		m := pebblemqtest.RequirePublished(t, dead, nil)
		require.Equal(t, "down", m.Deaths[0].Error)

		moved, err := redrive(t.Context(), dead)
		require.NoError(t, err)
		require.EqualValues(t, 1, moved)
	})
}

func TestTheKindOfErrorDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, quiet())
		broker := openBroker(t, db)
		calls := declare(t, broker, "calls", nil)
		for _, kind := range []string{"bad", "busy"} {
			require.NoError(t, broker.Publish(t.Context(), "", "calls", workqueue.Message{Type: kind}))
		}
		n := 0
		runs(t, func(ctx context.Context) error {
			return calls.Run(ctx, judged(func(_ context.Context, d *workqueue.Delivery) error {
				if d.Type == "bad" {
					return errBadRequest
				}
				if n++; n < 100 {
					return errBusy
				}
				return nil
			}), nil)
		})
		time.Sleep(101 * time.Minute)
		pebblemqtest.WaitIdle(t, db)
		require.Equal(t, 100, n)
		pebblemqtest.RequirePublished(t, must(broker.Queue(t.Context(), "calls.dead")), pebblemqtest.PublishedLike(workqueue.Message{Type: "bad"}))
	})
}

func TestARequestHasAReply(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		broker := openBroker(t, db)
		requests := declare(t, broker, "requests", nil)
		caller := must(broker.NewCaller(ctx))
		defer caller.Close()
		_, err := ask(ctx, caller, "nobody there")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, ok, err := requests.Get(ctx)
		require.NoError(t, err)
		require.False(t, ok, "the request has ended with the wait")
		runs(t, func(ctx context.Context) error { return serveUpper(ctx, requests) })
		reply, err := ask(ctx, caller, "hello")
		require.NoError(t, err)
		require.Equal(t, "HELLO", reply)
	})
}

func TestFailedRecordsWaitInTheRetryTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, quiet())
		orders := must(log.OpenTopic(t.Context(), db, "orders", nil))
		_, err := orders.Append(t.Context(), log.Record{Key: []byte("1"), Value: []byte("bad")}, log.Record{Key: []byte("2"), Value: []byte("good")})
		require.NoError(t, err)
		began := time.Now()
		calls := 0
		var good time.Duration
		runs(t, func(ctx context.Context) error {
			return runWithRetryTopic(ctx, db, orders, func(_ context.Context, r log.Record) error {
				if string(r.Value) == "good" {
					good = time.Since(began)
					return nil
				}
				calls++
				return errors.New("down")
			})
		})
		time.Sleep(2 * time.Hour)
		pebblemqtest.WaitIdle(t, db)
		require.Equal(t, 18, calls, "three attempts, and three more for each of five times in the topic")
		require.Less(t, good, time.Minute)
		dead := must(log.LookupTopic(t.Context(), db, "orders.dead"))
		r := pebblemqtest.RequireAppended(t, dead, nil)
		require.Contains(t, fmt.Sprintf("%s", r.Headers), "{pebblemq-attempts 18}")
	})
}

func TestNoPriorityStarves(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		broker := openBroker(t, db)
		jobs := must(openPriorities(ctx, broker))
		require.NoError(t, broker.Publish(ctx, "", "jobs", workqueue.Message{}))
		for range 20 {
			require.NoError(t, broker.Publish(ctx, "", "jobs", workqueue.Message{Priority: 3}))
		}
		for n := range 11 {
			d, _, err := jobs.Get(ctx)
			require.NoError(t, err)
			require.Equal(t, n < 10, d.Priority == 3, n)
		}
	})
}

func TestAReminderIsCancelled(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		broker := openBroker(t, db)
		reminders := declare(t, broker, "reminders", nil)
		for _, order := range []string{"41", "42"} {
			require.NoError(t, remind(ctx, broker, order, time.Now().Add(time.Hour)))
		}
		require.NoError(t, forget(ctx, reminders, "41"))
		require.NoError(t, forget(ctx, reminders, "41"))
		time.Sleep(time.Hour)
		d, ok, err := reminders.Get(ctx)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "42", string(d.Body))
	})
}
