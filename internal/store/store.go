package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Store is one open store. All its methods are safe for concurrent use.
type Store struct {
	opts    Options
	log     *slog.Logger
	db      *pebble.DB
	lock    *dirLock
	guard   *guard
	clean   bool // the clean mark is on disk
	unclean bool // the last life ended without Close
	crashed bool // Close leaves no clean mark: this store is made of one that has none

	// maxOpen is the size at which the open group turns callers away until
	// the committer takes it, so that one group stays well below what the
	// engine treats as a large batch.
	maxOpen int

	accepted atomic.Uint64 // newest accepted Op; written under mu
	applied  atomic.Uint64 // newest group that the engine's reads can see
	settled  Signal        // fires when applied moves
	stuck    Signal        // fires while the engine waits for space
	syncing  atomic.Int32  // groups whose fsync is under way
	released struct {      // by the last fsync
		count atomic.Int64 // callers
		took  atomic.Int64 // its duration
	}
	settling atomic.Int32 // readers that wait for the open group to be applied
	gap      gap
	bridges  bridges

	compactions *compactions
	damages     damages

	mu       baton // guards everything down to the blank line
	turn     Turn
	open     *group
	applying *group // handed to the engine, not yet seen by its reads
	groups   uint64 // number of the open group
	marks    seqMarks
	sealed   uint64 // newest Op of the groups before it
	touched  []Sealer
	late     late
	promised int // bytes that the touched will write
	posted   []post
	entries  fifo // accepted, not yet visible
	durable  uint64
	lag      lag
	wake     []*waiter
	room     Signal
	closing  bool
	timers   timerHeap
	catalog  catalog
	payloads payloads
	stats    Stats

	state     chan struct{} // holds the token that lets a transaction read the application's keyspace
	stateHeld atomic.Bool   // the token is with a transaction
	work      chan struct{} // wakes the committer
	timerCh   chan struct{} // wakes the scheduler
	syncq     chan *group
	stop      chan struct{} // ends the committer and the scheduler

	failure  atomic.Pointer[error]
	failed   chan struct{} // closed by poison
	down     chan struct{} // closed by poison or Close
	downOnce sync.Once
	closed   chan struct{} // closed when Close is done
	closeErr error

	closeOnce, closedOnce sync.Once

	kernel   sync.WaitGroup // the kernel's own goroutines
	spawned  sync.WaitGroup // those of the layers
	spawnCtx context.Context
	cancel   context.CancelFunc
	readers  readers
	figures  figures
	space    spaceCheck

	locals  sync.Map
	waiters sync.Pool
}

// Down is closed when the store stops taking writes, by Close or by failure.
// Whatever blocks on behalf of a caller selects on it and then returns Cause.
func (s *Store) Down() <-chan struct{} { return s.down }

// Closed is closed when Close is done: nothing that was under way ends after that.
func (s *Store) Closed() <-chan struct{} { return s.closed }

// Failed is closed when the disk fails.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Cause says why Down is closed: ErrFailed with the first error of the disk,
// else ErrClosed; nil while the store is up.
func (s *Store) Cause() error {
	down := false // looked at first: a failure that comes in between is not a Close
	select {
	case <-s.down:
		down = true
	default:
	}
	if p := s.failure.Load(); p != nil {
		return *p
	}
	if down {
		return ErrClosed
	}
	return nil
}

// Unclean reports that the previous life of the store ended without Close.
func (s *Store) Unclean() bool { return s.unclean }

// Log returns the logger of the store.
func (s *Store) Log() *slog.Logger { return s.log }

// MemoryBytes is the memory that the store was given; layers may take a share of it.
func (s *Store) MemoryBytes() int64 { return s.opts.MemoryBytes }

// Tracer returns the tracer of the store, nil if there is none. The layers ask before they make a
// Step, so that a store without one pays for the question only.
func (s *Store) Tracer() Tracer { return s.opts.Tracer }

