package workqueue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

type order struct {
	ID    string `json:"id"`
	Total int    `json:"total"`
}

// wild is a Codec that panics, or does what it is told.
type wild struct{ err error }

func (w wild) Encode(order) ([]byte, error) {
	if w.err == nil {
		panic("on purpose")
	}
	return nil, w.err
}

func (w wild) Decode([]byte) (order, error) {
	if w.err == nil {
		panic("on purpose")
	}
	return order{"half", 1}, w.err
}

type typedQueue = workqueue.TypedQueue[order]

// openTyped returns a queue of orders, its broker and its store.
func openTyped(t *testing.T) (*pebblemq.DB, *workqueue.Broker, typedQueue) {
	t.Helper()
	db := storetest.Open(t, nil)
	b, err := workqueue.OpenBroker(t.Context(), db, "main")
	require.NoError(t, err)
	q, err := b.DeclareQueue(t.Context(), "orders", nil)
	require.NoError(t, err)
	return db, b, workqueue.Typed(q, pebblemq.JSON[order]())
}

// typedOf returns a new queue that holds an order.
func typedOf(t testing.TB, b *workqueue.Broker) typedQueue {
	t.Helper()
	q, err := b.DeclareNewQueue(t.Context(), nil)
	require.NoError(t, err)
	typed := workqueue.Typed(q, pebblemq.JSON[order]())
	require.NoError(t, typed.Publish(t.Context(), order{"1", 1}, nil))
	return typed
}

func typedConsumer(t testing.TB, b *workqueue.Broker) *workqueue.TypedConsumer[order] {
	t.Helper()
	c, err := typedOf(t, b).Consume(t.Context(), nil)
	require.NoError(t, err)
	return c
}

func nopTyped(context.Context, order, *workqueue.Delivery) error { return nil }

func TestATypedQueueTakesWhatWasPut(t *testing.T) {
	ctx := t.Context()
	db, b, q := openTyped(t)
	require.NoError(t, q.Publish(ctx, order{"1", 10}, nil))
	require.NoError(t, q.Publish(ctx, order{"2", 20}, &workqueue.Message{MessageID: "m", ContentType: "x/y", Headers: map[string]string{"a": "b"}}))
	m, err := q.Message(order{"3", 30}, &workqueue.Message{Type: "t"})
	require.NoError(t, err)
	require.NoError(t, b.PublishBatch(ctx, "", []workqueue.Publishing{{Key: "orders", Message: m}}))
	require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) error { return q.In(tx).Publish(order{"4", 40}, nil) }))

	d, ok, err := q.Get(ctx)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "application/json", d.ContentType)
	v, err := d.Decode()
	require.NoError(t, err)
	require.Equal(t, order{"1", 10}, v)
	require.NoError(t, d.Ack(ctx))

	c, err := q.Consume(ctx, nil)
	require.NoError(t, err)
	d, err = c.Next(ctx)
	require.NoError(t, err)
	require.Equal(t, "x/y", d.ContentType)
	require.Equal(t, "b", d.Headers["a"])
	v, err = d.Decode()
	require.NoError(t, err)
	require.Equal(t, order{"2", 20}, v)
	list, err := c.Fetch(ctx, 1)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "t", list[0].Type)
	for d, err := range c.Deliveries(ctx) {
		require.NoError(t, err)
		v, err = d.Decode()
		require.NoError(t, err)
		require.Equal(t, order{"4", 40}, v)
		break
	}
	require.NoError(t, c.Close())
}

// bad publishes what is no order.
func bad(t *testing.T, b *workqueue.Broker, id string) {
	t.Helper()
	require.NoError(t, b.Publish(t.Context(), "", "orders", workqueue.Message{MessageID: id, Body: []byte("{")}))
}

func TestWhatCannotBeDecodedIsADeadLetterOfRunAtOnce(t *testing.T) {
	_, b, q := openTyped(t)
	bad(t, b, "bad")
	require.NoError(t, q.Publish(t.Context(), order{"1", 10}, nil))
	ctx, stop := context.WithCancel(t.Context())
	require.NoError(t, q.Run(ctx, func(_ context.Context, v order, d *workqueue.Delivery) error {
		require.Equal(t, order{"1", 10}, v)
		require.Equal(t, "orders", d.Queue)
		stop()
		return nil
	}, nil))
	dead, err := b.Queue(t.Context(), "orders.dead")
	require.NoError(t, err)
	m, err := dead.Find(t.Context(), "bad")
	require.NoError(t, err)
	require.Equal(t, workqueue.ReasonRejected, m.Deaths[0].Reason)
	require.Equal(t, 1, m.Deaths[0].Count)
	require.Equal(t, `pebblemq: cannot decode message "bad" of queue "orders": unexpected end of JSON input`, m.Deaths[0].Error)
}

func TestTakingWhatCannotBeDecodedLosesNothing(t *testing.T) {
	ctx := t.Context()
	_, b, q := openTyped(t)
	bad(t, b, "")
	d, ok, err := q.Get(ctx)
	require.NoError(t, err)
	require.True(t, ok)
	v, err := d.Decode()
	var failed *pebblemq.CodecError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "decode", failed.Verb)
	require.Contains(t, failed.What, `message #`)
	var syntax *json.SyntaxError
	require.ErrorAs(t, err, &syntax)
	require.Zero(t, v)
	require.NoError(t, d.Reject(ctx))
	dead, err := b.Queue(ctx, "orders.dead")
	require.NoError(t, err)
	st, err := dead.Stats(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1, st.Ready)

	_, err = q.Decode(nil)
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
}

