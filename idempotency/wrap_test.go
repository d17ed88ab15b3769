package idempotency_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

type message struct {
	id, body string
}

func byID(m message) ([]byte, error) { return []byte(m.id), nil }

func TestAWrappedHandlerRunsOnceForAKey(t *testing.T) {
	db, k := open(t, nil)
	w := idempotency.Wrapper[message]{Keys: k, Key: byID, Fingerprint: func(m message) []byte { return []byte(m.body) }}
	var handled []string
	settled := 0
	for strength, h := range map[string]func(context.Context, message) error{
		"leased": w.Leased(func(_ context.Context, m message, c idempotency.Claim) error {
			require.Equal(t, m.id, string(c.Key))
			handled = append(handled, m.id)
			return nil
		}),
		"transactional": w.Transactional(db,
			func(_ *pebblemq.Tx, m message) error { handled = append(handled, m.id); return nil },
			func(*pebblemq.Tx, message) error { settled++; return nil }),
	} {
		handled = nil
		for range 3 {
			require.NoError(t, h(bg, message{strength + "1", "b"}))
			require.NoError(t, h(bg, message{strength + "2", "b"}))
		}
		require.Equal(t, []string{strength + "1", strength + "2"}, handled)
		require.ErrorIs(t, h(bg, message{strength + "1", "other"}), idempotency.ErrMismatch)
		require.ErrorIs(t, h(bg, message{"", "b"}), idempotency.ErrNoKey)
	}
	require.Equal(t, 6, settled, "duplicates too")
}

func TestAMessageWithoutAKey(t *testing.T) {
	db, k := open(t, nil)
	no := errors.New("no")
	for name, c := range map[string]struct {
		key  []byte
		err  error
		run  bool
		want error
	}{
		"is refused":                           {nil, nil, false, idempotency.ErrNoKey},
		"is refused, if KeyOf says so":         {nil, idempotency.ErrNoKey, false, idempotency.ErrNoKey},
		"runs each time, if that is the rule":  {[]byte{}, nil, true, nil},
		"runs each time, if KeyOf says so":     {nil, idempotency.ErrNoKey, true, nil},
		"because its key is broken is refused": {nil, no, true, no},
	} {
		t.Run(name, func(t *testing.T) {
			w := idempotency.Wrapper[message]{Keys: k, RunWithoutKey: c.run, Key: func(message) ([]byte, error) { return c.key, c.err }}
			runs, settled := 0, 0
			leased := w.Leased(func(context.Context, message, idempotency.Claim) error { runs++; return nil })
			tx := w.Transactional(db, func(*pebblemq.Tx, message) error { runs++; return nil }, func(*pebblemq.Tx, message) error { settled++; return nil })
			for range 2 {
				require.ErrorIs(t, leased(bg, message{}), c.want)
				require.ErrorIs(t, tx(bg, message{}), c.want)
			}
			if c.want != nil {
				require.Zero(t, runs+settled)
				return
			}
			require.Equal(t, 4, runs)
			require.Equal(t, 2, settled)
		})
	}
	require.ErrorIs(t, idempotency.Wrapper[message]{}.Leased(nil)(bg, message{}), pebblemq.ErrInvalid)
	require.ErrorIs(t, idempotency.Wrapper[message]{Keys: k, Key: byID}.Transactional(db, nil, nil)(bg, message{}), pebblemq.ErrInvalid)
}

func TestAFinalErrorIsReturnedForEachDelivery(t *testing.T) {
	db, k := open(t, nil)
	w := idempotency.Wrapper[message]{Keys: k, Key: byID}
	runs := 0
	fail := func() error { runs++; return idempotency.Final(errors.New("closed")) }
	leased := w.Leased(func(context.Context, message, idempotency.Claim) error { return fail() })
	tx := w.Transactional(db, func(*pebblemq.Tx, message) error { return fail() }, func(*pebblemq.Tx, message) error { return nil })
	for range 2 {
		require.EqualError(t, leased(bg, message{id: "a"}), "closed")
		require.EqualError(t, tx(bg, message{id: "b"}), "closed")
	}
	require.Equal(t, 2, runs)
}

// A settlement that is refused takes the effect and the key with it.
func TestALostDeliveryRefusesTheWholeTransaction(t *testing.T) {
	db, k := open(t, nil)
	broker, err := workqueue.OpenBroker(bg, db, "main")
	require.NoError(t, err)
	q, err := broker.DeclareQueue(bg, "q", nil)
	require.NoError(t, err)
	require.NoError(t, broker.Publish(bg, "", "q", workqueue.Message{MessageID: "m", Body: []byte("5")}))
	w := idempotency.Wrapper[*workqueue.Delivery]{Keys: k, Key: func(d *workqueue.Delivery) ([]byte, error) { return []byte(d.MessageID), nil }}
	h := w.Transactional(db, func(tx *pebblemq.Tx, d *workqueue.Delivery) error { _, err := add(tx, 5); return err },
		func(tx *pebblemq.Tx, d *workqueue.Delivery) error { return broker.In(tx).Ack(d) })
	d, ok, err := q.Get(bg)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, d.Nack(bg, true))
	require.ErrorIs(t, h(bg, d), workqueue.ErrSettled)
	require.Empty(t, sum(t, db))
	d, _, err = q.Get(bg)
	require.NoError(t, err)
	require.NoError(t, h(bg, d))
	require.Equal(t, "5", sum(t, db))
}

