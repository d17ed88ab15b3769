package workqueue

import (
	"time"

	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
)

// MaxTTL is the longest Message.TTL and QueueConfig.MessageTTL.
const MaxTTL = 10 * 365 * 24 * time.Hour

// NowOrNever as a Message.TTL or QueueConfig.MessageTTL is for messages that a consumer
// gets as they come into the queue, or nobody: RabbitMQ's TTL of 0. One that comes when
// no consumer has room for it is a dead letter at once, with ReasonExpired; so is
// one that is given back. Broker.Get gets none of them.
const NowOrNever time.Duration = -1

func checkTTL(what string, ttl time.Duration) error {
	if ttl != NowOrNever && (ttl < 0 || ttl > MaxTTL) {
		return store.Invalid("%s %v is not between 0 and %v, or NowOrNever", what, ttl, MaxTTL)
	}
	return nil
}

// life returns the time to live of a message with one of its own: the lower of this
// and the queue's, 0 if there is none.
func (q *queue) life(ttl time.Duration) time.Duration {
	if own := q.config.MessageTTL; ttl == 0 || own != 0 && own < ttl {
		return own
	}
	return ttl
}

// expires returns when the time to live of a message is over that comes into the
// queue at a given time, in nanoseconds since 1970; 0 is never.
func (q *queue) expires(ttl time.Duration, at time.Time) int64 {
	if ttl = q.life(ttl); ttl == 0 {
		return 0
	}
	return at.Add(max(ttl, 0)).UnixNano()
}

// offer notes that a message has come in which is to be had now or never. It has
// expired already, so the next sweep buries it; what ready has posted comes before
// any sweep, and may hand it out.
func (q *queue) offer(m *spool.Message, ttl time.Duration) {
	if len(q.consumers) == 0 || q.life(ttl) != NowOrNever {
		return
	}
	if q.offered == nil {
		q.offered = make(map[*spool.Message]bool)
	}
	q.offered[m] = true
}

// offerStored offers a message that was delayed.
func (q *queue) offerStored(m *spool.Message) {
	if e, err := decodeMessage(m.Data); err == nil && m.Count == 0 {
		q.offer(m, e.TTL)
	}
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
