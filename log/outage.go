package log

import (
	"context"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// outage is why a member cannot read on in a partition. The member reads its other
// partitions meanwhile, and tries this one again after a pause, which grows.
type outage struct {
	err   error
	pause time.Duration
	until time.Time
}

// The pause before another try, at first and at most.
const (
	outagePause    = time.Second
	outagePauseMax = time.Minute
)

// lasts reports that it is too early for another try.
func (o *outage) lasts() bool { return o.err != nil && time.Now().Before(o.until) }

// see notes how a read went. Errors that have nothing to do with the disk are no outage.
func (o *owned) see(ok bool, err error) {
	switch {
	case store.IsUnread(err):
		o.out.pause = min(max(2*o.out.pause, outagePause), outagePauseMax)
		o.out.err, o.out.until = err, time.Now().Add(o.out.pause)
		o.t.unread.Store(&err)
	case ok && o.out.err != nil:
		o.out = outage{}
		o.t.unread.Store(nil)
	}
}

// nextTry returns what fires when an outage is over for another try; nil if there is
// none.
func (m *Member) nextTry(ctx context.Context) (*time.Timer, error) {
	if err := m.mu.Lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var first time.Time
	for _, o := range m.mu.cursors {
		if o.out.err != nil && (first.IsZero() || o.out.until.Before(first)) {
			first = o.out.until
		}
	}
	if first.IsZero() {
		return nil, nil
	}
	return time.NewTimer(time.Until(first)), nil
}
