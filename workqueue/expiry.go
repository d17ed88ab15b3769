package workqueue

import (
	"time"

	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
)

// MaxTTL is the longest Message.TTL and QueueConfig.MessageTTL.
const MaxTTL = 10 * 365 * 24 * time.Hour

func checkTTL(what string, ttl time.Duration) error {
	if ttl < 0 || ttl > MaxTTL {
		return store.Invalid("%s %v is not between 0 and %v", what, ttl, MaxTTL)
	}
	return nil
}

// expires returns when the time to live of a message is over that comes into the
// queue at a given time, in nanoseconds since 1970; 0 is never. The lower of the
// two times counts.
func (q *queue) expires(ttl time.Duration, at time.Time) int64 {
	if own := q.config.MessageTTL; ttl == 0 || own != 0 && own < ttl {
		ttl = own
	}
	if ttl == 0 {
		return 0
	}
	return at.Add(ttl).UnixNano()
}

// buryExpired buries a message whose time is over while it waits.
func (q *queue) buryExpired(t *store.Turn, m *spool.Message) func(*store.Turn) {
	d, err := newDelivery(q, nil, m)
	if err == nil {
		var b *burial
		if b, err = q.bury(t, d, ReasonExpired); err == nil {
			return b.show
		}
	}
	q.keepStuck(t, m, ReasonExpired, err)
	return nil
}
