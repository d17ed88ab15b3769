package store

import (
	"sync/atomic"
	"time"
)

// Stats are counters since the store was opened, and what it uses now.
type Stats struct {
	Operations   uint64 // accepted that changed something
	Refused      uint64
	Groups       uint64 // batches given to the engine
	Syncs        uint64
	SyncTime     time.Duration // total, over Syncs
	SyncBuckets  SyncBuckets   // Syncs by their duration
	Usage                      // of the last time that the engine could tell
	Unclean      bool          // the previous process did not close the store
	Failed       bool
	DiskFull     bool
	UnsyncedAge  time.Duration // of the oldest accepted change that is not on disk
	Shortage     string        // of what, while DiskFull
	PendingBytes int           // accepted, not yet in the WAL
	Damaged      []DamagedFile
}

// Usage is what only the engine knows.
type Usage struct {
	DiskBytes   uint64 // tables, WAL and the rest
	MemoryBytes uint64 // memtables and block cache
	WALBytes    uint64
	Tables      int64
	SharedBytes uint64 // of DiskBytes, about: tables with bodies that several queues share
	DebtBytes   uint64 // about what compactions have still to rewrite
	FreeBytes   uint64 // that the disk has left
}

// figures hold the last Usage.
type figures struct {
	asking chan struct{} // holds a token until the engine, asked before, answers
	last   atomic.Pointer[Usage]
}

// Stats returns a snapshot of the counters.
func (s *Store) Stats() Stats {
	s.askEngine()
	var st Stats
	s.mu.Peek(func() {
		st = s.stats
		st.PendingBytes = s.open.batch.Len()
		st.UnsyncedAge = s.lag.age()
	})
	if last := s.figures.last.Load(); last != nil {
		st.Usage = *last
	}
	st.Shortage = s.space.shortage()
	st.DiskFull = st.Shortage != ""
	st.Damaged = s.damagedFiles()
	st.Unclean = s.unclean
	st.Failed = s.failure.Load() != nil
	return st
}

// askEngine brings the figures up to date, unless the engine cannot tell now.
func (s *Store) askEngine() {
	stuck := s.stuck.C()
	grace := time.NewTimer(engineGrace)
	defer grace.Stop()
	select {
	case s.figures.asking <- struct{}{}:
	case <-grace.C:
		return
	case <-stuck:
		return
	case <-s.failed:
		return
	}
	if s.failure.Load() != nil || s.readers.enter() != nil {
		<-s.figures.asking
		return
	}
	s.asideBriefly(engineGrace, func() {
		s.figures.last.Store(s.usage())
		<-s.figures.asking
	}, func() {}) // what it told last will do
}

func (s *Store) usage() *Usage {
	m := s.db.Metrics()
	wal := max(m.WAL.PhysicalSize, m.WAL.Size)         // the former leaves out the file being written
	shared, _ := s.db.EstimateDiskUsage(PayloadSpan()) // 0 if it cannot tell
	free, _ := s.space.free()                          // 0 if it cannot tell, as for a store in memory
	return &Usage{
		SharedBytes: shared,
		FreeBytes:   free,
		DiskBytes:   m.DiskSpaceUsage() - m.WAL.PhysicalSize + wal,
		MemoryBytes: m.MemTable.Size + uint64(m.BlockCache.Size),
		WALBytes:    wal,
		Tables:      m.Total().TablesCount,
		DebtBytes:   m.Compact.EstimatedDebt,
	}
}