// Each queue's Run takes a wrapped handler, and every message that is sent
// twice takes effect once.
func TestTheHandlersOfAllQueues(t *testing.T) {
	const messages = 20
	amount := func(tx *pebblemq.Tx, body []byte) error {
		n, err := strconv.Atoi(string(body))
		if err == nil {
			_, err = add(tx, n)
		}
		return err
	}
	id := func(i int) string { return "m" + strconv.Itoa(i) }
	logged := func(t *testing.T, db *pebblemq.DB) *log.Group {
		topic, err := log.OpenTopic(bg, db, "t", nil)
		require.NoError(t, err)
		for i := range 2 * messages {
			_, err := topic.Append(nosync, log.Record{Key: []byte(id(i % messages)), Value: []byte("1")})
			require.NoError(t, err)
		}
		g, err := topic.OpenGroup(bg, "g", nil)
		require.NoError(t, err)
		return g
	}
	for name, run := range map[string]func(ctx context.Context, t *testing.T, db *pebblemq.DB, k *idempotency.Namespace){
		"log, by its key": func(ctx context.Context, t *testing.T, db *pebblemq.DB, k *idempotency.Namespace) {
			g := logged(t, db)
			m, err := g.Join(ctx, nil)
			require.NoError(t, err)
			w := idempotency.Wrapper[log.Record]{Keys: k, Key: func(r log.Record) ([]byte, error) { return r.Key, nil }}
			h := w.Transactional(db, func(tx *pebblemq.Tx, r log.Record) error { return amount(tx, r.Value) },
				func(tx *pebblemq.Tx, r log.Record) error { return m.In(tx).Commit(r) })
			for r, err := range m.Records(ctx) {
				if ctx.Err() != nil {
					break
				}
				require.NoError(t, err)
				require.NoError(t, h(ctx, r))
			}
			require.NoError(t, m.Leave(bg))
			lag, err := g.Lag(bg)
			require.NoError(t, err)
			require.Zero(t, lag[0].Records)
		},
		"log, with Run": func(ctx context.Context, t *testing.T, db *pebblemq.DB, k *idempotency.Namespace) {
			g := logged(t, db)
			w := idempotency.Wrapper[log.Record]{Keys: k, Key: func(r log.Record) ([]byte, error) { return r.Key, nil }}
			h := w.Transactional(db, func(tx *pebblemq.Tx, r log.Record) error { return amount(tx, r.Value) }, nil)
			require.NoError(t, g.Run(ctx, h, &log.RunOptions{Concurrency: 4}))
			lag, err := g.Lag(bg)
			require.NoError(t, err)
			require.Zero(t, lag[0].Records)
		},
		"workqueue, by message id": func(ctx context.Context, t *testing.T, db *pebblemq.DB, k *idempotency.Namespace) {
			b, err := workqueue.OpenBroker(bg, db, "main")
			require.NoError(t, err)
			q, err := b.DeclareQueue(bg, "q", nil)
			require.NoError(t, err)
			for i := range 2 * messages {
				require.NoError(t, b.Publish(nosync, "", "q", workqueue.Message{MessageID: id(i % messages), Body: []byte("1")}))
			}
			w := idempotency.Wrapper[*workqueue.Delivery]{Keys: k, Key: func(d *workqueue.Delivery) ([]byte, error) { return []byte(d.MessageID), nil }}
			require.NoError(t, q.Run(ctx, w.Transactional(db,
				func(tx *pebblemq.Tx, d *workqueue.Delivery) error { return amount(tx, d.Body) },
				func(tx *pebblemq.Tx, d *workqueue.Delivery) error { return b.In(tx).Ack(d) }), &workqueue.RunOptions{Concurrency: 4}))
			st, err := q.Stats(bg)
			require.NoError(t, err)
			require.Zero(t, st.Ready)
		},
		"visibility, by a function of the payload": func(ctx context.Context, t *testing.T, db *pebblemq.DB, k *idempotency.Namespace) {
			q, err := visibility.OpenQueue(ctx, db, "q", nil)
			require.NoError(t, err)
			for i := range 2 * messages {
				_, err := q.Send(nosync, visibility.Message{Body: []byte(id(i % messages))})
				require.NoError(t, err)
			}
			w := idempotency.Wrapper[*visibility.Received]{Keys: k, Key: func(m *visibility.Received) ([]byte, error) { return idempotency.KeyOf(m.Body) }}
			require.NoError(t, q.Run(ctx, w.Leased(func(_ context.Context, m *visibility.Received, _ idempotency.Claim) error {
				return db.Update(bg, func(tx *pebblemq.Tx) error { return amount(tx, []byte("1")) })
			}), &visibility.RunOptions{Concurrency: 4}))
			st, err := q.Stats(bg)
			require.NoError(t, err)
			require.Zero(t, st.Visible+st.InFlight)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, k := open(t, nil)
				ctx, cancel := context.WithTimeout(bg, time.Minute)
				defer cancel()
				run(ctx, t, db, k)
				require.Equal(t, strconv.Itoa(messages), sum(t, db))
			})
		})
	}
}
