package visibility

import (
	"context"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// OldestAge returns for how long the oldest message has been kept that is visible or
// in flight: from its send, the end of its delay, or its move to a queue with
// RestartRetention, as the retention counts. It is 0 if there is none, and exact,
// where SQS takes a minute. It reads from the disk, so it takes longer than Stats.
func (q *Queue) OldestAge(ctx context.Context) (time.Duration, error) {
	var eldest func(context.Context) (int64, error)
	var now time.Time
	err := q.whenRecalled(ctx, store.NoSync, func(t *store.Turn) { eldest, now = q.spool.Eldest(), t.Now() })
	if err != nil {
		return 0, err
	}
	born, err := eldest(ctx)
	if err != nil || born == 0 {
		return 0, err
	}
	return max(0, now.Sub(time.Unix(0, born))), nil
}
