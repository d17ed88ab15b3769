package guide_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/pebblemqtest"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// shop is what the page's functions use.
type shop struct {
	db       *pebblemq.DB
	orders   *log.Topic
	broker   *workqueue.Broker
	emails   *workqueue.Queue
	shipping *visibility.Queue
}

func (s *shop) place(ctx context.Context, id string, order []byte) (log.Position, error) {
	var placed *log.Placement
	err := s.db.Update(ctx, func(tx *pebblemq.Tx) (err error) {
		if err := tx.Set([]byte("order/"+id), order); err != nil {
			return err
		}
		if err := s.broker.In(tx).Publish("", "emails", workqueue.Message{Body: order}); err != nil {
			return err
		}
		placed, err = s.orders.In(tx).Append(log.Record{Key: []byte(id), Value: order})
		return err
	})
	if err != nil {
		return log.Position{}, err
	}
	at, err := placed.Positions()
	if err != nil {
		return log.Position{}, err
	}
	return at[0], nil
}

var errSoldOut = errors.New("sold out")

func (s *shop) takeOne(ctx context.Context, item string) (left int, err error) {
	key := []byte("stock/" + item)
	err = s.db.Update(ctx, func(tx *pebblemq.Tx) error {
		value, err := tx.Get(key)
		if err != nil {
			return err
		}
		stock, err := strconv.Atoi(string(value))
		if err != nil {
			return fmt.Errorf("stock of %s: %w", item, err)
		}
		if stock == 0 {
			return errSoldOut
		}
		left = stock - 1
		return tx.Set(key, []byte(strconv.Itoa(left)))
	})
	return left, err
}

func (s *shop) ship(ctx context.Context, d *workqueue.Delivery) error {
	return s.db.Update(ctx, func(tx *pebblemq.Tx) error {
		if _, err := s.shipping.In(tx).Send(visibility.Message{Body: d.Body}); err != nil {
			return err
		}
		return s.broker.In(tx).Ack(d)
	})
}

func (s *shop) total(ctx context.Context) (n int, err error) {
	err = s.db.View(ctx, func(tx *pebblemq.Tx) error {
		for e, err := range tx.Scan(&pebblemq.ScanOptions{Prefix: []byte("stock/")}) {
			if err != nil {
				return err
			}
			stock, err := strconv.Atoi(string(e.Value))
			if err != nil {
				return err
			}
			n += stock
		}
		return nil
	})
	return n, err
}

func openShop(t *testing.T, db *pebblemq.DB) *shop {
	s := &shop{db: db, broker: openBroker(t, db), shipping: openQueue(t, db, "shipping", nil)}
	s.emails = declare(t, s.broker, "emails", nil)
	var err error
	s.orders, err = log.OpenTopic(t.Context(), db, "orders", nil)
	require.NoError(t, err)
	return s
}

func TestAnOrderIsOneCommit(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		s := openShop(t, db)
		at, err := s.place(ctx, "42", []byte("two teapots"))
		require.NoError(t, err)
		require.Equal(t, log.Position{}, at)
		pebblemqtest.RequirePublished(t, s.emails, nil)

		d, _, err := s.emails.Get(ctx)
		require.NoError(t, err)
		require.NoError(t, s.ship(ctx, d))
		require.ErrorIs(t, s.ship(ctx, d), workqueue.ErrSettled)
		st, err := s.shipping.Stats(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 1, st.Visible, "the refused transaction has sent nothing")
	})
}

func TestALostDeliveryRefusesTheTransaction(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		s := openShop(t, db)
		_, err := s.place(ctx, "42", []byte("two teapots"))
		require.NoError(t, err)
		c, err := s.emails.Consume(ctx, nil)
		require.NoError(t, err)
		d, err := c.Next(ctx)
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.ErrorIs(t, s.ship(ctx, d), pebblemq.ErrLost)
		pebblemqtest.RequireNotSent(t, s.shipping, nil)
	})
}

func TestRunCountsNoFailureOfALostDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, quiet())
		s := openShop(t, db)
		mail := declare(t, s.broker, "mail", &workqueue.QueueConfig{AckTimeout: time.Minute})
		require.NoError(t, s.broker.Publish(t.Context(), "", "mail", workqueue.Message{}))
		outcomes := make(chan error, 10)
		runs(t, func(ctx context.Context) error {
			return mail.Run(ctx, func(ctx context.Context, d *workqueue.Delivery) error {
				if d.DeliveryCount == 1 {
					<-ctx.Done()
				}
				err := s.ship(context.WithoutCancel(ctx), d)
				outcomes <- err
				return err
			}, &workqueue.RunOptions{OnError: func(_ context.Context, _ *workqueue.Delivery, err error) { t.Errorf("failure told: %v", err) }})
		})
		require.ErrorIs(t, <-outcomes, workqueue.ErrDeliveryLost)
		require.NoError(t, <-outcomes)
	})
}

func TestTwoBuyersDoNotTakeTheSameItem(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		s := openShop(t, db)
		require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte("stock/teapot"), []byte("5")) }))
		done := make(chan error)
		for range 8 {
			go func() {
				_, err := s.takeOne(ctx, "teapot")
				done <- err
			}()
		}
		refused := 0
		for range 8 {
			if err := <-done; err != nil {
				require.ErrorIs(t, err, errSoldOut)
				refused++
			}
		}
		require.Equal(t, 3, refused)
		n, err := s.total(ctx)
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

func TestRefusalsOfATransaction(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		s := openShop(t, db)
		set := func(ctx context.Context) error {
			return db.Update(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte("k"), []byte("v")) })
		}
		require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
			if _, err := tx.Get([]byte("k")); err != nil {
				return err
			}
			if err := db.Update(ctx, func(tx *pebblemq.Tx) error { _, err := tx.Get([]byte("k")); return err }); err != nil {
				return err
			}
			return nil
		}), pebblemq.ErrNested)
		require.ErrorIs(t, db.View(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte("k"), nil) }), pebblemq.ErrReadOnly)
		ended, end := context.WithCancel(ctx)
		end()
		require.ErrorIs(t, set(ended), context.Canceled)

		// A verb without In is a commit of its own.
		require.Error(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
			if _, err := s.orders.Append(ctx, log.Record{}); err != nil {
				return err
			}
			return errors.New("no")
		}))
		pebblemqtest.RequireAppended(t, s.orders, nil)

		// The error names the refused operation.
		err := db.Update(ctx, func(tx *pebblemq.Tx) error {
			return s.broker.In(tx).Publish("", "emals", workqueue.Message{})
		})
		require.ErrorIs(t, err, workqueue.ErrUnknownQueue)
		require.ErrorContains(t, err, "operation 1 of the transaction")

		big := make([]byte, pebblemq.MaxTxBytes)
		require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte("k"), big) }), pebblemq.ErrTooLarge)
	})
}
