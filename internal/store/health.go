package store

import "time"

// Health is what keeps a store from its work, or soon may.
type Health struct {
	Err     error         // why it takes no changes; nil if it does
	Lag     time.Duration // age of the oldest change that is not on disk, if it is too high; else 0
	Damaged []DamagedFile
}

// Health asks neither the disk nor the engine.
func (s *Store) Health() Health {
	h := Health{Err: s.Err(), Damaged: s.damagedFiles()}
	s.mu.Peek(func() {
		if age := s.lag.age(); age > s.lag.limit {
			h.Lag = age
		}
	})
	return h
}

// Err returns why the store takes no changes, or nil if it does. It asks neither.
func (s *Store) Err() error {
	if err := s.Cause(); err != nil {
		return err
	}
	if err := s.damages.refusal(); err != nil {
		return err
	}
	return s.space.shortness()
}
