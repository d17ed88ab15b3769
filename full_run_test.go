package pebblemq_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/pebblemqtest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// A Run that begins on a full disk handles what is there, and ends with its context alone.
func TestARunBeginsOnAFullDisk(t *testing.T) {
	disk := pebblemqtest.NewDisk()
	db := pebblemqtest.Open(t, &pebblemqtest.Options{Disk: disk})
	b, err := workqueue.OpenBroker(bg, db, "main")
	require.NoError(t, err)
	q, err := b.DeclareQueue(bg, "q", nil)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(bg)
	handled, ended := make(chan string, 1<<20), make(chan error, 1)
	go func() {
		ended <- q.Run(ctx, func(_ context.Context, d *workqueue.Delivery) error {
			handled <- string(d.Body)
			return nil
		}, nil)
	}()
	disk.Fill() // while it begins
	for err == nil {
		err = b.Publish(bg, "", "q", workqueue.Message{Body: []byte("before")})
	}
	require.ErrorIs(t, err, pebblemq.ErrDiskFull)
	disk.Free()
	for err != nil { // until the store has seen it
		require.ErrorIs(t, err, pebblemq.ErrDiskFull)
		err = b.Publish(bg, "", "q", workqueue.Message{Body: []byte("after")})
	}
	for got := ""; got != "after"; {
		select {
		case got = <-handled:
		case err := <-ended:
			t.Fatalf("Run has ended: %v", err)
		}
	}
	cancel()
	require.NoError(t, <-ended)
}
