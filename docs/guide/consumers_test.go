package guide_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/idempotency/idemhttp"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/pebblemqtest"
	"github.com/pebblemq/pebblemq/workqueue"
)

type bank struct {
	db      *pebblemq.DB
	broker  *workqueue.Broker
	orders  *workqueue.Queue
	events  *log.Topic
	seen    *idempotency.Namespace
	balance func(tx *pebblemq.Tx, add int) error
	charge  func(ctx context.Context, key string, amount []byte) (receipt []byte, err error)
}

func (b *bank) runInside(ctx context.Context) error {
	once := idempotency.Wrapper[*workqueue.Delivery]{
		Keys: b.seen,
		Key:  func(d *workqueue.Delivery) ([]byte, error) { return []byte(d.MessageID), nil },
	}
	book := func(tx *pebblemq.Tx, d *workqueue.Delivery) error { return b.balance(tx, 7) }
	ack := func(tx *pebblemq.Tx, d *workqueue.Delivery) error { return b.broker.In(tx).Ack(d) }
	return b.orders.Run(ctx, once.Transactional(b.db, book, ack), nil)
}

func (b *bank) runOutside(ctx context.Context) error {
	once := idempotency.Wrapper[*workqueue.Delivery]{
		Keys: b.seen,
		Key:  func(d *workqueue.Delivery) ([]byte, error) { return []byte(d.MessageID), nil },
	}
	charge := func(ctx context.Context, d *workqueue.Delivery, c idempotency.Claim) error {
		_, err := b.charge(ctx, string(c.Key), d.Body) // the service refuses a key that it has charged for
		return err
	}
	return b.orders.Run(ctx, once.Leased(charge), nil)
}

func (b *bank) pay(ctx context.Context, order string, amount []byte) (receipt []byte, err error) {
	result, err := b.seen.Do(ctx, []byte(order), func(ctx context.Context, c idempotency.Claim) ([]byte, error) {
		return b.charge(ctx, order, amount)
	}, &idempotency.DoOptions{Fingerprint: amount})
	return result.Value, err
}

func (b *bank) accept(ctx context.Context, id string, event []byte) ([]log.Position, error) {
	result, err := b.seen.Accept(ctx, []byte(id), func(tx *pebblemq.Tx) (func() ([]byte, error), error) {
		placed, err := b.events.In(tx).Append(log.Record{Value: event})
		if err != nil {
			return nil, err
		}
		return func() ([]byte, error) {
			at, err := placed.Positions()
			if err != nil {
				return nil, err
			}
			return json.Marshal(at)
		}, nil
	}, nil)
	if err != nil {
		return nil, err
	}
	var at []log.Position
	err = json.Unmarshal(result.Value, &at)
	return at, err
}

func (b *bank) handler() http.Handler {
	pay := func(w http.ResponseWriter, r *http.Request) {
		response := idemhttp.Response{Status: http.StatusCreated, Body: []byte("paid\n")}
		err := b.db.Update(r.Context(), func(tx *pebblemq.Tx) error {
			if err := b.balance(tx, 7); err != nil {
				return err
			}
			return response.Store(r.Context(), tx)
		})
		if err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		response.Write(w)
	}
	return idemhttp.Middleware(b.seen, &idemhttp.Options{Required: true})(http.HandlerFunc(pay))
}

func openBank(t *testing.T, db *pebblemq.DB) *bank {
	b := &bank{db: db, broker: openBroker(t, db)}
	b.orders = declare(t, b.broker, "orders", nil)
	var err error
	b.events, err = log.OpenTopic(t.Context(), db, "events", nil)
	require.NoError(t, err)
	b.seen, err = idempotency.OpenNamespace(t.Context(), db, "seen", nil)
	require.NoError(t, err)
	b.balance = func(tx *pebblemq.Tx, add int) error {
		n, err := tx.Get([]byte("balance"))
		if err != nil {
			return err
		}
		return tx.Set([]byte("balance"), append(n, bytes.Repeat([]byte("x"), add)...))
	}
	return b
}

func (b *bank) total(t *testing.T) (n int) {
	require.NoError(t, b.db.View(t.Context(), func(tx *pebblemq.Tx) error {
		v, err := tx.Get([]byte("balance"))
		n = len(v)
		return err
	}))
	return n
}

func (b *bank) publishTwice(t *testing.T) {
	for range 2 {
		require.NoError(t, b.broker.Publish(t.Context(), "", "orders", workqueue.Message{MessageID: "42", Body: []byte("7")}))
	}
	pebblemqtest.WaitIdle(t, b.db)
}

func TestASecondDeliveryBooksNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		b := openBank(t, db)
		runs(t, b.runInside)
		b.publishTwice(t)
		require.Equal(t, 7, b.total(t))
	})
}

func TestASecondDeliveryChargesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		b := openBank(t, db)
		calls := 0
		b.charge = func(context.Context, string, []byte) ([]byte, error) { calls++; return []byte("receipt"), nil }
		runs(t, b.runOutside)
		b.publishTwice(t)
		require.Equal(t, 1, calls)
		receipt, err := b.pay(ctx, "43", []byte("7"))
		require.NoError(t, err)
		require.Equal(t, "receipt", string(receipt))
		_, err = b.pay(ctx, "43", []byte("8"))
		require.ErrorIs(t, err, idempotency.ErrMismatch)
		require.Equal(t, 2, calls)
	})
}

func TestAFailedCallLeavesTheKeyFree(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		b := openBank(t, db)
		fail := errors.New("down")
		b.charge = func(context.Context, string, []byte) ([]byte, error) { return nil, fail }
		_, err := b.pay(ctx, "42", nil)
		require.Equal(t, fail, err)
		b.charge = func(context.Context, string, []byte) ([]byte, error) {
			return nil, idempotency.Final(errors.New("no such card"))
		}
		_, err = b.pay(ctx, "42", nil)
		require.ErrorContains(t, err, "no such card")
		b.charge = nil
		_, err = b.pay(ctx, "42", nil)
		var final *idempotency.FinalError
		require.ErrorAs(t, err, &final)

		time.Sleep(25 * time.Hour)
		b.charge = func(context.Context, string, []byte) ([]byte, error) { return []byte("receipt"), nil }
		_, err = b.pay(ctx, "42", nil)
		require.NoError(t, err, "after the Expiry")
	})
}

func TestAnEventIsAcceptedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		b := openBank(t, db)
		for range 2 {
			at, err := b.accept(ctx, "delivery-1", []byte("paid"))
			require.NoError(t, err)
			require.Equal(t, []log.Position{{}}, at)
		}
	})
}

func TestARequestIsPaidOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		b := openBank(t, db)
		h := b.handler()
		post := func(key string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/payments", nil)
			r.Header.Set(idemhttp.HeaderName, key)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		for i := range 2 {
			w := post(`"42"`)
			require.Equal(t, http.StatusCreated, w.Code, w.Body)
			require.Equal(t, fmt.Sprint(i == 1), map[string]string{"": "false", "true": "true"}[w.Header().Get(idemhttp.ReplayedHeader)])
		}
		require.Equal(t, 7, b.total(t))
		require.Equal(t, http.StatusBadRequest, post("").Code)
	})
}
