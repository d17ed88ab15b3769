package log

import "math"

// partitions returns the partitions that the topic has at the moment. The slice is
// never changed: growth makes a longer one, of the same partitions and more.
func (t *Topic) partitions() []*partition { return *t.list.Load() }

// newPartitions makes those with the numbers from lo to hi - 1.
func (t *Topic) newPartitions(lo, hi int) []*partition {
	made := make([]partition, hi-lo) // next to one another
	list := make([]*partition, hi-lo)
	for i := range made {
		made[i].topic, made[i].index = t, uint32(lo+i)
		list[i] = &made[i]
	}
	return list
}

// grow adds partitions until there are n. They are empty, so that there is nothing
// to be read of them. Groups get them before anybody can append to them, and begin
// at their first record, wherever they began in the others: nothing is missed. The
// baton is held.
func (t *Topic) grow(n int) {
	old := t.partitions()
	more := t.newPartitions(len(old), n)
	if len(more) == 0 {
		return
	}
	for _, p := range more {
		p.tail = emptyTail()
		p.loaded.Store(true)
	}
	for _, g := range t.groups {
		g.grow(more)
	}
	list := append(old[:len(old):len(old)], more...)
	t.list.Store(&list)
	t.tellFollowers()
}

// emptyTail is that of a partition without a batch.
func emptyTail() tail { return tail{maxTime: math.MinInt64, retainTime: math.MinInt64} }

// grow gives the group more partitions. The baton is held.
func (g *Group) grow(more []*partition) {
	old := g.claims()
	g.setClaims(append(old[:len(old):len(old)], g.newClaims(more)...))
	g.rebalance()
}

// claims returns what the group has to do with each partition at the moment. The
// slice is never changed.
func (g *Group) claims() []*claim { return *g.list.Load() }

// claim returns that of a partition by its number.
func (g *Group) claim(i int) (*claim, error) {
	if _, err := g.topic.partition(i); err != nil {
		return nil, err
	}
	if list := g.claims(); i < len(list) {
		return list[i], nil
	}
	return nil, groupDeleted(g.topic, g.name) // it was deleted before the topic grew
}

func (g *Group) setClaims(list []*claim) { g.list.Store(&list) }

// newClaims makes claims of partitions from their beginning on. The baton is held.
func (g *Group) newClaims(of []*partition) []*claim {
	made := make([]claim, len(of))
	list := make([]*claim, len(of))
	for i, p := range of {
		c := &made[i]
		c.g, c.p = g, p
		list[i] = c
	}
	return list
}
