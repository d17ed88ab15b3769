package workqueue

import (
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/workqueue/internal/routing"
)

// address is all that decides where a message goes.
type address struct {
	exchange string
	key      string
	more     []string // keys beside it: CC and BCC
	m        *Message // for its headers and properties
}

// address of a message that was published before.
func (e *envelope) address() *address {
	return &address{exchange: e.exchange, key: e.key, more: e.CC, m: &e.Message}
}

// ask returns what the router goes by, until the next route.
func (t *topology) ask(a *address) *routing.Message {
	t.asked = routing.Message{
		Key: a.key, More: a.more, Headers: a.m.Headers,
		MessageID: a.m.MessageID, CorrelationID: a.m.CorrelationID, ReplyTo: a.m.ReplyTo, Type: a.m.Type, AppID: a.m.AppID,
	}
	return &t.asked
}

// route returns where a message goes to, each place once, in an order that is
// the same whenever the same bindings were made. The list holds until the next
// route: a publish to many queues allocates nothing for it.
func (t *topology) route(a *address) ([]*end, error) {
	found, err := t.places(a)
	if err != nil {
		return nil, err
	}
	t.found = t.found[:0]
	for _, p := range found {
		t.found = append(t.found, p.Owner.(*end))
	}
	return t.found, nil
}

func (t *topology) places(a *address) ([]*routing.Place, error) {
	if a.exchange == "" {
		return t.router.Named(t.ask(a), t.placeOf), nil
	}
	e, err := t.exchange(a.exchange)
	if err != nil {
		return nil, err
	}
	return t.router.Route(e.routes, t.ask(a), t.alternate)
}

// alternate returns what an exchange routes by, nil if it is not there.
func (t *topology) alternate(name string) *routing.Exchange {
	if e := t.exchanges[name]; e != nil {
		return e.routes
	}
	return nil
}

// placeOf returns the queue of a name, nil if there is none.
func (t *topology) placeOf(name string) *routing.Place {
	q := t.queues[name]
	if q == nil {
		return nil
	}
	if q.end == nil {
		q.end = t.end(destination{store.ClassQueue, name}, nil)
	}
	return &q.end.place
}

// checkNames refuses an address of the default exchange that names a queue which is not
// there.
func (t *topology) checkNames(a *address) error {
	if t.queues[a.key] == nil {
		return errUnknownName(a.key)
	}
	for _, key := range a.more {
		if t.queues[key] == nil {
			return errUnknownName(key)
		}
	}
	return nil
}

func errUnknownName(key string) error {
	return fmt.Errorf("%w: %q, which a message for the default exchange names", ErrUnknownQueue, key)
}
