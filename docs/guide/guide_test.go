// Package guide_test holds the code of the guide's pages, and runs it.
package guide_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/pebblemqtest"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// inBubble runs f in a bubble, where time passes at once, with a store of its own.
func inBubble(t *testing.T, f func(t *testing.T, ctx context.Context, db *pebblemq.DB)) {
	synctest.Test(t, func(t *testing.T) { f(t, t.Context(), pebblemqtest.Open(t, nil)) })
}

func openBroker(t *testing.T, db *pebblemq.DB) *workqueue.Broker {
	broker, err := workqueue.OpenBroker(t.Context(), db, "main")
	require.NoError(t, err)
	return broker
}

func declare(t *testing.T, broker *workqueue.Broker, name string, c *workqueue.QueueConfig) *workqueue.Queue {
	q, err := broker.DeclareQueue(t.Context(), name, c)
	require.NoError(t, err)
	return q
}

func openQueue(t *testing.T, db *pebblemq.DB, name string, c *visibility.QueueConfig) *visibility.Queue {
	q, err := visibility.OpenQueue(t.Context(), db, name, c)
	require.NoError(t, err)
	return q
}

// runs starts a Run that must end well with the test.
func runs(t *testing.T, run func(ctx context.Context) error) {
	done := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
	})
}

func hello(ctx context.Context, db *pebblemq.DB) error {
	broker, err := workqueue.OpenBroker(ctx, db, "main")
	if err != nil {
		return err
	}
	emails, _, err := broker.EnsureQueue(ctx, "emails", nil)
	if err != nil {
		return err
	}
	err = db.Update(ctx, func(tx *pebblemq.Tx) error { // both, or neither
		if err := tx.Set([]byte("order/42"), []byte("paid")); err != nil {
			return err
		}
		return broker.In(tx).Publish("", "emails", workqueue.Message{Body: []byte("receipt for 42")})
	})
	if err != nil {
		return err
	}
	return emails.Run(ctx, func(ctx context.Context, d *workqueue.Delivery) error {
		fmt.Printf("%s\n", d.Body)
		return nil // acknowledges; an error has it handled again, with growing pauses
	}, nil)
}

func TestHello(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		ctx, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		require.NoError(t, hello(ctx, db))
		pebblemqtest.RequireNotPublished(t, declare(t, openBroker(t, db), "emails", nil), nil)
	})
}
