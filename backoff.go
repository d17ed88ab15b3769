package pebblemq

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Backoff says how long to wait before something that failed is tried again: Min
// after the first failure, Factor times as long after each further one, at most
// Max. Its zero value is the default one.
type Backoff struct {
	Min    time.Duration // default 100 ms
	Max    time.Duration // default a minute
	Factor float64       // default 2, at least 1

	// Jitter is the part of each pause that is random, from 0 to 1, so that
	// what failed together is not tried again together. Default 0.2; NoJitter
	// is none.
	Jitter float64
}

// NoJitter makes the pauses of a Backoff exact.
const NoJitter = -1

// MaxBackoff is the longest pause between two attempts.
const MaxBackoff = 24 * time.Hour

// WithDefaults returns b with its zero fields filled in, and ErrInvalid if a field
// makes no sense.
func (b Backoff) WithDefaults() (Backoff, error) {
	if b.Min == 0 {
		b.Min = 100 * time.Millisecond
	}
	if b.Max == 0 {
		b.Max = max(b.Min, time.Minute)
	}
	if b.Factor == 0 {
		b.Factor = 2
	}
	if b.Jitter == 0 {
		b.Jitter = 0.2
	}
	switch {
	case b.Min < 0 || b.Max < b.Min || b.Max > MaxBackoff:
		return b, store.Invalid("Backoff from %v to %v is not within 0 and %v", b.Min, b.Max, MaxBackoff)
	case !(b.Factor >= 1) || math.IsInf(b.Factor, 1):
		return b, store.Invalid("Backoff.Factor %v is not at least 1", b.Factor)
	case b.Jitter != NoJitter && !(b.Jitter >= 0 && b.Jitter <= 1):
		return b, store.Invalid("Backoff.Jitter %v is not between 0 and 1", b.Jitter)
	}
	return b, nil
}

// Delay returns the pause after n failures, n being 1 or more. Zero fields are the
// defaults. It is 0 if WithDefaults refuses a field.
func (b Backoff) Delay(n int) time.Duration {
	b, err := b.WithDefaults()
	if err != nil {
		return 0
	}
	d := float64(b.Min) * math.Pow(b.Factor, float64(max(n, 1)-1))
	d = min(d, float64(b.Max))
	return time.Duration(d - d*max(b.Jitter, 0)*rand.Float64())
}
