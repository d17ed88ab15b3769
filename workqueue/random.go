package workqueue

import "math/rand/v2"

// random picks one of its destinations for each message.
type random struct{ ends }

func (*random) check(binding) error                   { return nil }
func (r *random) add(_ binding, to *end, _ uint64)    { r.ends.add(to) }
func (r *random) remove(_ binding, to *end, _ uint64) { r.ends.remove(to) }

func (r *random) match(_ *address, w *walk) {
	if n := len(r.list); n > 0 {
		w.reach(r.list[rand.IntN(n)].end)
	}
}
