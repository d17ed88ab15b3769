package storetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrInjected is the error of a Fault that names no other.
var ErrInjected = errors.New("injected fault")

// Fault fails calls of one class and operation from the N-th on (counted from
// 1). Use its Hook.
type Fault struct {
	Class, Op string // empty: any
	N         int64
	Forever   bool          // else only the N-th
	For       time.Duration // with Forever: ends that long after the N-th
	Err       error         // default ErrInjected

	seen  atomic.Int64
	began atomic.Int64 // the time of the N-th, in Unix nanoseconds
	off   atomic.Bool
}

// Hook is to be set with FS.SetHook.
func (f *Fault) Hook(c Call) error {
	if f.Class != "" && f.Class != c.Class || f.Op != "" && f.Op != c.Op || f.off.Load() {
		return nil
	}
	n := f.seen.Add(1)
	if n == f.N {
		f.began.Store(time.Now().UnixNano())
	}
	if n != f.N && !(f.Forever && n > f.N) || f.over() {
		return nil
	}
	if f.Err != nil {
		return f.Err
	}
	return ErrInjected
}

func (f *Fault) over() bool {
	return f.For > 0 && time.Since(time.Unix(0, f.began.Load())) >= f.For
}

// Hit reports whether the fault has struck.
func (f *Fault) Hit() bool { return f.seen.Load() >= f.N }

// Stop ends the fault.
func (f *Fault) Stop() { f.off.Store(true) }

// Quota is a disk of limited size: its Hook fails what does not fit with
// ENOSPC, its Usage reports what is left.
type Quota struct {
	mu   sync.Mutex
	size map[string]int
	used int
	max  int
	lie  bool
}

// NewQuota returns a disk with room for max bytes. One that lies reports
// plenty of space at all times.
func NewQuota(max int, lie bool) *Quota {
	return &Quota{size: make(map[string]int), max: max, lie: lie}
}

// Resize changes the size of the disk.
func (q *Quota) Resize(max int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.max = max
}

// Used returns how many bytes are taken.
func (q *Quota) Used() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used
}

// Fill shrinks the disk until nothing is left of it.
func (q *Quota) Fill() { q.Resize(q.Used()) }

// Hook is to be set with FS.SetHook.
func (q *Quota) Hook(c Call) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch c.Op {
	case OpCreate, OpOpenRW, OpMkdir:
		if q.used >= q.max {
			return syscall.ENOSPC
		}
		if c.Op == OpCreate {
			q.free(c.Name)
		}
	case OpWrite:
		if c.Class == ClassRecord {
			return nil // written in place
		}
		if q.used+c.Bytes > q.max {
			return syscall.ENOSPC
		}
		q.size[c.Name] += c.Bytes
		q.used += c.Bytes
	case OpAllocate:
		more := c.Bytes - q.size[c.Name]
		if c.Class != ClassBallast || more <= 0 {
			return nil // of other files it is only a hint
		}
		if q.used+more > q.max {
			return syscall.ENOSPC
		}
		q.size[c.Name] += more
		q.used += more
	case OpRemove:
		q.free(c.Name)
	case OpRename, OpReuse:
		q.free(c.Name)
		q.size[c.Name] = q.size[c.Old]
		delete(q.size, c.Old)
		if c.Op == OpReuse { // will be written over
			q.used -= q.size[c.Name]
			q.size[c.Name] = 0
		}
	}
	return nil
}

func (q *Quota) free(name string) {
	q.used -= q.size[name]
	delete(q.size, name)
}

// Usage is to be set as FS.Usage.
func (q *Quota) Usage() (vfs.DiskUsage, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := vfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 40, UsedBytes: uint64(q.used)}
	if !q.lie {
		u.TotalBytes = uint64(q.max)
		u.AvailBytes = uint64(max(0, q.max-q.used))
	}
	return u, nil
}

// Gate holds up calls of one class and operation while it is shut. Use its
// Hook.
type Gate struct {
	Class, Op string // empty: any

	mu   sync.Mutex
	shut chan struct{}
	held int
}

// Shut makes calls wait from now on.
func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

// Open lets them go on.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

// Held returns how many calls have been held up so far.
func (g *Gate) Held() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held
}

// Hook is to be set with FS.SetHook.
func (g *Gate) Hook(c Call) error {
	if g.Class != "" && g.Class != c.Class || g.Op != "" && g.Op != c.Op {
		return nil
	}
	g.mu.Lock()
	shut := g.shut
	if shut != nil {
		g.held++
	}
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
	return nil
}
