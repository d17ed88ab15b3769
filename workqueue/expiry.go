package workqueue

import (
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// MaxTTL is the longest Message.TTL and QueueConfig.MessageTTL.
const MaxTTL = 10 * 365 * 24 * time.Hour

// NowOrNever as a Message.TTL or QueueConfig.MessageTTL expires messages that no consumer can
// take at once. It is RabbitMQ's TTL of 0. If no consumer has room when a message arrives, the
// message becomes a dead letter at once, with ReasonExpired. So does one that is given back.
// Queue.Get gets none of them.
const NowOrNever time.Duration = -1

func checkTTL(what string, ttl time.Duration) error {
	if ttl != NowOrNever && (ttl < 0 || ttl > MaxTTL) {
		return store.Invalid("%s %v is not between 0 and %v, or NowOrNever", what, ttl, MaxTTL)
	}
	return nil
}

// storedTTL is a time to live of a message in the unit in which it is stored.
func storedTTL(ttl time.Duration) time.Duration {
	if ttl <= 0 { // for ever, or NowOrNever
		return ttl
	}
	return max(ttl.Truncate(time.Microsecond), time.Microsecond)
}

// expires returns when the time to live of a message is over that comes into the
// queue at a given time, in nanoseconds since 1970; 0 is never. The lower of the
// two times counts.
func (q *declaredQueue) expires(ttl time.Duration, at time.Time) int64 {
	if own := q.config.MessageTTL; ttl == 0 || own != 0 && own < ttl {
		ttl = own
	}
	if ttl == 0 {
		return 0
	}
	return at.Add(max(ttl, 0)).UnixNano()
}

// offer notes that a message comes in which is to be had now or never, if it is. It has
// expired already, so the next sweep buries it; what ready has posted comes before
// any sweep, and may hand it out.
func (q *declaredQueue) offer(t *store.Turn, m *queue.Message) {
	if len(q.consumers) == 0 || m.Count > 0 || !m.Expired(t.Now()) || !q.nowOrNever(m) {
		return
	}
	if q.offered == nil {
		q.offered = make(map[*queue.Message]bool)
	}
	q.offered[m] = true
}

func (q *declaredQueue) nowOrNever(m *queue.Message) bool {
	if q.config.MessageTTL == NowOrNever {
		return true
	}
	e, err := decodeMessage(m.Data)
	return err == nil && e.TTL == NowOrNever
}

// buryExpired buries a message whose time is over while it waits.
func (q *declaredQueue) buryExpired(t *store.Turn, m *queue.Message) func(*store.Turn) {
	d, err := newDelivery(q, nil, m)
	if err != nil {
		q.core.SetAside(t, m, err)
		return nil
	}
	b, err := q.bury(t, d, ReasonExpired, "")
	if err != nil {
		q.keepStuck(t, m, ReasonExpired, err)
		return nil
	}
	return b.show
}
