package log

import (
	"context"
	"fmt"
	"slices"

	"github.com/pebblemq/pebblemq/internal/store"
)

// CheckInvariants looks for what must never be, under the baton.
func (t *Topic) CheckInvariants() error {
	return t.s.Do(context.Background(), store.OpFunc(func(*store.Turn) error {
		for _, p := range t.partitions() {
			if err := p.checkInvariants(); err != nil {
				return err
			}
		}
		for _, g := range t.groups {
			if err := g.checkInvariants(); err != nil {
				return err
			}
		}
		return nil
	}), store.NoSync)
}

// CompactInRoundsOf bounds how many keys a round of a compaction has in memory.
func (t *Topic) CompactInRoundsOf(keys int) { t.tidying.most = keys }

// SweepAfter sets how many trimmed records make a sweep of the index worth it.
func (t *Topic) SweepAfter(trimmed uint64) { t.sweeping.least = trimmed }

// Cleared returns below which offset the engine was told to delete batches.
func (t *Topic) Cleared(partition int) (cleared uint64) {
	_ = t.s.Do(context.Background(), store.OpFunc(func(*store.Turn) error {
		cleared = t.partitions()[partition].cleared
		return nil
	}), store.NoSync)
	return cleared
}

func (p *partition) checkInvariants() error {
	if !p.loaded.Load() {
		return nil
	}
	pending := uint64(0)
	for i := range p.pending {
		s := &p.pending[i]
		n := uint32(0)
		for rest := s.records(); len(rest) > 0; n++ {
			var err error
			if _, rest, err = cutRecord(rest); err != nil {
				return err
			}
		}
		if n == 0 || n != s.count {
			return fmt.Errorf("partition %d: segment of %d records says %d", p.index, n, s.count)
		}
		pending += uint64(n)
	}
	start, end := p.start.Load(), p.end.Load()
	if p.cleared > start || start > end || end > p.next || p.tail.next+pending != p.next {
		return fmt.Errorf("partition %d: cleared %d, start %d, end %d, next %d, stored %d, pending %d",
			p.index, p.cleared, start, end, p.next, p.tail.next, pending)
	}
	return nil
}

func (g *Group) checkInvariants() error {
	owned := 0
	claims := g.claims()
	if len(claims) != g.topic.Partitions() {
		return fmt.Errorf("%d claims of %d partitions", len(claims), g.topic.Partitions())
	}
	for i, c := range claims {
		if err := c.done.checkInvariants(c.p.end.Load()); err != nil {
			return fmt.Errorf("partition %d: %w", i, err)
		}
		t := c.tenure
		switch {
		case (t == nil) != (len(g.members) == 0):
			return fmt.Errorf("partition %d: tenure %v with %d members", i, t, len(g.members))
		case t == nil:
			continue
		case t.lost() || t.claim != c || t.epoch != c.epoch || !slices.Contains(g.members, t.member) ||
			!slices.Contains(*t.member.owned.Load(), t):
			return fmt.Errorf("partition %d: broken tenure %v", i, t)
		}
		owned++
	}
	for _, m := range g.members {
		owned -= len(*m.owned.Load())
		if n := len(*m.owned.Load()); n < len(claims)/len(g.members) || n > len(claims)/len(g.members)+1 {
			return fmt.Errorf("a member of %d owns %d of %d partitions", len(g.members), n, len(claims))
		}
	}
	if owned != 0 {
		return fmt.Errorf("%d partitions owned twice or by nobody", owned)
	}
	return nil
}

func (p progress) checkInvariants(end uint64) error {
	at := p.next
	for _, s := range p.above {
		if s.lo <= at || s.hi <= s.lo {
			return fmt.Errorf("finished %d and %v", p.next, p.above)
		}
		at = s.hi
	}
	if at > end {
		return fmt.Errorf("finished %d and %v beyond the end %d", p.next, p.above, end)
	}
	return nil
}
