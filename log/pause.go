package log

import (
	"context"
	"maps"
)

// Pause keeps the records of the given partitions from this member, without giving
// the partitions up, until Resume; of all that it owns if none is given. What was
// returned before stays valid. A pause outlasts rebalances and Seek as long as the
// member keeps the partition, and ends when it loses it. Pausing a partition that
// the member does not own does nothing. Pause and Resume wait for a read of the member
// that is under way.
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
		m.mu.paused = make(map[int]bool)
	}
	for _, p := range partitions {
		m.mu.paused[p] = true
	}
	m.forgetPauses()
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

// forgetPauses ends those of partitions that the member has lost.
func (m *Member) forgetPauses() {
	maps.DeleteFunc(m.mu.paused, func(p int, _ bool) bool {
		for _, o := range m.mu.cursors {
			if int(o.t.claim.p.index) == p {
				return false
			}
		}
		return true
	})
}
