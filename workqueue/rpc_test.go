package workqueue_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

func newCaller(t testing.TB, b *workqueue.Broker) *workqueue.Caller {
	t.Helper()
	c, err := b.NewCaller(bg)
	require.NoError(t, err)
	return c
}

// serve answers requests of a queue until the returned function is called.
func serve(t testing.TB, b *workqueue.Broker, queue string, f func(context.Context, *workqueue.Delivery) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(bg)
	done := make(chan error, 1)
	go func() { done <- queueOf(t, b, queue).Run(ctx, f, &workqueue.RunOptions{Concurrency: 4}) }()
	return func() {
		cancel()
		require.NoError(t, <-done)
	}
}

func double(ctx context.Context, d *workqueue.Delivery) error {
	return d.Reply(ctx, workqueue.Message{Body: append(d.Body, d.Body...)})
}

func TestEachCallGetsItsReply(t *testing.T) {
	_, b := open(t)
	declare(t, b, "double")
	defer serve(t, b, "double", double)()
	c := newCaller(t, b)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			body := fmt.Sprint(i)
			reply, err := c.Call(bg, "", "double", workqueue.Message{Body: []byte(body)}, nil)
			if assert.NoError(t, err) {
				assert.Equal(t, body+body, string(reply.Body))
			}
		})
	}
	wg.Wait()
	require.NoError(t, c.Close())
	require.Equal(t, []string{"double"}, queues(t, b), "the caller's queue is gone")
}

func TestACallHearsOfTheProgress(t *testing.T) {
	_, b := open(t)
	declare(t, b, "work")
	defer serve(t, b, "work", func(ctx context.Context, d *workqueue.Delivery) error {
		for _, percent := range []string{"10", "50"} {
			if err := d.Report(ctx, workqueue.Message{Body: []byte(percent)}); err != nil {
				return err
			}
		}
		return d.Reply(ctx, workqueue.Message{Body: []byte("done")})
	})()
	c := newCaller(t, b)
	defer c.Close()
	var heard []string
	reply, err := c.Call(bg, "", "work", workqueue.Message{}, &workqueue.CallOptions{
		Progress: func(d *workqueue.Delivery) { heard = append(heard, string(d.Body)) },
	})
	require.NoError(t, err)
	require.Equal(t, "done", string(reply.Body))
	require.Equal(t, []string{"10", "50"}, heard)
	_, err = c.Call(bg, "", "work", workqueue.Message{}, nil)
	require.NoError(t, err, "without a listener, too")
}

func TestACallWithoutAReplyEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, nil)
		b := openBroker(t, db)
		declare(t, b, "slow")
		c := newCaller(t, b)
		defer c.Close()
		ctx, cancel := context.WithTimeout(bg, time.Minute)
		defer cancel()
		_, err := c.Call(ctx, "", "slow", workqueue.Message{Body: []byte("late")}, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		d := get(t, b, "slow", "late")
		require.NoError(t, d.Reply(bg, workqueue.Message{Body: []byte("too late")}))
		require.NoError(t, d.Ack(bg))
		stop := serve(t, b, "slow", double)
		reply, err := c.Call(bg, "", "slow", workqueue.Message{Body: []byte("x")}, nil)
		require.NoError(t, err)
		require.Equal(t, "xx", string(reply.Body), "a late reply is not taken for another's")
		stop()
	})
}

func TestACallThatLeadsNowhereFailsAtOnce(t *testing.T) {
	_, b := open(t)
	c := newCaller(t, b)
	defer c.Close()
	_, err := c.Call(bg, "", "nobody", workqueue.Message{}, nil)
	require.ErrorIs(t, err, workqueue.ErrUnroutable)
	for _, m := range []workqueue.Message{{ReplyTo: "x"}, {CorrelationID: "x"}} {
		_, err = c.Call(bg, "", "nobody", m, nil)
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
	}
}

