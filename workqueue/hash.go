package workqueue

import (
	"slices"
	"strings"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/workqueue/internal/routing"
)

// MaxHashWeight is the largest weight of a binding to a Hash exchange.
const MaxHashWeight = routing.MaxHashWeight

// A Hash exchange goes by one of these instead of the routing key, or by a header.
const (
	HashMessageID     = routing.MessageID
	HashCorrelationID = routing.CorrelationID
	HashReplyTo       = routing.ReplyTo
	HashType          = routing.Type
	HashAppID         = routing.AppID
)

func checkHashSource(kind ExchangeKind, c *ExchangeConfig) error {
	switch {
	case c.HashHeader == "" && c.HashProperty == "":
		return nil
	case kind != Hash:
		return store.Invalid("HashHeader or HashProperty of an exchange of kind %s", kind)
	case c.HashHeader != "" && c.HashProperty != "":
		return store.Invalid("HashHeader %q and HashProperty %q: only one can be hashed", c.HashHeader, c.HashProperty)
	case c.HashProperty != "" && !slices.Contains(routing.HashProperties, c.HashProperty):
		return store.Invalid("HashProperty %q is none of %s", c.HashProperty, strings.Join(routing.HashProperties, ", "))
	}
	return checkShort("HashHeader", c.HashHeader)
}
