package log_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// The disk freezes while a handler runs. Run ends with its context and the grace, and
// says so if the outcome of a record is unknown.
func TestRunEndsWithItsContextOnAFrozenDisk(t *testing.T) {
	no := errors.New("no")
	for name, c := range map[string]struct {
		durability pebblemq.Durability
		failure    error
		noRoom     bool
		ends       time.Duration
		err        error
	}{
		"an acknowledgement":                  {durability: pebblemq.Sync, ends: 3 * time.Second, err: pebblemq.ErrUnknownOutcome},
		"one that is not synced":              {durability: pebblemq.NoSync, ends: 2 * time.Second},
		"one that has no room":                {durability: pebblemq.NoSync, noRoom: true, ends: 3 * time.Second},
		"a move to the dead letters":          {durability: pebblemq.Sync, failure: no, ends: 3 * time.Second, err: pebblemq.ErrUnknownOutcome},
		"a move to the dead letters, no room": {durability: pebblemq.Sync, failure: no, noRoom: true, ends: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cold := storetest.OpenCold(t, "")
				topic, err := log.OpenTopic(ctx, cold.DB, "orders", nil)
				require.NoError(t, err)
				dead, err := log.OpenTopic(ctx, cold.DB, "dead", nil)
				require.NoError(t, err)
				appendAll(t, topic, values("x")...)
				g := openGroup(t, topic, "g")
				ctx, stop := context.WithTimeout(pebblemq.WithDurability(ctx, c.durability), storetest.Patience)
				defer stop()
				var begin time.Time
				err = g.Run(ctx, func(context.Context, log.Record) error {
					cold.Freeze()
					if c.noRoom {
						cold.Fill(t)
					}
					begin = time.Now()
					return c.failure
				}, &log.RunOptions{Concurrency: 2, MaxAttempts: 1, DeadLetter: dead})
				require.Equal(t, c.ends, time.Since(begin).Round(time.Second))
				if c.err == nil {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, c.err)
				}
				cold.Thaw()
				require.NoError(t, topic.DeleteGroup(context.Background(), "g"))
				storetest.Close(t, cold.DB)
			})
		})
	}
}
