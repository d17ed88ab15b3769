package store

import (
	"errors"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// compactions tells the engine when it may compact: one compaction at a time. The engine's own
// scheduler wakes up ten times a second to look whether more is allowed. This one acts when it
// is asked and when a compaction ends, so an idle store sleeps.
//
//	            TrySchedule, grant                  Done
//	waiting ──────────────────────▶ running ──────────────────────▶ ended
//	   ▲                               │ fails: Done, then a pause     │
//	   └───────────────────────────────┼──────────────────────────────┘
//	                                   │ its input cannot be read
//	                                   ▼
//	                              set aside: for good
//
// A compaction whose input cannot be read is set aside: its goroutine is parked and
// its place is given to the next. The engine would retry it at once, again and again,
// and panic in some places. While it is parked, the engine takes its input files
// to be in use and compacts the others.
type compactions struct {
	db pebble.DBForCompaction // set once, by Register

	mu struct {
		sync.Mutex
		running  int // those set aside do not count
		aside    int
		failures int         // in a row
		paused   bool        // as it is until start
		resume   *time.Timer // ends the pause; nil before the first
		granting int         // calls of the engine under way
		refused  bool        // the engine was told to wait
		closed   bool
	}
	idle   sync.Cond // granting is 0
	parked Signal    // fires when a compaction is set aside
}

// Bounds of the pause after a failed compaction.
const (
	minCompactionPause = 100 * time.Millisecond
	maxCompactionPause = time.Minute
)

func newCompactions() *compactions {
	c := &compactions{}
	c.mu.paused = true
	c.idle.L = &c.mu
	return c
}

// concurrency is how many compactions the engine may count as running.
func (c *compactions) concurrency() (lower, upper int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return 1 + c.mu.aside, 1 + c.mu.aside
}

// setAside reports how many compactions are parked.
func (c *compactions) setAside() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.aside
}

// Register is called by the engine when it opens.
func (c *compactions) Register(_ int, db pebble.DBForCompaction) { c.db = db }

// Unregister is called by the engine when it closes. It waits until no call of the
// engine is under way.
func (c *compactions) Unregister() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked()
	for c.mu.granting > 0 {
		c.idle.Wait()
	}
}

// close ends the pause of an engine that is given up.
func (c *compactions) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked()
}

func (c *compactions) closeLocked() {
	c.mu.closed = true
	if c.mu.resume != nil {
		c.mu.resume.Stop()
	}
}

// TrySchedule asks for a place. The engine holds its lock.
func (c *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.refused = !c.roomLocked(); c.mu.refused {
		return false, nil
	}
	c.mu.running++
	return true, c
}

func (c *compactions) roomLocked() bool { return !c.mu.closed && !c.mu.paused && c.mu.running == 0 }

// UpdateGetAllowedWithoutPermission has nothing to do: the limit does not change
// with the load.
func (c *compactions) UpdateGetAllowedWithoutPermission() {}

// Started, MeasureCPU and CumulativeStats belong to the handle of a granted place.
func (c *compactions) Started()                                          {}
func (c *compactions) MeasureCPU(pebble.CompactionGoroutineKind)         {}
func (c *compactions) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done gives a place back. The engine holds no lock.
func (c *compactions) Done() {
	c.mu.Lock()
	c.mu.running--
	c.mu.Unlock()
	c.grant()
}

// grant gives a free place to the compaction that waits for one, if any does.
func (c *compactions) grant() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.granting++
	for c.mu.refused = true; c.mu.refused && c.roomLocked(); {
		c.mu.refused = false
		c.mu.running++
		if !c.offer() {
			c.mu.running-- // but the engine may have asked while the place seemed taken
		}
	}
	if c.mu.granting--; c.mu.granting == 0 {
		c.idle.Broadcast()
	}
}

// offer reports whether the engine took the place. The engine's lock comes before
// the one of c, which is let go meanwhile.
func (c *compactions) offer() bool {
	c.mu.Unlock()
	defer c.mu.Lock()
	waiting, _ := c.db.GetWaitingCompaction()
	return waiting && c.db.Schedule(c)
}

// ended notes how a compaction went. After a failure there is a pause before
// the next, which may well be the same one.
func (c *compactions) ended(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.mu.failures = 0
	case !errors.Is(err, pebble.ErrCancelledCompaction):
		c.pauseLocked()
	}
}

func (c *compactions) pauseLocked() {
	pause := min(minCompactionPause<<min(c.mu.failures, 16), maxCompactionPause)
	c.mu.failures++
	if c.mu.closed {
		return
	}
	c.mu.paused = true
	if c.mu.resume == nil {
		c.mu.resume = time.AfterFunc(pause, c.endPause)
		return
	}
	c.mu.resume.Reset(pause)
}

// start lets compactions run. The engine waits for those under way before its Open
// returns, so none may begin earlier: it could be set aside.
func (c *compactions) start() { c.endPause() }

func (c *compactions) endPause() {
	c.mu.Lock()
	c.mu.paused = false
	c.mu.Unlock()
	c.grant()
}

// park sets the calling compaction aside. It does not return.
func (c *compactions) park() {
	c.mu.Lock()
	c.mu.running--
	c.mu.aside++
	c.mu.Unlock()
	c.parked.Fire()
	go c.grant()
	select {}
}
