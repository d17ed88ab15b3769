package routing

import "math/rand/v2"

// direct holds bindings by their keys.
type direct map[string]*places

func (direct) check(Binding) error { return nil }

func (d direct) add(b Binding, to *Place, _ uint64) {
	if d[b.Key] == nil {
		d[b.Key] = new(places)
	}
	d[b.Key].add(to)
}

func (d direct) remove(b Binding, to *Place, _ uint64) {
	if d[b.Key].remove(to); len(d[b.Key].list) == 0 {
		delete(d, b.Key)
	}
}

func (d direct) match(m *Message, r *Router) {
	r.reachAll(d[m.Key])
	for _, key := range m.More {
		r.reachAll(d[key])
	}
}

// fanout holds bindings whatever they say.
type fanout struct{ places }

func (*fanout) check(Binding) error                     { return nil }
func (f *fanout) add(_ Binding, to *Place, _ uint64)    { f.places.add(to) }
func (f *fanout) remove(_ Binding, to *Place, _ uint64) { f.places.remove(to) }
func (f *fanout) match(_ *Message, r *Router)           { r.reachAll(&f.places) }

// random picks one of its places for each message.
type random struct{ places }

func (*random) check(Binding) error                     { return nil }
func (s *random) add(_ Binding, to *Place, _ uint64)    { s.places.add(to) }
func (s *random) remove(_ Binding, to *Place, _ uint64) { s.places.remove(to) }

func (s *random) match(_ *Message, r *Router) {
	if n := len(s.list); n > 0 {
		r.reach(s.list[rand.IntN(n)].place)
	}
}
