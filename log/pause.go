package log

import (
	"context"
	"maps"
	"slices"
)

// Pause keeps the records of the given partitions from this member, without giving the
// partitions up, until Resume; of all that it owns if none is given. Records that were returned
// before stay valid. A pause outlasts rebalances and Seek as long as the member keeps the
// partition, and ends when it loses it. Pausing a partition that the member does not own does
// nothing. Pause and Resume wait for a read of the member that is under way.
func (m *Member) Pause(partitions ...int) error {
	if err := m.known(partitions); err != nil {
		return err
	}
	_ = m.mu.Lock(context.Background()) // which does not end
	defer m.mu.Unlock()
	m.adopt()
	if len(partitions) == 0 {
		partitions = m.Partitions()
	}
	if m.mu.paused == nil {
		m.mu.paused = make(map[int]uint64)
	}
	for _, o := range m.mu.cursors {
		if p := int(o.t.claim.p.index); slices.Contains(partitions, p) {
			m.mu.paused[p] = o.t.owner
		}
	}
	return nil
}

// Resume ends the pause of the given partitions, or of all.
func (m *Member) Resume(partitions ...int) error {
	if err := m.known(partitions); err != nil {
		return err
	}
	_ = m.mu.Lock(context.Background()) // which does not end
	defer m.mu.Unlock()
	if len(partitions) == 0 {
		clear(m.mu.paused)
	}
	for _, p := range partitions {
		delete(m.mu.paused, p)
	}
	m.wake.Fire()
	return nil
}

// known refuses partitions that the topic does not have.
func (m *Member) known(partitions []int) error {
	for _, i := range partitions {
		if _, err := m.g.topic.partition(i); err != nil {
			return err
		}
	}
	return nil
}

// paused reports whether the partition of a cursor is paused.
func (m *Member) paused(o *owned) bool {
	owner, ok := m.mu.paused[int(o.t.claim.p.index)]
	return ok && owner == o.t.owner
}

// forgetPauses ends those of partitions that the member has lost, be it that it has them
// again.
func (m *Member) forgetPauses() {
	maps.DeleteFunc(m.mu.paused, func(p int, _ uint64) bool {
		return !slices.ContainsFunc(m.mu.cursors, func(o *owned) bool { return int(o.t.claim.p.index) == p && m.paused(o) })
	})
}
