package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// commitLoop is the one goroutine that writes to the engine. It may be parked for ever inside
// it, so every wait for it also watches for failure.
func (s *Store) commitLoop() {
	defer s.kernel.Done()
	defer close(s.syncq)
	interval := time.NewTimer(time.Hour)
	interval.Stop()
	defer interval.Stop()
	trim := newTrim()
	defer trim.timer.Stop()
	remains := newRemains()
	defer remains.timer.Stop()
	unsynced := false // NoSync groups in the WAL's buffer, or what is to be sealed late; timer running
	for {
		due, last := false, false
		select {
		case <-s.work:
		case <-interval.C:
			due = true
		case <-trim.timer.C:
			if err := s.flushTrim(&trim); err != nil {
				s.poison(err)
				return
			}
		case <-remains.timer.C:
			if err := remains.deleteAgain(s); err != nil {
				s.poison(err)
				return
			}
		case <-s.stop:
			last = true
		}
		s.checkLayers()
		s.buildBridges()
		for {
			s.gather()
			g := s.seal(due && unsynced, last)
			if g == nil {
				if !unsynced && s.late.waits() {
					unsynced = true
					interval.Reset(s.opts.SyncInterval)
				}
				break
			}
			if err := s.apply(g); err != nil {
				s.poison(err)
				return
			}
			s.markApplied(g)
			if len(g.trims) > 0 {
				trim.add(g.trims, s.gap.rotations())
				remains.add(g.trims)
			}
			switch {
			case g.sync:
				unsynced = false
				if !s.queueSync(g) {
					return
				}
			case !unsynced:
				unsynced = true
				interval.Reset(s.opts.SyncInterval)
			}
			if !g.sync {
				s.release(g)
			}
			due = false
			if last {
				return
			}
		}
		if last {
			return // failed
		}
	}
}

func (s *Store) queueSync(g *group) bool {
	select {
	case s.syncq <- g:
		return true
	case <-s.failed:
		return false
	}
}

const maxSyncing = 1

// seal takes the open group, if it has anything in it or an fsync is wanted,
// and opens the next. The last group of a store carries the clean mark.
func (s *Store) seal(syncDue, last bool) *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure.Load() != nil {
		return nil
	}
	g := s.open
	if s.accepted.Load() == s.sealed && !syncDue && !last {
		return nil
	}
	if g.sync && s.syncing.Load() >= maxSyncing && s.settling.Load() == 0 && g.batch.Len()+s.promised < s.maxOpen/2 && !last {
		return nil
	}
	s.turn.now = time.Time{}
	g.sync = g.sync || syncDue || last
	if g.sync {
		s.syncing.Add(1)
		s.lag.sealed()
		s.late.seal(&s.turn)
	}
	for i := 0; i < len(s.touched); i++ {
		s.touched[i].Seal(&s.turn)
	}
	clear(s.touched)
	s.touched, s.promised = s.touched[:0], 0
	g.last, g.number = s.accepted.Load(), s.groups
	s.sealed = g.last
	s.marks.put(&s.turn, g.last)
	if last && !s.crashed {
		s.turn.Set(keyClean, nil)
	}
	g.repr = g.batch.Repr()
	s.applying = g
	s.open = &group{batch: s.db.NewBatch()}
	s.groups++
	s.stats.Groups++
	s.room.Fire()
	return g
}

// apply hands a group to the engine. A panic of the engine leaves it
// unusable, but must not take the host process down.
func (s *Store) apply(g *group) (err error) {
	defer caught(&err)
	s.space.wrote(s, g.batch.Len())
	if len(g.trims) > 0 {
		s.bridges.cuts.add(g.trims)
	}
	s.gap.applying()
	if g.sync {
		err = s.db.ApplyNoSyncWait(g.batch, pebble.Sync)
	} else {
		err = s.db.Apply(g.batch, pebble.NoSync)
	}
	if err == nil {
		s.gap.published()
	}
	return err
}

// caught turns a panic of the engine into an error.
func caught(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("engine panic: %v", r)
	}
}

// markApplied lets the engine answer for the group from here on.
func (s *Store) markApplied(g *group) {
	s.mu.Lock()
	s.applying = nil
	s.mu.Unlock()
	s.applied.Store(g.number)
	s.settled.Fire()
}

func (s *Store) release(g *group) {
	g.index.forget()
	if err := g.batch.Close(); err != nil {
		s.log.Warn("release a batch", "error", err)
	}
}

// syncLoop waits for the fsync of each group, in order, and moves the
// watermark. The engine syncs on its own; groups queue up behind one fsync
// and are all covered by the next.
func (s *Store) syncLoop() {
	defer s.kernel.Done()
	for g := range s.syncq {
		start := time.Now()
		if err := g.batch.SyncWait(); err != nil {
			s.poison(err)
			return
		}
		if s.failure.Load() != nil {
			return
		}
		s.release(g)
		s.guard.onDisk.groupSynced(g.last)
		s.syncing.Add(-1)
		s.publish(g.last, time.Since(start))
	}
}

// gather lets the open group grow a little before it goes. Callers released by an fsync usually
// submit again at once. Sealing immediately would make them miss this group: of sixteen waiting
// callers each fsync would cover eight. It yields while they come, and for a fraction of an
// fsync at most, so that a lone caller and a busy processor lose nothing.
func (s *Store) gather() {
	released, took := s.released.count.Load(), s.released.took.Load()
	if released < 2 {
		return
	}
	start, come := time.Now(), uint64(0)
	for {
		n := s.accepted.Load() - s.sealed
		if n == come || n >= uint64(released) || int64(time.Since(start)) > took/gatherShare {
			return
		}
		come = n
		runtime.Gosched()
	}
}

// gatherShare is the part of an fsync that gather may take.
const gatherShare = 4

// publish shows and acknowledges everything up to seq.
func (s *Store) publish(seq uint64, took time.Duration) {
	s.mu.Lock()
	s.durable = seq
	caughtUp := s.lag.synced()
	s.stats.Syncs++
	s.stats.SyncTime += took
	s.stats.SyncBuckets.add(took)
	s.advance()
	wake := s.wake
	s.wake = nil
	s.mu.Unlock()
	s.released.count.Store(int64(len(wake)))
	s.released.took.Store(int64(took))
	if caughtUp {
		s.log.Info("fsyncs have caught up", "dir", s.opts.Dir)
	}
	s.kick() // Visible may have posted
	for _, w := range wake {
		w.done(w.result)
	}
}

// settle waits until the engine's reads see everything accepted so far. After
// a failure it returns at once: reads then show what there is. While the engine
// is stuck on a full disk or a shortage it returns ErrDiskFull.
func (s *Store) settle(ctx context.Context) error {
	if err := CheckContext(ctx); err != nil {
		return err
	}
	// Under the baton, so that this counts an Op in mid-turn. Its caller may have returned
	// already.
	if err := s.take(ctx); errors.Is(err, ErrFailed) {
		return nil
	} else if err != nil {
		return err
	}
	target := s.groups - 1 // may have nothing but what was sealed late
	if s.accepted.Load() > s.sealed {
		target = s.groups
	}
	s.mu.Unlock()
	if s.applied.Load() >= target {
		return nil
	}
	// A reader does not wait for the fsync that holds the open group back.
	s.settling.Add(1)
	defer s.settling.Add(-1)
	s.kick()
	for {
		settled, stuck := s.settled.C(), s.stuck.C()
		if s.applied.Load() >= target {
			return nil
		}
		select {
		case <-settled:
		case <-stuck:
			return s.stuckError()
		case <-s.failed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
