package log

import (
	"context"

	"github.com/pebblemq/pebblemq/internal/store"
)

func init() { store.RegisterSink(store.ClassTopic, openSink) }

// sink is a topic that is bound to an exchange.
type sink struct{ t *Topic }

// openSink brings a topic into memory with all its partitions, because an append
// that is part of another Op cannot wait for that.
func openSink(ctx context.Context, s *store.Store, name string) (store.Sink, error) {
	t, err := layerOf(s).lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	return sink{t}, t.ready(ctx)
}

// Deliver appends a routed message as a record. Its key is the routing key, so
// that equal ones keep their order; without one, any partition will do.
func (k sink) Deliver(m *store.Routed) (store.Op, error) {
	if m.Delay > 0 {
		return nil, store.Invalid("message has a Delay of %v, and a log has no delays", m.Delay)
	}
	r := Record{Value: append([]byte{}, m.Body...), Timestamp: m.Time}
	if m.Key != "" {
		r.Key = []byte(m.Key)
	}
	if m.ID != "" {
		r.Headers = append(r.Headers, Header{Name: "message-id", Value: []byte(m.ID)})
	}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, Header{Name: h.Name, Value: []byte(h.Value)})
	}
	return k.t.prepare(anyPartition, []Record{r}, newBuffer)
}
