package visibility

import (
	"context"
	"slices"
	"unicode/utf8"

	"github.com/pebblemq/pebblemq/internal/store"
)

func init() { store.RegisterSink(store.ClassVisQueue, openSink) }

// sink is a queue that is bound to an exchange.
type sink struct{ q *Queue }

func openSink(ctx context.Context, s *store.Store, name string) (store.Sink, error) {
	q, err := registryOf(s).lookup(ctx, name)
	return sink{q}, err
}

// Deliver sends a routed message. Its headers become attributes, and in a FIFO
// queue the routing key is the group.
func (k sink) Deliver(m *store.Routed) (store.Op, error) {
	sent := Message{ID: m.ID, Body: m.Body, Attributes: make(map[string]Attribute, len(m.Headers))}
	if m.Delay > 0 {
		sent.Delay = &m.Delay
	}
	if k.q.config().FIFO {
		sent.Group = m.Key
	}
	for _, h := range m.Headers {
		if _, twice := sent.Attributes[h.Name]; twice {
			return nil, store.Invalid("message has two headers %q, which cannot be attributes of the same name", h.Name)
		}
		a := StringAttribute(h.Value)
		if !utf8.ValidString(h.Value) {
			a.Type = Binary
		}
		sent.Attributes[h.Name] = a
	}
	o, err := k.q.newSend(&sent)
	if err == nil && m.Payload.Shared() {
		o.data, o.payload = slices.Clone(o.data[:len(o.data)-len(m.Body)]), m.Payload
	}
	return o, err
}
