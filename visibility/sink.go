package visibility

import (
	"context"
	"slices"

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
	sent := Message{ID: m.ID, Body: m.Body, Delay: m.Delay, Attributes: make(map[string]Attribute, len(m.Headers))}
	if k.q.config().FIFO {
		sent.Group = m.Key
	}
	for _, h := range m.Headers {
		if _, twice := sent.Attributes[h.Name]; twice {
			return nil, k.q.about(&sent, store.Invalid("there are two headers %q, which cannot be attributes of the same name", h.Name))
		}
		sent.Attributes[h.Name] = StringAttribute(h.Value)
	}
	o, err := k.q.newSend(&sent)
	if err == nil && m.Payload.Shared() {
		o.data, o.payload = slices.Clone(o.data[:len(o.data)-len(m.Body)]), m.Payload
	}
	return o, err
}
