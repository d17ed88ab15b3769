package backup

import (
	"context"
	"errors"
	"time"

	"gocloud.dev/blob"

	"github.com/pebblemq/pebblemq"
)

// Run takes a generation now, and another one at each interval, until ctx ends; then it returns nil.
// One that fails is logged and tried again after the interval. When the store is closed or has failed
// Run returns that error.
func Run(ctx context.Context, db *pebblemq.DB, to *blob.Bucket, every time.Duration, o *Options) error {
	if every <= 0 {
		return invalid("the interval %v is not positive", every)
	}
	full, err := o.withDefaults()
	if err != nil {
		return err
	}
	return run(ctx, db, cloud{to}, every, &full)
}

func run(ctx context.Context, db *pebblemq.DB, to bucket, every time.Duration, o *Options) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		g, err := take(ctx, db, to, o)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, pebblemq.ErrClosed), errors.Is(err, pebblemq.ErrFailed):
			return err
		case err != nil:
			o.Logger.ErrorContext(ctx, "backup failed", "again_in", every, "error", err)
		default:
			o.Logger.InfoContext(ctx, "backup taken", "taken", g.Taken, "files", g.Files, "bytes", g.Bytes, "uploaded", g.Uploaded)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
