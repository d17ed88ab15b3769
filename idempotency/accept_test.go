package idempotency_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/stretchr/testify/require"
)

// appends publishes one record and answers with its place.
func appends(topic *log.Topic, value string) func(*pebblemq.Tx) (func() ([]byte, error), error) {
	return func(tx *pebblemq.Tx) (func() ([]byte, error), error) {
		placed, err := topic.In(tx).Append(log.Record{Value: []byte(value)})
		return func() ([]byte, error) {
			at, err := placed.Positions()
			if err != nil {
				return nil, err
			}
			return json.Marshal(at[0].Offset)
		}, err
	}
}

func records(t *testing.T, topic *log.Topic) int64 {
	t.Helper()
	_, n, err := topic.Offsets(bg, 0)
	require.NoError(t, err)
	return n
}

func TestAMessageIsAcceptedOnceWithinTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, k := open(t, &idempotency.Config{Expiry: time.Minute})
		topic, err := log.OpenTopic(bg, db, "orders", nil)
		require.NoError(t, err)
		_, err = topic.Append(bg, log.Record{}, log.Record{}) // so that the offset tells
		require.NoError(t, err)
		var replayed atomic.Int32
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				res, err := k.Accept(bg, []byte("id"), appends(topic, "v"), nil)
				require.NoError(t, err)
				require.Equal(t, "2", string(res.Value), "the original answer")
				if res.Replayed {
					replayed.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 15, replayed.Load())
		require.EqualValues(t, 3, records(t, topic))
		_, err = k.Accept(bg, []byte("id"), appends(topic, "v"), &idempotency.OnceOptions{Fingerprint: []byte("other")})
		require.ErrorIs(t, err, idempotency.ErrMismatch)

		<-time.After(time.Minute)
		res, err := k.Accept(bg, []byte("id"), appends(topic, "v"), nil)
		require.NoError(t, err)
		require.Equal(t, "3", string(res.Value), "the window is over")
	})
}

func TestAnAnswerThatFailsAcceptsNothing(t *testing.T) {
	no := errors.New("no")
	for name, c := range map[string]struct {
		answer func() ([]byte, error)
		says   string
	}{
		"an error":             {func() ([]byte, error) { return nil, no }, "no"},
		"a panic":              {func() ([]byte, error) { panic("boom") }, "answer panicked: boom"},
		"the end of goroutine": {exit, "answer called runtime.Goexit"},
		"one that is too long": {func() ([]byte, error) { return make([]byte, 5), nil }, "limit 4"},
	} {
		t.Run(name, func(t *testing.T) {
			db, k := open(t, &idempotency.Config{MaxResultBytes: 4})
			topic, err := log.OpenTopic(bg, db, "orders", nil)
			require.NoError(t, err)
			_, err = k.Accept(bg, []byte("id"), func(tx *pebblemq.Tx) (func() ([]byte, error), error) {
				_, err := topic.In(tx).Append(log.Record{Value: []byte("v")})
				return c.answer, errors.Join(err, tx.Set([]byte("k"), nil))
			}, nil)
			require.ErrorContains(t, err, c.says)
			require.Zero(t, records(t, topic))
			res, err := k.Accept(bg, []byte("id"), appends(topic, "v"), nil)
			require.NoError(t, err, "the store is in order, and the id free")
			require.Equal(t, "0", string(res.Value))
		})
	}
}

func ExampleNamespace_Accept() {
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	orders, _ := log.OpenTopic(bg, db, "orders", nil)
	ids, _ := idempotency.OpenNamespace(bg, db, "orders", &idempotency.Config{Expiry: 10 * time.Minute})

	for range 2 { // a producer that sends again, having lost the answer
		res, err := ids.Accept(bg, []byte("msg-1"), func(tx *pebblemq.Tx) (func() ([]byte, error), error) {
			placed, err := orders.In(tx).Append(log.Record{Value: []byte("paid")})
			return func() ([]byte, error) {
				at, err := placed.Positions()
				return fmt.Appendf(nil, "offset %d", at[0].Offset), err
			}, err
		}, nil)
		fmt.Println(string(res.Value), res.Replayed, err)
	}
	_, end, _ := orders.Offsets(bg, 0)
	fmt.Println("records:", end)
	// Output:
	// offset 0 false <nil>
	// offset 0 true <nil>
	// records: 1
}
