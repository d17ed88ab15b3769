package store

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// spaceCheck refuses growth before the disk is full, because the engine does not survive meeting
// its end. The reserve is enough for the engine to write out its buffers and for Ops that make
// room.
//
// An Open that finds the disk full gives the ballast up. The store is then there to be
// emptied, until there is room for a new ballast. It refuses growth, which would spend
// the old one. Ops that make room may use half of the space that is left.
type spaceCheck struct {
	fs      vfs.FS
	dir     string
	reserve uint64
	ballast *ballast
	log     *slog.Logger
	since   int // bytes since the last look; the committer's

	full     atomic.Bool
	lack     atomic.Pointer[lack] // of something else than space, while full
	watching atomic.Bool
	emptying atomic.Bool   // the ballast was given up
	floor    atomic.Uint64 // the free space at which Ops that make room are refused
	eased    Signal        // fires when it is full no more
}

const (
	spaceCheckBytes    = 1 << 20
	spaceCheckInterval = 100 * time.Millisecond // while full
	spaceHeadroom      = 16 << 20
)

// Freer marks Ops that make room: they are let in when the disk is nearly
// full, until half the reserve is gone. If it was gone at Open, they may use half
// of the space that is left then.
type Freer interface{ Frees() }

// FreeingFunc is an OpFunc that is a Freer.
type FreeingFunc struct{ OpFunc }

// Frees marks it.
func (FreeingFunc) Frees() {}

// Prompt marks Ops that write little or nothing and never wait: they are let in whatever
// the disk and however full the open group. Callers use them to give back what they hold.
type Prompt interface{ Prompt() }

// PromptFunc is an OpFunc that is Prompt.
type PromptFunc struct{ OpFunc }

// Prompt marks it.
func (PromptFunc) Prompt() {}

// QuietFunc is an OpFunc that writes nothing unless Grow or Create allows it. So
// it is let in always: what there is can be found, counted and opened whatever
// the disk.
type QuietFunc func(t *Turn) error

func (f QuietFunc) Run(t *Turn) error { return f(t) }
func (f QuietFunc) Undo()             {}
func (f QuietFunc) Visible(*Turn)     {}

// admit refuses op if the disk has no room for it.
func (c *spaceCheck) admit(op Op) error {
	if !c.full.Load() {
		return nil
	}
	switch op.(type) {
	case QuietFunc, Prompt:
		return nil
	}
	free, ok := c.free()
	if _, frees := op.(Freer); frees && ok && free > c.floor.Load() {
		return nil
	}
	return c.refusal(free)
}

// Grow refuses if the disk is nearly full. A QuietFunc calls it before it writes.
func (t *Turn) Grow() error {
	c := &t.s.space
	if !c.full.Load() {
		return nil
	}
	free, _ := c.free()
	return c.refusal(free)
}

func (c *spaceCheck) refusal(free uint64) error {
	if l := c.lack.Load(); l != nil {
		return l
	}
	return fmt.Errorf("%w: %s has %d MiB left, %d are kept in reserve", ErrDiskFull, c.dir, free>>20, c.wanted()>>20)
}

// shortness is the error of what there is too little of, nil if there is enough. Unlike
// refusal it does not ask the disk how much is left.
func (c *spaceCheck) shortness() error {
	if !c.full.Load() {
		return nil
	}
	if l := c.lack.Load(); l != nil {
		return l
	}
	return fmt.Errorf("%w: %s has less left than the %d MiB that are kept in reserve", ErrDiskFull, c.dir, c.wanted()>>20)
}

// shortage names what there is too little of, or returns "".
func (c *spaceCheck) shortage() string {
	if !c.full.Load() {
		return ""
	}
	if l := c.lack.Load(); l != nil {
		return l.what
	}
	return "disk space"
}

// wrote counts what goes to the disk and looks from time to time.
func (c *spaceCheck) wrote(s *Store, n int) {
	if c.since += n; c.since >= spaceCheckBytes {
		c.since = 0
		s.lookAtSpace()
		c.makeBallast(c.ballast.size)
	}
}

