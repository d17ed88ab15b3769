package pebblemq_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// The middlewares that ship fit every Run.
var (
	_ log.Middleware        = pebblemq.Recover[log.Record]
	_ workqueue.Middleware  = pebblemq.Logging[*workqueue.Delivery](nil)
	_ visibility.Middleware = pebblemq.TimeLimit[*visibility.Received](time.Second)
)

func TestRecoverMakesAnErrorOfAPanicAndOfGoexit(t *testing.T) {
	for text, handler := range map[string]func(context.Context, int) error{
		"oh":             func(context.Context, int) error { panic("oh") },
		"runtime.Goexit": func(context.Context, int) error { runtime.Goexit(); return nil },
		"bad":            func(context.Context, int) error { return errBad },
	} {
		require.ErrorContains(t, pebblemq.Recover(handler)(bg, 1), text)
	}
	require.NoError(t, pebblemq.Recover(func(_ context.Context, m int) error {
		require.Equal(t, 7, m)
		return nil
	})(bg, 7))
}

func TestLoggingTellsHowACallEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
		handler := pebblemq.Logging[error](logger)(func(_ context.Context, end error) error {
			<-time.After(3 * time.Second)
			return end
		})
		require.NoError(t, handler(bg, nil))
		require.Contains(t, text.String(), `level=DEBUG msg="handler returned" duration=3s`)
		require.ErrorIs(t, handler(bg, errBad), errBad)
		require.Contains(t, text.String(), `level=INFO msg="handler returned" duration=3s error=bad`)
	})
}

func TestTimeLimitEndsTheContextOfACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := func(ctx context.Context, _ int) error { <-ctx.Done(); return context.Cause(ctx) }
		begin := time.Now()
		require.ErrorIs(t, pebblemq.TimeLimit[int](time.Minute)(wait)(bg, 1), pebblemq.ErrHandlerTimeout)
		require.Equal(t, time.Minute, time.Since(begin))
		require.ErrorIs(t, pebblemq.TimeLimit[int](0)(wait)(bg, 1), pebblemq.ErrHandlerTimeout)
		own, cancel := context.WithCancelCause(bg)
		cancel(errors.New("the lease is lost"))
		require.ErrorContains(t, pebblemq.TimeLimit[int](time.Minute)(wait)(own, 1), "the lease is lost")
	})
}
