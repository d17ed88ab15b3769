package pebblemq

import (
	"context"
	"log/slog"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// Recover is a Middleware for each Run. It makes an error of a panic or a runtime.Goexit in
// the handler, for middleware outside it to see. Run itself needs no Recover: it counts
// both as failures.
func Recover[M any](next func(context.Context, M) error) func(context.Context, M) error {
	return func(ctx context.Context, m M) error {
		return store.Call("handler", func() error { return next(ctx, m) })
	}
}

// Logging returns a Middleware that logs the end of each call with its duration: at Debug,
// or at Info with its error. Run logs failures itself. A nil logger is slog.Default.
func Logging[M any](log *slog.Logger) func(next func(context.Context, M) error) func(context.Context, M) error {
	if log == nil {
		log = slog.Default()
	}
	return func(next func(context.Context, M) error) func(context.Context, M) error {
		return func(ctx context.Context, m M) error {
			begin := time.Now()
			err := next(ctx, m)
			if err != nil {
				log.InfoContext(ctx, "handler returned", "duration", time.Since(begin), "error", err)
			} else {
				log.DebugContext(ctx, "handler returned", "duration", time.Since(begin))
			}
			return err
		}
	}
}

// TimeLimit returns a Middleware that ends the context of a call after d, with
// ErrHandlerTimeout as the cause; at once if d is not positive. It waits for a handler that
// ignores its context. The Timeout of a Run does not.
func TimeLimit[M any](d time.Duration) func(next func(context.Context, M) error) func(context.Context, M) error {
	return func(next func(context.Context, M) error) func(context.Context, M) error {
		return func(ctx context.Context, m M) error {
			ctx, stop := context.WithTimeoutCause(ctx, d, worker.ErrTimeout)
			defer stop()
			return next(ctx, m)
		}
	}
}
