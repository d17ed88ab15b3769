package workqueue

import (
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Every name in a configuration must exist: a typing error would otherwise show only when a
// message fails. It is checked when an object is created or altered, but not when the named
// object is deleted. Anything may be deleted, and a message that then has no place waits for
// one.

// known reports whether a queue or an exchange exists.
func (t *topology) known(d destination) bool {
	if d.class == store.ClassExchange {
		return t.exchanges[d.name] != nil
	}
	return t.queues[d.name] != nil
}

// checkPlace refuses a place for dead letters that does not exist, or is the queue itself.
func (c *QueueConfig) checkPlace(queue string, known func(destination) bool) error {
	d := c.DeadLetter
	if d == nil {
		return nil
	}
	to := destination{store.ClassQueue, d.Key}
	if d.Exchange != "" {
		to = destination{store.ClassExchange, d.Exchange}
	}
	switch {
	case to.name == "":
		return store.Invalid("queue %q: DeadLetter names neither an Exchange nor a Key: a message would go back to the queue that its own key names", queue)
	case to == destination{store.ClassQueue, queue}:
		return store.Invalid("queue %q: DeadLetter is the queue itself: Retry makes failed messages wait and try again", queue)
	case !d.DropIfMissing && !known(to):
		return fmt.Errorf("queue %q: DeadLetter: %w: declare it first, or both in one Apply", queue, to.unknown())
	}
	return nil
}

// checkAlternate refuses an alternate exchange that does not exist, or is the exchange itself.
func (c *ExchangeConfig) checkAlternate(exchange string, known func(destination) bool) error {
	to := destination{store.ClassExchange, c.Alternate}
	switch {
	case to.name == "":
		return nil
	case to.name == exchange:
		return store.Invalid("exchange %q: Alternate is the exchange itself", exchange)
	case !known(to):
		return fmt.Errorf("exchange %q: Alternate: %w: declare it first, or both in one Apply", exchange, to.unknown())
	}
	return nil
}
