package store

import (
	"context"
	"time"
)

// Pause waits for d. It returns false, at once, if ctx ends before or has ended.
func Pause(ctx context.Context, d time.Duration) bool { return PauseUntil(ctx, nil, d) }

// PauseUntil is Pause that ends sooner if the event comes.
func PauseUntil(ctx context.Context, event <-chan struct{}, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-event:
		return true
	case <-ctx.Done():
		return false
	}
}