// beforeOpen gives the ballast up if the store could not be emptied otherwise, or
// sees that there is one. It comes before the engine opens: if the file system
// promises space that is not there, the engine finds out while the ballast can help.
func (c *spaceCheck) beforeOpen() {
	c.floor.Store(c.reserve / 2)
	if free, ok := c.free(); ok && free <= c.reserve/2 {
		c.giveBallast()
	}
	c.makeBallast(firstBallast)
}

// giveBallast reports whether the disk has more room now.
func (c *spaceCheck) giveBallast() bool {
	if _, ok := c.free(); !ok {
		return false // it would not be known when there is room again
	}
	c.emptying.Store(true)
	return c.ballast.remove()
}

// afterOpen settles how much room there is to empty the store.
func (c *spaceCheck) afterOpen() {
	if free, ok := c.free(); ok && c.emptying.Load() {
		c.floor.Store(min(c.reserve, free) / 2)
	}
}

// makeBallast makes n bytes of the ballast if the disk has room for more than that.
func (c *spaceCheck) makeBallast(n int64) {
	if free, ok := c.free(); !ok || c.emptying.Load() || free < c.reserve+uint64(n) {
		return
	}
	if err := c.ballast.make(n); err != nil {
		c.log.Info("no ballast", "dir", c.dir, "error", err)
	}
}

// recovered reports whether growth need not be refused any more.
func (c *spaceCheck) recovered() bool {
	free, ok := c.free()
	if !c.emptying.Load() {
		return !ok || free >= c.wanted()
	}
	if ok && free < c.wanted() {
		return false
	}
	if err := c.ballast.make(c.ballast.size); isFull(err) {
		return false
	} else if err != nil {
		c.log.Info("no ballast", "dir", c.dir, "error", err)
	}
	c.floor.Store(c.reserve / 2)
	c.emptying.Store(false)
	return true
}

// wanted returns the free space that growth is refused below.
func (c *spaceCheck) wanted() uint64 {
	if c.emptying.Load() {
		return c.reserve + uint64(c.ballast.size)
	}
	return c.reserve
}

// free returns the free space, if the file system can tell.
func (c *spaceCheck) free() (bytes uint64, ok bool) {
	if c.reserve == 0 {
		return 0, false
	}
	u, err := c.fs.GetDiskUsage(c.dir)
	return u.AvailBytes, err == nil
}

// lookAtSpace starts to refuse growth if space is short.
func (s *Store) lookAtSpace() {
	free, ok := s.space.free()
	if ok && free < s.space.reserve || s.space.emptying.Load() {
		s.outOfSpace(nil)
	}
}

// outOfSpace refuses growth until there is space again, or until the shortage is
// over that the engine has met. It takes no lock: the guard calls it from inside
// the engine.
func (s *Store) outOfSpace(met error) {
	s.space.lack.Store(newLack(met))
	s.space.full.Store(true)
	if s.space.watching.CompareAndSwap(false, true) {
		s.log.Warn("store is short of "+s.space.shortage(), "dir", s.space.dir, "error", s.stuckError())
		go s.watchSpace()
	}
}

// watchSpace polls, while the disk is full and only then, until it is not. Meanwhile it ends the
// waits for an fsync that has no room to happen.
func (s *Store) watchSpace() {
	tick := time.NewTicker(spaceCheckInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.stop:
			return
		case <-s.failed:
			return
		}
		if stuck := s.guard.stuck.Load(); stuck > 0 || !s.space.recovered() {
			s.space.full.Store(true) // another watcher may have ended after this one began
			if stuck > 0 {
				s.leaveWaiting()
			}
			continue
		}
		s.space.watching.Store(false)
		s.space.full.Store(false)
		s.space.eased.Fire()
		s.log.Info("shortage is over", "dir", s.space.dir)
		return
	}
}

// Eased returns a channel that is closed when the next shortage is over. Who takes it before
// a change that is refused, and then waits for it, misses none.
func (s *Store) Eased() <-chan struct{} { return s.space.eased.C() }

// stuckError is the error of a call that the engine would keep waiting.
func (s *Store) stuckError() error {
	free, _ := s.space.free()
	return s.space.refusal(free)
}

// leaveWaiting tells everyone who waits for the disk that it is full. Their
// Ops stay in the order and become visible when space returns.
func (s *Store) leaveWaiting() {
	err := s.stuckError()
	s.stuck.Fire()
	s.failEntries(err)
}
