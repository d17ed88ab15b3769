package store

import (
	"sync"
	"sync/atomic"
)

// gap is the time in which the engine may show a part of a batch. The engine puts a
// large batch into its queue of memtables first and publishes its sequence number
// afterwards. A flush that begins in between keeps what the snapshots of that moment
// need, and no more. A reader that is made later, but before the batch is published,
// would see the older of its keys' values gone and the newer ones not yet there.
//
//	committer   apply ─── WAL rotated ── batch queued ──────────────── published
//	engine                                     flush begins ─── ...
//	gap                                        ╞════════════════════════╡
//
// The naive way is a lock: readers share it, each apply of a large batch excludes
// them. An apply can wait for a flush or for the disk, and the readers, some of which
// hold the baton, would wait with it. So nothing is locked: a reader that was made
// in a gap is dropped and made anew. Between the rotation and the publication the engine
// does no I/O, so a gap lasts for some microseconds of processor time.
//
// Invariant: only the committer rotates the WAL of a store with readers. If others
// did, any batch could be in a memtable that is flushed before its publication.
type gap struct {
	epoch  atomic.Uint64 // odd while the gap is open
	closed Signal

	mu struct {
		sync.Mutex
		applying  bool   // the engine has a batch that is not published
		queued    bool   // that batch may be in the queue of memtables
		rotations uint64 // of the WAL, since Open
	}
}

// applying notes that the engine is about to be given a batch.
func (g *gap) applying() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.applying, g.mu.queued = true, false
}

// published notes that the engine's reads see all of the batch.
func (g *gap) published() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.applying = false
	if g.open() {
		g.epoch.Add(1)
		g.closed.Fire()
	}
}

// walRotated notes that the memtable that goes with the last WAL is about to be queued.
func (g *gap) walRotated() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.queued = g.mu.applying
	g.mu.rotations++
}

// flushBegins is called while the engine holds its lock, before the flush looks
// which snapshots there are.
func (g *gap) flushBegins() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.queued && g.mu.applying && !g.open() {
		g.epoch.Add(1)
	}
}

func (g *gap) open() bool { return g.epoch.Load()%2 == 1 }

func (g *gap) rotations() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.rotations
}

// awaitWhole waits until the gap is closed and returns its epoch, to be handed to whole
// when the reader is made. A batch that waits for the disk is not in the queue yet, so
// neither a failed nor a full disk keeps readers waiting.
func (s *Store) awaitWhole() (epoch uint64) {
	for {
		if epoch = s.gap.epoch.Load(); epoch%2 == 0 {
			return epoch
		}
		closed := s.gap.closed.C()
		if s.gap.epoch.Load() != epoch {
			continue // it closed before there was a channel to tell of it
		}
		select {
		case <-closed:
		case <-s.failed:
			return epoch
		}
	}
}

// whole reports whether a reader that was made since epoch sees whole batches only.
func (s *Store) whole(epoch uint64) bool { return s.gap.epoch.Load() == epoch }
