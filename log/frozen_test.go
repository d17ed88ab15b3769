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

// A group was altered when the context ended: the call that has altered it must not say that
// nothing has happened.
func TestEnsureGroupAnswersForWhatItHasAltered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newCrashFS(t)
		db, topic := fs.open(t)
		defer db.Close()
		openGroup(t, topic, "g")
		fs.SetHook(func(call storetest.Call) error {
			if call.Op == storetest.OpSync {
				<-time.After(500 * time.Millisecond)
			}
			return nil
		})
		short, stop := context.WithTimeout(ctx, time.Millisecond)
		defer stop()
		_, did, err := topic.EnsureGroup(short, "g", &log.GroupConfig{From: log.End()})
		require.NoError(t, err)
		require.Equal(t, []string{"From"}, did.Altered)
	})
}

// A transaction that moves a group is on its way to the disk. Until it is there, a member that
// passes over what was trimmed neither moves the group nor complains.
func TestAPollMeetsASeekThatIsNotVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cold := storetest.OpenCold(t, "")
		topic, err := log.OpenTopic(ctx, cold.DB, "orders", nil)
		require.NoError(t, err)
		g, err := topic.OpenGroup(ctx, "g", &log.GroupConfig{From: log.Start().Or(log.Earliest)})
		require.NoError(t, err)
		m := join(t, g)
		appendAll(t, topic, numbered(3)...)
		require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(1)))
		cold.Freeze()
		moved := make(chan error)
		go func() {
			moved <- cold.DB.Update(ctx, func(tx *pebblemq.Tx) error { return g.In(tx).Seek(log.Offset(2)) })
		}()
		synctest.Wait()
		short, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		_, err = m.Poll(short, 10)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		cold.Thaw()
		require.NoError(t, <-moved)
		got, err := m.Poll(ctx, 10)
		require.NoError(t, err)
		require.Len(t, got, 1)
		require.EqualValues(t, 2, got[0].Offset)
		require.NoError(t, cold.DB.Close())
	})
}
