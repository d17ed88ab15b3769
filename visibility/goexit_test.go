package visibility_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func TestAHandlerThatExitsItsGoroutineHasFailed(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", nil)
		q := open(t, db, "q", &visibility.QueueConfig{MaxReceives: 3, DeadLetterQueue: "dead"})
		send(t, q, "a", "b")
		calls, begin := 0, time.Now()
		c, stop := context.WithTimeout(ctx, time.Hour)
		defer stop()
		require.NoError(t, q.Run(c, func(context.Context, *visibility.Received) error {
			calls++
			runtime.Goexit()
			return nil
		}, &visibility.RunOptions{VisibilityTimeout: time.Minute, Backoff: pebblemq.Backoff{Min: time.Second, Jitter: pebblemq.NoJitter}}))
		require.Equal(t, time.Hour, time.Since(begin), "Run ends with its context")
		require.Equal(t, 6, calls)
		require.Zero(t, stats(t, q), "no heartbeat keeps a message")
		got := receive(t, dead, 10)
		require.ElementsMatch(t, []string{"a", "b"}, bodies(got))
		require.Contains(t, got[0].DeadLetter.LastError, "handler called runtime.Goexit")
	})
}

func TestAFilterThatExitsFailsTheRedrive(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", nil)
		send(t, dead, "x")
		info := redrive(t, dead, &visibility.RedriveOptions{Filter: func(*visibility.Browsed) bool {
			runtime.Goexit()
			return true
		}})
		done(t, info, visibility.RedriveFailed, 0, 0, 0)
		require.Contains(t, info.Reason, "runtime.Goexit")
		counts(t, dead, 1, 0, 0)
	})
}

func TestALoopOverMessagesThatExitsLeavesNothingOpen(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{Delay: time.Hour})
		send(t, q, "x", "y")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for range q.Browse(ctx, nil) {
				runtime.Goexit()
			}
		}()
		<-ended
		counts(t, q, 0, 0, 2)
		require.NoError(t, db.Close())
	})
}