// Now reads the store's clock. Within an Op use Turn.Now.
func (s *Store) Now() time.Time { return s.opts.Clock() }

// Local returns the value kept under key for as long as the store is open,
// making it at the first call. Layers keep their memory of the store there.
func (s *Store) Local(key any, create func() any) any {
	if v, ok := s.locals.Load(key); ok {
		return v
	}
	v, _ := s.locals.LoadOrStore(key, create())
	return v
}

// Spawn runs f in a goroutine that Close cancels and waits for. It reports
// false, and runs nothing, once the store is closing.
func (s *Store) Spawn(f func(ctx context.Context)) (ok bool) {
	s.mu.Peek(func() { ok = s.spawn(f) })
	return ok
}

func (s *Store) spawn(f func(ctx context.Context)) bool {
	if s.closing {
		return false
	}
	s.spawned.Add(1)
	go func() {
		defer s.spawned.Done()
		f(s.spawnCtx)
	}()
	return true
}

// poison records the first error after which nothing may be acknowledged any
// more, and wakes everyone who waits. It takes no lock: the engine calls it
// from under its own.
func (s *Store) poison(cause error) {
	err := error(&failure{cause})
	if !s.failure.CompareAndSwap(nil, &err) {
		return
	}
	close(s.failed)
	s.goDown()
	go s.failWaiters(err)
	s.log.Error("store failed", "error", cause)
}

// failure is the error of a store that has failed.
type failure struct{ cause error }

func (f *failure) Error() string   { return fmt.Sprintf("%v: %v", ErrFailed, f.cause) }
func (f *failure) Unwrap() []error { return []error{ErrFailed, f.cause} }

// firstError returns the error that made the store fail. It is without ErrFailed,
// which says that the store is open.
func (s *Store) firstError() error {
	if f := (*failure)(nil); errors.As(s.Cause(), &f) {
		return f.cause
	}
	return s.Cause()
}

func (s *Store) goDown() { s.downOnce.Do(func() { close(s.down) }) }

// failWaiters ends every wait for an fsync that will not come.
func (s *Store) failWaiters(err error) {
	s.failEntries(err) // at once, even if an Op reads and has the baton
	s.mu.Lock()        // after that Op, which may have begun to wait since; the next one is refused
	waiting := s.entries.takeWaiters()
	s.entries = fifo{}
	s.room.Fire()
	s.mu.Unlock()
	failAll(waiting, err)
}

// failEntries ends the waits of all Ops that have run. The Ops stay in the order.
func (s *Store) failEntries(err error) {
	var waiting []*waiter
	s.mu.Peek(func() { waiting = s.entries.takeWaiters() })
	failAll(waiting, err)
}

func failAll(waiting []*waiter, err error) {
	for _, w := range waiting {
		w.fail(err)
	}
}

// Close waits for what was accepted to be durable, ends every goroutine of
// the store and releases the directory. It returns the store's failure, if
// it had one; calling it again returns the same.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		stop := s.watchProgress()
		go func() {
			defer stop()
			s.end()
			s.closeWith(s.shut())
		}()
	})
	<-s.closed
	return s.closeErr
}

// end turns callers away and ends what the layers have spawned.
func (s *Store) end() {
	s.mu.Peek(func() { s.closing = true })
	s.room.Fire()
	s.goDown()
	s.cancel()
	s.spawned.Wait()
}

// closeWith releases the directory and lets Close return.
func (s *Store) closeWith(err error) {
	s.closedOnce.Do(func() {
		s.closeErr = errors.Join(err, s.unlock())
		close(s.closed)
	})
}

// closePatience is how long Close waits for the disk without any progress, and for
// reads that are under way.
const closePatience = 30 * time.Second

