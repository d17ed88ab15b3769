package queue

import (
	"context"
	"math"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// limiter says how many messages may be moved at a time: a bucket that fills at the
// rate and holds the burst.
type limiter struct {
	s      *store.Store
	rate   float64 // in a second; 0 is any
	burst  float64
	tokens float64
	at     time.Time // as of
}

// newLimiter returns a full one. A burst of 0 is what comes in a tenth of a second: a
// timer for each message would be dear.
func newLimiter(s *store.Store, rate float64, burst int) limiter {
	b := float64(burst)
	if burst == 0 {
		b = max(1, math.Ceil(rate/10))
	}
	return limiter{s: s, rate: rate, burst: b, tokens: b, at: s.Now()}
}

// wait waits for one message at least, and returns how many it may be.
func (l *limiter) wait(ctx context.Context) (int, error) {
	for l.rate > 0 {
		now := l.s.Now()
		if passed := now.Sub(l.at).Seconds(); passed > 0 {
			l.tokens = min(l.burst, l.tokens+passed*l.rate)
		}
		if l.at = now; l.tokens >= 1 {
			return int(min(l.tokens, moveMessages)), nil
		}
		if !store.Pause(ctx, time.Duration(math.Ceil((1-l.tokens)/l.rate*1e9))) {
			return 0, ctx.Err()
		}
	}
	return moveMessages, ctx.Err()
}

func (l *limiter) spend(n int) { l.tokens -= float64(n) }

// Limits of Pump.Rate and Pump.Burst.
const (
	MaxRate  = 1_000_000
	MaxBurst = 100_000
)

// CheckRate refuses a rate or burst that is out of bounds.
func CheckRate(rate float64, burst int) error {
	switch {
	case !(rate >= 0 && rate <= MaxRate): // or not a number
		return store.Invalid("Rate %v is not between 0 and %d", rate, MaxRate)
	case burst < 0 || burst > MaxBurst:
		return store.Invalid("Burst %d is not between 0 and %d", burst, MaxBurst)
	case burst > 0 && rate == 0:
		return store.Invalid("Burst %d needs a Rate", burst)
	}
	return nil
}
