package routing

// Message is all that decides where a message goes.
type Message struct {
	Key     string
	More    []string // keys beside it
	Headers map[string]string

	// What a Hash exchange may go by.
	MessageID, CorrelationID, ReplyTo, Type, AppID string
}

// Exchange is the bindings of an exchange.
type Exchange struct {
	// Alternate is the name of the exchange that gets what no binding matches, if there is one.
	Alternate string
	// Damage is why nothing can be routed, because a message might miss places.
	Damage error

	bindings matcher
	visited  uint64 // by which walk
}

// NewExchange returns an exchange without bindings, nil if there is no such kind.
func NewExchange(kind string, c Config) *Exchange {
	make := matchers[kind]
	if make == nil {
		return nil
	}
	return &Exchange{bindings: make(c)}
}

// Config is what an exchange goes by, if it is of the kind Hash: a header or a property. Without
// both it goes by the key.
type Config struct{ HashHeader, HashProperty string }

// Check refuses a binding that means nothing to the exchange. The error says what is wrong with it.
func (e *Exchange) Check(b Binding) error { return e.bindings.check(b) }

// Add takes a binding that was checked. Numbers grow as bindings are made.
func (e *Exchange) Add(b Binding, to *Place, number uint64) { e.bindings.add(b, to, number) }

// Remove takes a binding out that was added with these values.
func (e *Exchange) Remove(b Binding, to *Place, number uint64) { e.bindings.remove(b, to, number) }

// Router is the walk of messages through the exchanges of a broker. Each exchange and
// each place carries the number of the latest walk that has come to it. So neither a cycle nor a
// hundred bindings to one place cost more than a comparison. The zero value is ready.
type Router struct {
	walk    uint64
	matched int         // by the exchange at hand
	at      []*Exchange // that were reached, in order
	found   []*Place
}

// Route returns where a message goes that comes to an exchange, each place once, in an order that
// is the same whenever the same bindings were made. The list holds until the next message. It
// fails with the Damage of an exchange on the way. Find returns an alternate by its name, nil if
// there is none.
func (r *Router) Route(first *Exchange, m *Message, find func(name string) *Exchange) ([]*Place, error) {
	r.begin()
	r.enter(first)
	for i := 0; i < len(r.at); i++ {
		e := r.at[i]
		if e.Damage != nil {
			return nil, e.Damage
		}
		r.matched = 0
		e.bindings.match(m, r)
		if r.matched > 0 || e.Alternate == "" {
			continue
		}
		if next := find(e.Alternate); next != nil {
			r.enter(next)
		}
	}
	return r.found, nil
}

// Named returns the places of the keys of a message, each once, as find has them: the default
// exchange, where a key is the name of a queue. Find returns nil for a key without a place.
func (r *Router) Named(m *Message, find func(key string) *Place) []*Place {
	r.begin()
	r.reach(find(m.Key))
	for _, key := range m.More {
		r.reach(find(key))
	}
	return r.found
}

func (r *Router) begin() {
	r.walk++
	r.at, r.found = r.at[:0], r.found[:0]
}

func (r *Router) enter(e *Exchange) {
	if e.visited != r.walk {
		e.visited = r.walk
		r.at = append(r.at, e)
	}
}

// reach notes that the message goes to a place, or on to an exchange.
func (r *Router) reach(to *Place) {
	if to == nil {
		return
	}
	r.matched++
	if to.Exchange != nil {
		r.enter(to.Exchange)
		return
	}
	if to.visited != r.walk {
		to.visited = r.walk
		r.found = append(r.found, to)
	}
}

func (r *Router) reachAll(to *places) {
	if to == nil {
		return
	}
	for i := range to.list {
		r.reach(to.list[i].place)
	}
}
