package pebblemqtest

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// Disk is a disk in memory that crashes, fills, fails, slows down and freezes on command.
// Options.Disk opens a store on it, one at a time; what the store has written is there for the
// next Open. Its methods are safe for concurrent use. They must not be called from a function
// that is passed to View or Update. In a bubble of testing/synctest, make the disk inside the
// bubble. An unused Disk needs no closing.
type Disk struct {
	quota *storetest.Quota

	mu     sync.Mutex
	mem    *vfs.MemFS
	life   *life         // the latest store; nil if there was none
	thawed chan struct{} // closed by Thaw; nil if the disk is not frozen
	err    error         // of Fail
	delay  time.Duration // of Slow
}

// unlimited is the size of a disk that is not full.
const unlimited = 1 << 40

// NewDisk returns an empty disk that works.
func NewDisk() *Disk {
	return &Disk{quota: storetest.NewQuota(unlimited, false), mem: vfs.NewCrashableMem()}
}

// Fill takes all free space: changes that need room return pebblemq.ErrDiskFull until Free.
func (d *Disk) Fill() { d.quota.Fill() }

// Free ends Fill. The store notices within a second.
func (d *Disk) Free() { d.quota.Resize(unlimited) }

// Fail makes every change of a file fail with err from now on; a nil err is syscall.EIO. The
// store fails with its next change, for good: calls return pebblemq.ErrFailed. After Repair,
// Crash or Close another Open works.
//
// A store that has failed leaves goroutines of its engine behind, which never end. Open takes
// them for granted. In a bubble of testing/synctest they are a deadlock at the end of the test,
// so such a test cannot run in a bubble, and goleak.VerifyTestMain finds them.
func (d *Disk) Fail(err error) {
	if err == nil {
		err = syscall.EIO
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	if d.life != nil {
		d.life.failed.Store(true)
	}
}

// Repair ends Fail. A store that has failed stays so; open another one.
func (d *Disk) Repair() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = nil
}

// Slow makes each fsync take longer by delay. 0 ends it.
func (d *Disk) Slow(delay time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.delay = delay
}

// Freeze makes every change of a file wait for Thaw, as a disk that does not answer.
func (d *Disk) Freeze() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.thawed == nil {
		d.thawed = make(chan struct{})
	}
}

// Thaw ends Freeze.
func (d *Disk) Thaw() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.thawed != nil {
		close(d.thawed)
		d.thawed = nil
	}
}

// life is one store on a disk, from its Open to its end.
type life struct {
	disk    *Disk
	fs      *storetest.FS
	db      *pebblemq.DB
	free    chan struct{} // closed when the disk is to work for this store from now on
	freed   sync.Once
	failed  atomic.Bool  // Fail was called
	changes store.Signal // fires when something that was changed goes to the disk
}

// newLife begins one, with the files as they are.
func (d *Disk) newLife() *life {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := &life{disk: d, fs: storetest.NewFS(d.mem), free: make(chan struct{})}
	l.fs.Usage = d.quota.Usage
	l.fs.SetHook(l.call)
	l.failed.Store(d.err != nil)
	return l
}

// open opens the store of a life.
func (l *life) open(o *pebblemq.Options, volatile bool) error {
	ko := bridge.Options(o)
	ko.InMemory = volatile
	var err error
	if l.db, err = storetest.OpenFS(l.fs, ko); err != nil {
		return err
	}
	bridge.Store(l.db).Local(lifeKey{}, func() any { return l })
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	l.disk.life = l
	return nil
}

type lifeKey struct{}

// lifeOf returns the life of a store, or nil if Open of this package has not opened it.
func lifeOf(db *pebblemq.DB) *life {
	l, _ := bridge.Store(db).Local(lifeKey{}, func() any { return (*life)(nil) }).(*life)
	return l
}

// release makes the disk work for this store from now on, so that it can be closed.
func (l *life) release() { l.freed.Do(func() { close(l.free) }) }

func (l *life) released() bool {
	select {
	case <-l.free:
		return true
	default:
		return false
	}
}

// call is asked before each change of a file.
func (l *life) call(c storetest.Call) error {
	if c.Op == storetest.OpSync {
		l.changes.Fire()
	}
	if !l.await() {
		return nil
	}
	l.disk.mu.Lock()
	err, delay := l.disk.err, l.disk.delay
	l.disk.mu.Unlock()
	if err != nil && c.Op != storetest.OpClose {
		return err
	}
	if delay > 0 && c.Op == storetest.OpSync {
		time.Sleep(delay)
	}
	return l.disk.quota.Hook(c)
}

// await waits while the disk is frozen. It reports false if the disk is to work.
func (l *life) await() bool {
	for !l.released() {
		l.disk.mu.Lock()
		thawed := l.disk.thawed
		l.disk.mu.Unlock()
		if thawed == nil {
			return true
		}
		select {
		case <-thawed:
		case <-l.free:
		}
	}
	return false
}