func TestACodecThatFailsOrPanicsIsAnErrorOfTheCall(t *testing.T) {
	db, b, q := openTyped(t)
	mine := errors.New("mine")
	for name, c := range map[string]pebblemq.Codec[order]{"fails": wild{mine}, "panics": wild{}, "is nil": nil} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			w := workqueue.Typed(q.Queue, c)
			check := func(err error) {
				t.Helper()
				var failed *pebblemq.CodecError
				switch {
				case c == nil:
					require.ErrorIs(t, err, pebblemq.ErrInvalid)
				case name == "fails":
					require.ErrorAs(t, err, &failed)
					require.ErrorIs(t, err, mine)
				default:
					require.ErrorAs(t, err, &failed)
					require.ErrorContains(t, err, "codec panicked: on purpose")
				}
			}
			check(w.Publish(ctx, order{}, nil))
			check(db.Update(ctx, func(tx *pebblemq.Tx) error {
				check(w.In(tx).Publish(order{}, nil))
				return nil
			}))
			require.NoError(t, q.Publish(ctx, order{"1", 1}, nil))
			d, ok, err := w.Get(ctx)
			require.NoError(t, err)
			require.True(t, ok)
			v, err := d.Decode()
			check(err)
			require.Zero(t, v)
			require.NoError(t, d.Release(ctx, 0))

			if c == nil { // Run refuses it, see TestATypedRunWithoutACodecRejectsNothing
				_, err := q.Purge(ctx)
				require.NoError(t, err)
				return
			}
			running, stop := context.WithCancel(ctx)
			require.NoError(t, w.Run(running, func(context.Context, order, *workqueue.Delivery) error {
				t.Error("the handler is called")
				return nil
			}, &workqueue.RunOptions{OnError: func(context.Context, *workqueue.Delivery, error) { stop() }}))
			dead, err := b.Queue(ctx, "orders.dead")
			require.NoError(t, err)
			n, err := dead.Purge(ctx)
			require.NoError(t, err)
			require.Equal(t, 1, n)
		})
	}
}

func TestATypedPublishRefusesABodyBesideTheValueAndRunANilHandler(t *testing.T) {
	_, _, q := openTyped(t)
	err := q.Publish(t.Context(), order{}, &workqueue.Message{Body: []byte("x")})
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	require.ErrorContains(t, err, `message for queue "orders" has a Body of 1 bytes beside its value`)
	require.ErrorIs(t, q.Run(t.Context(), nil, nil), pebblemq.ErrInvalid)
}

func TestRunBatchHandsOverWhatCanBeDecoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, q := openTyped(t)
		for i := range 3 {
			publish(t, b, "orders", "{")
			require.NoError(t, q.Publish(bg, order{fmt.Sprint(i), i}, &workqueue.Message{MessageID: fmt.Sprint(i)}))
		}
		running, stop := context.WithTimeout(bg, time.Hour)
		defer stop()
		var calls [][]int
		require.NoError(t, q.RunBatch(running, func(_ context.Context, values []order, batch []*workqueue.Delivery) error {
			outcome := make(pebblemq.BatchError, len(values))
			var totals []int
			for i, v := range values {
				require.Equal(t, v.ID, batch[i].MessageID, "they belong together")
				totals = append(totals, v.Total)
				if v.Total == 1 && len(calls) == 0 {
					outcome[i] = errors.New("once")
				}
			}
			calls = append(calls, totals)
			return outcome
		}, nil))
		require.Equal(t, [][]int{{0, 1, 2}, {1}}, calls)
		require.EqualValues(t, 3, ready(t, b, "orders.dead"))
		require.Zero(t, ready(t, b, "orders"))
		require.Zero(t, unacked(t, b, "orders"))
	})
}

// One error is for all that the handler has got, and a wrong number of errors too.
func TestRunBatchOfValuesFailsAsAWhole(t *testing.T) {
	for name, failed := range map[string]error{"one": errors.New("failed"), "wrong": pebblemq.BatchError{nil, nil, nil, nil}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, b, q := openTyped(t)
				publish(t, b, "orders", "{")
				require.NoError(t, q.Publish(bg, order{}, nil))
				require.NoError(t, q.Publish(bg, order{}, nil))
				running, stop := context.WithTimeout(bg, time.Hour)
				defer stop()
				calls := 0
				require.NoError(t, q.RunBatch(running, func(_ context.Context, values []order, _ []*workqueue.Delivery) error {
					calls += len(values)
					return failed
				}, &workqueue.RunOptions{MaxAttempts: 3}))
				require.Equal(t, 6, calls)
				require.EqualValues(t, 3, ready(t, b, "orders.dead"))
			})
		})
	}
}

func TestRunBatchOfValuesHandsOverNoEmptyBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, q := openTyped(t)
		publish(t, b, "orders", "{", "{")
		running, stop := context.WithTimeout(bg, time.Hour)
		defer stop()
		require.NoError(t, q.RunBatch(running, func(context.Context, []order, []*workqueue.Delivery) error {
			t.Error("called")
			return nil
		}, nil))
		require.EqualValues(t, 2, ready(t, b, "orders.dead"))
	})
}

func TestATypedRunWithoutACodecRejectsNothing(t *testing.T) {
	_, b, q := openTyped(t)
	require.NoError(t, q.Publish(bg, order{}, nil))
	none := workqueue.Typed[order](q.Queue, nil)
	require.ErrorIs(t, none.Run(bg, func(context.Context, order, *workqueue.Delivery) error { return nil }, nil), pebblemq.ErrInvalid)
	require.ErrorIs(t, none.RunBatch(bg, func(context.Context, []order, []*workqueue.Delivery) error { return nil }, nil), pebblemq.ErrInvalid)
	require.ErrorIs(t, q.RunBatch(bg, nil, nil), pebblemq.ErrInvalid)
	require.EqualValues(t, 1, ready(t, b, "orders"))
}
