package worker

import (
	"sync"
	"time"
)

// limiter spaces calls out. It keeps one time for each key: when the next call would come if
// calls came at exactly the rate. A key that has saved its whole burst is as good as a new one,
// and is forgotten.
type limiter struct {
	interval time.Duration
	saved    time.Duration // how far a quiet key may fall behind, and catch up at once

	mu   sync.Mutex
	next map[string]time.Time
	full int // how many keys may be kept before forget runs
}

func newLimiter(r Rate) *limiter {
	if r.PerSecond == 0 {
		return nil
	}
	interval := time.Duration(float64(time.Second) / r.PerSecond)
	return &limiter{interval: interval, saved: time.Duration(r.Burst-1) * interval, next: make(map[string]time.Time), full: 16}
}

// reserve books the next n calls of a key and returns how long to wait for the last one.
func (l *limiter) reserve(key string, n int, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	earliest := now.Add(-l.saved)
	next, known := l.next[key]
	if next.Before(earliest) {
		next = earliest
	}
	if !known && len(l.next) >= l.full {
		l.forget(earliest)
	}
	l.next[key] = next.Add(time.Duration(n) * l.interval)
	return max(next.Add(time.Duration(n-1)*l.interval).Sub(now), 0)
}

// forget drops the keys that may do as much as new ones. Doubling the limit makes its cost
// constant for each call.
func (l *limiter) forget(earliest time.Time) {
	for key, next := range l.next {
		if !next.After(earliest) {
			delete(l.next, key)
		}
	}
	l.full = max(2*len(l.next), 16)
}