func TestCallsUnderWayEndWithTheirCaller(t *testing.T) {
	for name, end := range map[string]func(*pebblemq.DB, *workqueue.Caller) error{
		"closed":       func(_ *pebblemq.DB, c *workqueue.Caller) error { return c.Close() },
		"store closed": func(db *pebblemq.DB, _ *workqueue.Caller) error { return db.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, err := pebblemq.OpenMemory(nil)
				require.NoError(t, err)
				b := openBroker(t, db)
				declare(t, b, "work")
				c := newCaller(t, b)
				got := make(chan error, 1)
				go func() {
					_, err := c.Call(bg, "", "work", workqueue.Message{}, nil)
					got <- err
				}()
				synctest.Wait()
				require.NoError(t, end(db, c))
				err = <-got
				require.True(t, errors.Is(err, workqueue.ErrConsumerClosed) || errors.Is(err, pebblemq.ErrClosed), "%v", err)
				_, again := c.Call(bg, "", "work", workqueue.Message{}, nil)
				require.ErrorIs(t, again, err)
				require.NoError(t, c.Close())
				require.NoError(t, db.Close())
			})
		})
	}
}

func TestAReplyIsPartOfItsTransaction(t *testing.T) {
	db, b := open(t)
	declare(t, b, "work")
	first := true
	defer serve(t, b, "work", func(ctx context.Context, d *workqueue.Delivery) error {
		return db.Update(ctx, func(tx *pebblemq.Tx) error {
			if err := b.In(tx).Reply(d, workqueue.Message{Body: []byte(fmt.Sprint(d.DeliveryCount))}); err != nil {
				return err
			}
			if first {
				first = false
				return errors.New("at first")
			}
			return b.In(tx).Ack(d)
		})
	})()
	c := newCaller(t, b)
	defer c.Close()
	reply, err := c.Call(bg, "", "work", workqueue.Message{}, nil)
	require.NoError(t, err)
	require.Equal(t, "2", string(reply.Body), "the first did not happen")
}

func TestBadRepliesAreRefused(t *testing.T) {
	db, b := open(t)
	declare(t, b, "work")
	publish(t, b, "work", "no reply to")
	d := get(t, b, "work", "no reply to")
	require.ErrorIs(t, d.Reply(bg, workqueue.Message{}), pebblemq.ErrInvalid)
	require.ErrorIs(t, (&workqueue.Delivery{}).Reply(bg, workqueue.Message{}), pebblemq.ErrInvalid)
	require.ErrorIs(t, db.Update(bg, func(tx *pebblemq.Tx) error {
		_ = b.In(tx).Reply(d, workqueue.Message{})
		return nil
	}), pebblemq.ErrInvalid, "it dooms the transaction")
	require.NoError(t, b.Publish(bg, "", "work", workqueue.Message{Body: []byte("x"), ReplyTo: "gone", CorrelationID: "1"}))
	d = get(t, b, "work", "x")
	require.ErrorIs(t, d.Reply(bg, workqueue.Message{CorrelationID: "2"}), pebblemq.ErrInvalid)
	require.NoError(t, d.Reply(bg, workqueue.Message{}), "a caller that is gone is no error")
	n := unrouted(t, b)
	require.EqualValues(t, 1, n)
}

func TestACallDoesNotReturnBeforeItsProgress(t *testing.T) {
	_, b := open(t)
	declare(t, b, "work")
	c := newCaller(t, b)
	defer c.Close()
	begun := make(chan struct{})
	ctx, cancel := context.WithCancel(bg)
	go func() {
		d := next(t, consume(t, b, "work", 1), "m")
		assert.NoError(t, d.Report(bg, workqueue.Message{}))
		<-begun
		cancel()
	}()
	heard := 0
	_, err := c.Call(ctx, "", "work", body("m"), &workqueue.CallOptions{Progress: func(*workqueue.Delivery) {
		close(begun)
		<-ctx.Done()
		heard++
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, heard)
}
