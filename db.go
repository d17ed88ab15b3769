package pebblemq

import (
	"context"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// DB is an open store. All its methods are safe for concurrent use.
type DB struct {
	s *store.Store
}

func init() {
	bridge.Store = func(db any) *store.Store { return db.(*DB).s }
	bridge.Tx = func(tx any) *store.Tx { return tx.(*Tx).x }
	bridge.DB = func(s *store.Store) any { return &DB{s} }
	bridge.Options = func(o any) store.Options { return o.(*Options).kernel() }
	bridge.FutureRoom = func(f any) any { return f.(unsettled).room() }
	bridge.FutureSettled = func(f any, err error) { f.(unsettled).settle(err) }
}

// Open opens the store in dir, which is created if it does not exist, with its
// parents; nil options are the defaults. A directory belongs to one open store at a time:
// a second Open, from this or another process, returns ErrLocked. A path that
// holds something else gives ErrNotStore, a store of a newer release
// ErrFormat, a damaged one ErrCorrupt.
//
// All changes that a crashed predecessor had acknowledged are there. Opening takes time in the
// number of queues and topics, not of messages, and in the few MiB of write-ahead log since the
// last flush.
//
// A store opens on a disk that has nothing left: it gives up its file BALLAST,
// which holds Options.MemoryBytes + 1 MiB. Until there is room for a new one, changes
// that need room return ErrDiskFull, and what makes room may use half of the space
// that is left. If the ballast is gone or does not suffice, Open returns ErrDiskFull.
func Open(dir string, o *Options) (*DB, error) {
	ko := o.kernel()
	ko.Dir = dir
	return wrap(store.Open(ko))
}

// OpenMemory opens a new, empty store that lives in memory and is gone with
// Close. It runs the same code as a store on disk, so a test that passes on it
// has tested that. It takes well under a millisecond.
func OpenMemory(o *Options) (*DB, error) { return wrap(store.OpenMemory(o.kernel())) }

func wrap(s *store.Store, err error) (*DB, error) {
	if err != nil {
		return nil, err
	}
	return &DB{s}, nil
}

// Close makes everything accepted durable, ends all goroutines of the store,
// wakes the calls that are blocked in it with ErrClosed and releases the
// directory. It waits for reads under way, so it must not be called from
// inside View, Update or a Scan. After a failure of the disk it returns
// ErrFailed with the cause, and the directory may be opened again. Close waits 30 seconds
// for a disk that makes no progress and for reads under way. If a read that a change has
// begun never ends, Close returns ErrFailed after a minute and leaves it behind.
// Calling it more than once is harmless and returns the same.
func (db *DB) Close() error { return db.s.Close() }

// Checkpoint writes a copy of the store as of now to dir, which must not
// exist, while the store goes on. The copy opens as a store; like one after a
// crash, it hands out again what was delivered and not settled. Tables are
// shared by hard links where the file system allows it. It is not supported
// for a store in memory. While the disk is full it returns ErrDiskFull, and what
// was begun of the copy is removed.
func (db *DB) Checkpoint(ctx context.Context, dir string) error { return db.s.Checkpoint(ctx, dir) }

// Stats are what a store has done since it was opened and what it uses now.
type Stats struct {
	Operations   uint64        // changes made
	Refused      uint64        // changes refused
	Groups       uint64        // batches that the changes were gathered in
	Syncs        uint64        // fsyncs waited for
	SyncTime     time.Duration // total time of these waits
	SyncBuckets  []uint64      // Syncs by their duration, see SyncBounds
	DiskBytes    uint64        // size on disk
	WALBytes     uint64        // of it, write-ahead log
	SharedBytes  uint64        // of it, about: bodies that several queues share; what none needs any more goes in time
	DebtBytes    uint64        // about what the engine has still to compact; it rises while compactions do not keep up
	FreeBytes    uint64        // that the disk has left; 0 if the store is in memory
	Tables       int64         // table files
	MemoryBytes  uint64        // write buffers and block cache
	PendingBytes int           // changes not yet in the write-ahead log
	UnsyncedAge  time.Duration // age of the oldest change that is not on disk; a crash now takes no older one
	Unclean      bool          // the process before this one did not call Close
	Failed       bool          // ErrFailed is being returned
	DiskFull     bool          // ErrDiskFull is being returned
	Shortage     string        // what there is too little of then, such as "disk space" or "open files of the process"
	Damaged      []DamagedFile // files in which a read met damage since the store was opened
}

// SyncBounds returns the bounds of Stats.SyncBuckets. The fsyncs of bucket i took at most
// SyncBounds()[i], and longer than the bound before. The last bucket has no bound.
func SyncBounds() []time.Duration { return slices.Clone(store.SyncBounds[:]) }

// DamagedFile is a file whose contents are not as they were written. Calls that need the
// damaged part return ErrCorrupt, all others go on.
type DamagedFile struct {
	Path  string
	Err   error  // what the first reader met
	Holds string // the objects whose data may be in the file

	// SetAside reports that the engine has stopped merging the file and those that were
	// to be merged with it. The space of what is deleted in them does not come back
	// before the store is opened again. If so many of them gather that
	// the engine could take no more, writes return ErrCorrupt.
	SetAside bool
}

// Stats returns the counters of the moment. It is cheap, but not free. DiskBytes, WALBytes,
// SharedBytes, DebtBytes, FreeBytes, Tables and MemoryBytes come from the engine. On a full disk, a hanging disk and after a
// failure they may be those of an earlier call.
func (db *DB) Stats() Stats {
	st := db.s.Stats()
	return Stats{
		Operations: st.Operations, Refused: st.Refused, Groups: st.Groups,
		Syncs: st.Syncs, SyncTime: st.SyncTime, SyncBuckets: st.SyncBuckets[:],
		DiskBytes: st.DiskBytes, WALBytes: st.WALBytes, SharedBytes: st.SharedBytes, DebtBytes: st.DebtBytes, FreeBytes: st.FreeBytes,
		Tables:      st.Tables,
		MemoryBytes: st.MemoryBytes, PendingBytes: st.PendingBytes, UnsyncedAge: st.UnsyncedAge,
		Unclean: st.Unclean, Failed: st.Failed, DiskFull: st.DiskFull, Shortage: st.Shortage,
		Damaged: damagedFiles(st.Damaged),
	}
}

func damagedFiles(met []store.DamagedFile) []DamagedFile {
	var files []DamagedFile
	for _, d := range met {
		files = append(files, DamagedFile(d))
	}
	return files
}