// watchProgress fails the store if the disk stays silent until stop is called.
// Whatever Close waits for ends with the failure, except for an operation whose read the
// disk never answers: it holds the baton. Close leaves it behind then.
func (s *Store) watchProgress() (stop func()) {
	done := make(chan struct{})
	go func() {
		s.awaitProgress(done)
		patience := time.NewTimer(closePatience + engineGrace)
		defer patience.Stop()
		select {
		case <-done:
		case <-patience.C:
			s.leave()
		}
	}()
	return func() { close(done) }
}

// awaitProgress returns when the store has failed or done is closed.
func (s *Store) awaitProgress(done <-chan struct{}) {
	look := time.NewTicker(closePatience)
	defer look.Stop()
	for last := s.reached(0); ; {
		select {
		case <-done:
			return
		case <-s.failed:
			return
		case <-look.C:
		}
		now := s.reached(last)
		if now == last {
			s.poison(fmt.Errorf("the disk did not answer for %v while the store was being closed", closePatience))
			return
		}
		last = now
	}
}

// leave ends Close while a goroutine of the store hangs. Nothing writes to the directory any
// more.
func (s *Store) leave() {
	s.log.Error("a read does not end: goroutines and files of the store stay behind", "waited", closePatience)
	s.guard.fence()
	s.guard.onDisk.ended.Store(true)
	s.closeWith(s.Cause())
}

// reached grows with whatever the engine accepts and the disk confirms. It returns last
// while an operation holds the baton: one that waits for the disk makes no progress.
func (s *Store) reached(last uint64) uint64 {
	if !s.mu.TryLock() {
		return last
	}
	defer s.mu.Unlock()
	return 1 + s.applied.Load() + s.stats.Syncs
}

// drain waits until everything accepted is visible, and with it whatever that
// posts, so that the last group is really the last.
func (s *Store) drain() {
	for {
		s.mu.Lock()
		if s.entries.len() == 0 || s.failure.Load() != nil {
			s.mu.Unlock()
			return
		}
		last := &waiter{ch: make(chan error, 1)}
		s.entries.push(entry{waiter: last})
		s.mu.Unlock()
		<-last.ch
	}
}

func (s *Store) unlock() error {
	if err := s.lock.Close(); err != nil {
		return fmt.Errorf("pebblemq: release %s: %w", s.opts.Dir, err)
	}
	return nil
}

// closeRecord closes the sync record. A failed disk may never let it.
func (s *Store) closeRecord() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		s.guard.onDisk.close()
	}()
	select {
	case <-closed:
	case <-s.failed:
	}
}

// closeEngine closes the engine, unless a part of it is parked or does not end: its Close
// would wait for that part. Nothing is lost then, because the WAL is on disk.
func (s *Store) closeEngine() {
	s.guard.giveUpWaiting()
	aside := s.compactions.parked.C()
	if s.failure.Load() != nil || s.compactions.setAside() > 0 {
		return
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if err := s.db.Close(); err != nil {
			s.log.Warn("engine close", "error", err)
		}
	}()
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select {
	case <-closed:
	case <-aside:
	case <-s.failed:
	case <-patience.C:
		s.log.Warn("the engine does not close: its files stay open", "waited", closePatience)
	}
}

// leaveEngine closes the engine after the last read. Reads that go on keep its files open.
func (s *Store) leaveEngine() {
	if s.readers.shut() {
		s.closeEngine()
	} else {
		s.log.Warn("reads go on while the store is closed: its files stay open", "waited", closePatience)
	}
	s.compactions.close()
}

// shut closes the engine. After a failure it leaves the engine parked behind a fence instead:
// the engine's Close could hang, and must not touch the directory that the next Open recovers.
func (s *Store) shut() error {
	s.guard.giveUpWaiting() // a full disk must not hold up what is to be drained
	s.drain()
	close(s.stop)
	ended := make(chan struct{})
	go func() {
		s.kernel.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-s.failed:
	}
	s.leaveEngine()
	s.closeRecord()
	s.space.ballast.close()
	s.lag.alarm.Stop()
	s.guard.fence()
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}
