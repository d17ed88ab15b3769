package visibility_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/visibility"
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

func openTyped(t *testing.T) (*pebblemq.DB, visibility.TypedQueue[order]) {
	t.Helper()
	db := storetest.Open(t, nil)
	return db, visibility.Typed(open(t, db, "orders", nil), pebblemq.JSON[order]())
}

func TestATypedQueueReceivesWhatWasSent(t *testing.T) {
	db, q := openTyped(t)
	_, err := q.Send(ctx, order{"1", 10}, nil)
	require.NoError(t, err)
	id, err := q.Send(ctx, order{"2", 20}, &visibility.Message{ID: "m", Group: "g"})
	require.NoError(t, err)
	require.Equal(t, "m", id)
	m, err := q.Message(order{"3", 30}, nil)
	require.NoError(t, err)
	_, err = q.SendBatch(ctx, []visibility.Message{m}, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
		_, err := q.In(tx).Send(order{"4", 40}, nil)
		return err
	}))
	list, err := q.Receive(ctx, &visibility.ReceiveOptions{Max: 10})
	require.NoError(t, err)
	require.Len(t, list, 4)
	require.Equal(t, "g", list[1].Group)
	for i, m := range list {
		v, err := m.Decode()
		require.NoError(t, err)
		require.Equal(t, 10*(i+1), v.Total)
		require.NoError(t, q.Delete(ctx, m.Receipt))
	}
}

func TestWhatCannotBeDecodedIsADeadLetterOfRunAtOnce(t *testing.T) {
	db, q := openTyped(t)
	_, err := q.Queue.Send(ctx, visibility.Message{ID: "bad", Body: []byte("{")})
	require.NoError(t, err)
	_, err = q.Send(ctx, order{"1", 10}, nil)
	require.NoError(t, err)
	running, stop := context.WithCancel(ctx)
	require.NoError(t, q.Run(running, func(_ context.Context, v order, m *visibility.Received) error {
		require.Equal(t, order{"1", 10}, v)
		stop()
		return nil
	}, nil))
	dead, err := visibility.LookupQueue(ctx, db, "orders.dead")
	require.NoError(t, err)
	m, err := dead.Find(ctx, "bad")
	require.NoError(t, err)
	require.Equal(t, visibility.ReasonRejected, m.DeadLetter.Reason)
	require.Equal(t, 1, m.DeadLetter.ReceiveCount)
	require.Equal(t, `pebblemq: cannot decode message "bad" of queue "orders": unexpected end of JSON input`, m.DeadLetter.LastError)
}

func TestReceivingWhatCannotBeDecodedLosesNothing(t *testing.T) {
	_, q := openTyped(t)
	_, err := q.Queue.Send(ctx, visibility.Message{ID: "bad", Body: []byte("{")})
	require.NoError(t, err)
	list, err := q.Receive(ctx, nil)
	require.NoError(t, err)
	require.Len(t, list, 1)
	v, err := list[0].Decode()
	var failed *pebblemq.CodecError
	require.ErrorAs(t, err, &failed)
	require.Zero(t, v)
	counts(t, q.Queue, 0, 1, 0)
	require.NoError(t, q.Release(ctx, list[0].Receipt, 0))
	counts(t, q.Queue, 1, 0, 0)

	_, err = q.Decode(nil)
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
}

func TestACodecThatFailsOrPanicsIsAnErrorOfTheCall(t *testing.T) {
	db, q := openTyped(t)
	mine := errors.New("mine")
	for name, c := range map[string]pebblemq.Codec[order]{"fails": wild{mine}, "panics": wild{}, "is nil": nil} {
		t.Run(name, func(t *testing.T) {
			w := visibility.Typed(q.Queue, c)
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
			_, err := w.Send(ctx, order{}, nil)
			check(err)
			check(db.Update(ctx, func(tx *pebblemq.Tx) error {
				_, err := w.In(tx).Send(order{}, nil)
				check(err)
				return nil
			}))
			if c == nil { // Run refuses it, see TestATypedRunWithoutACodecRejectsNothing
				return
			}
			_, err = q.Send(ctx, order{"1", 1}, nil)
			require.NoError(t, err)
			running, stop := context.WithCancel(ctx)
			require.NoError(t, w.Run(running, func(context.Context, order, *visibility.Received) error {
				t.Error("the handler is called")
				return nil
			}, &visibility.RunOptions{OnError: func(_ context.Context, _ *visibility.Received, err error) {
				check(err)
				stop()
			}}))
			counts(t, q.Queue, 0, 0, 0)
		})
	}
}

func TestATypedSendRefusesABodyBesideTheValueAndRunANilHandler(t *testing.T) {
	_, q := openTyped(t)
	_, err := q.Send(ctx, order{}, &visibility.Message{ID: "a", Body: []byte("x")})
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	require.ErrorContains(t, err, `message "a" for queue "orders": `)
	require.ErrorContains(t, err, `there is a Body of 1 bytes beside the value`)
	require.ErrorIs(t, q.Run(ctx, nil, nil), pebblemq.ErrInvalid)
}

func TestRunBatchHandsOverWhatCanBeDecoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, q := openTyped(t)
		for i := range 3 {
			_, err := q.Queue.Send(ctx, visibility.Message{ID: fmt.Sprint("bad", i), Body: []byte("{")})
			require.NoError(t, err)
			_, err = q.Send(ctx, order{fmt.Sprint(i), i}, &visibility.Message{ID: fmt.Sprint(i)})
			require.NoError(t, err)
		}
		running, stop := context.WithTimeout(ctx, time.Hour)
		defer stop()
		var calls [][]int
		require.NoError(t, q.RunBatch(running, func(_ context.Context, values []order, batch []*visibility.Received) error {
			outcome := make(pebblemq.BatchError, len(values))
			var totals []int
			for i, v := range values {
				require.Equal(t, v.ID, batch[i].ID, "they belong together")
				totals = append(totals, v.Total)
				if v.Total == 1 && len(calls) == 0 {
					outcome[i] = errors.New("once")
				}
			}
			calls = append(calls, totals)
			return outcome
		}, nil))
		require.Equal(t, [][]int{{0, 1, 2}, {1}}, calls)
		dead, err := visibility.LookupQueue(ctx, db, "orders.dead")
		require.NoError(t, err)
		counts(t, dead, 3, 0, 0)
		counts(t, q.Queue, 0, 0, 0)
	})
}

func TestATypedRunWithoutACodecRejectsNothing(t *testing.T) {
	_, q := openTyped(t)
	_, err := q.Send(ctx, order{}, nil)
	require.NoError(t, err)
	none := visibility.Typed[order](q.Queue, nil)
	require.ErrorIs(t, none.Run(ctx, func(context.Context, order, *visibility.Received) error { return nil }, nil), pebblemq.ErrInvalid)
	require.ErrorIs(t, none.RunBatch(ctx, func(context.Context, []order, []*visibility.Received) error { return nil }, nil), pebblemq.ErrInvalid)
	require.ErrorIs(t, q.RunBatch(ctx, nil, nil), pebblemq.ErrInvalid)
	counts(t, q.Queue, 1, 0, 0)
}
