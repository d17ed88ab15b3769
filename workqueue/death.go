package workqueue

import (
	"fmt"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Reasons of a death.
const (
	ReasonRejected      = "rejected"
	ReasonExpired       = "expired"
	ReasonMaxLen        = "maxlen"
	ReasonDeliveryLimit = "delivery_limit"
)

// Death is why and how often a message was moved from a queue to its dead letter
// place. There is one for each queue and reason, as in RabbitMQ's x-death; but it
// is kept apart from the headers, so that no publisher can make one up.
type Death struct {
	Queue  string
	Reason string
	Count  int

	// Latest is when the latest such death was, and Error the last error of the handler of
	// Run that failed, if it was one, up to 1 KiB of it. Times are kept to the microsecond.
	Latest time.Time
	Error  string

	// Of the first such death: when it was, and how the message had been published.
	Time        time.Time
	Exchange    string
	RoutingKeys []string
	TTL         time.Duration // that it had of its own
}

// die adds a death to the history, which is in order of the latest.
func (e *envelope) die(queue, reason, failure string, now time.Time) {
	latest := Death{
		Queue: queue, Reason: reason, Time: now,
		Exchange: e.exchange, RoutingKeys: append([]string{e.key}, e.CC...), TTL: e.TTL,
	}
	rest := make([]Death, 0, 1+len(e.deaths))
	for _, d := range e.deaths {
		if d.Queue == queue && d.Reason == reason {
			latest = d
			continue
		}
		rest = append(rest, d)
	}
	latest.Count++
	latest.Latest, latest.Error = now, failure
	e.deaths, e.TTL = slices.Insert(rest, 0, latest), 0
}

// inRing reports whether a dead letter that goes to a queue was there before and came round by
// itself: it was not rejected since. It would do so for ever.
func inRing(deaths []Death, queue string) bool {
	for _, d := range deaths {
		if d.Reason == ReasonRejected {
			return false
		}
		if d.Queue == queue {
			return true
		}
	}
	return false
}

// Headers in which a topic or a visibility queue gets the history.
const (
	headerDeathQueue  = "x-death-queue"  // of the latest
	headerDeathReason = "x-death-reason" // of the latest
	headerDeathCount  = "x-death-count"  // of all
)

// deathHeaders are the short form of a history, for other layers.
func deathHeaders(deaths []Death) []store.RoutedHeader {
	if len(deaths) == 0 {
		return nil
	}
	count := 0
	for _, d := range deaths {
		count += d.Count
	}
	return []store.RoutedHeader{
		{Name: headerDeathQueue, Value: deaths[0].Queue},
		{Name: headerDeathReason, Value: deaths[0].Reason},
		{Name: headerDeathCount, Value: fmt.Sprint(count)},
	}
}
