package log

import (
	"context"
	"errors"
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

// isOutage reports an error that concerns one partition: records cannot be read, or were
// trimmed before the group has read them.
func isOutage(err error) bool {
	return err != nil && (store.IsUnread(err) || errors.Is(err, ErrOffsetOutOfRange)) // nil for each record
}

// see notes how a read went. Other errors concern the whole member.
func (o *owned) see(err error) {
	switch {
	case isOutage(err):
		why := err // which escapes, as err would for each record
		o.out.pause = min(max(2*o.out.pause, outagePause), outagePauseMax)
		o.out.err, o.out.until = err, time.Now().Add(o.out.pause)
		o.t.unread.Store(&why)
	case err == nil && o.out.err != nil: // also if there is nothing to read: a member would never rest
		o.out = outage{}
		o.t.unread.Store(nil)
	}
}

// next returns when a read may have another outcome although nothing was appended: an outage
// is over for another try, or a held record is due. It is zero if neither will be.
func (o *owned) next() time.Time {
	switch {
	case o.out.err != nil:
		return o.out.until
	case len(o.held.list) > 0:
		return o.held.due
	}
	return time.Time{}
}

// nextTry returns the first of these moments; zero if there is none.
func (m *Member) nextTry(ctx context.Context) (first time.Time, err error) {
	if err := m.mu.Lock(ctx); err != nil {
		return first, err
	}
	defer m.mu.Unlock()
	for _, o := range m.mu.cursors {
		at := o.next()
		if m.paused(o) || !m.heardOf(o.t) || at.IsZero() {
			continue
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first, nil
}
