package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Open opens the store in o.Dir, creating it if the directory is empty or
// does not exist.
func Open(o Options) (*Store, error) {
	if err := o.normalize(); err != nil {
		return nil, err
	}
	s, err := lockAndOpen(o)
	if isFull(err) {
		err = fmt.Errorf("%w: to open %s takes up to %d MiB: %w", ErrDiskFull, o.Dir, ballastSize(o)>>20, err)
	}
	return s, err
}

func lockAndOpen(o Options) (*Store, error) {
	dir, err := canonical(namedReads{o.FS}, o.Dir)
	if err != nil {
		return nil, err
	}
	o.Dir = dir
	lock, err := lockDir(o.FS, dir)
	if err != nil {
		return nil, err
	}
	s, err := open(o, lock)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// canonical returns the one name of a directory, which it creates if need be.
// The name stays right if a link on the way to it is changed.
func canonical(fs vfs.FS, dir string) (string, error) {
	if dir == "" {
		return "", Invalid("directory name is empty")
	}
	if !onSystem(fs) {
		return dir, makeDir(fs, dir)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("pebblemq: open %s: %w", dir, err)
	}
	if err := makeDir(fs, abs); err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", fmt.Errorf("pebblemq: open %s: %w", dir, err)
	}
	return real, nil
}

func open(o Options, lock *dirLock) (*Store, error) {
	fs := namedReads{o.FS}
	if err := prepare(fs, o.Dir); err != nil {
		return nil, err
	}
	synced, err := readRecord(fs, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("pebblemq: open %s: %w", o.Dir, err)
	}
	if err := synced.checkManifest(fs, o.Dir); err != nil {
		return nil, err
	}
	s := newStore(o, lock)
	s.space.beforeOpen()
	wals := listFiles(fs, o.Dir, isWAL)
	s.guard.onDisk.found(synced, wals)
	if err := s.openEngine(synced.seq > 0); err != nil {
		return nil, err
	}
	if err := s.load(synced, wals); err != nil {
		s.abandon()
		return nil, err
	}
	if err := s.followRecord(synced); err != nil {
		s.abandon()
		return nil, err
	}
	s.guard.verified()
	s.space.afterOpen()
	s.start()
	if err := s.dropCleanMark(); err != nil {
		return nil, fmt.Errorf("pebblemq: open %s: %w", o.Dir, errors.Join(err, s.shut()))
	}
	s.lookAtSpace() // not before: a store on a full disk must open, to be emptied
	return s, nil
}

func newStore(o Options, lock *dirLock) *Store {
	s := &Store{
		opts:    o,
		log:     o.Logger,
		lock:    lock,
		guard:   newGuard(checksums{newStamps(o.FS)}, o.Dir),
		maxOpen: int(memTableSize(o)) / 8,
		state:   make(chan struct{}, 1),
		work:    make(chan struct{}, 1),
		timerCh: make(chan struct{}, 1),
		syncq:   make(chan *group, 64),
		stop:    make(chan struct{}),
		failed:  make(chan struct{}),
		down:    make(chan struct{}),
		closed:  make(chan struct{}),
		groups:  1,
	}
	s.compactions = newCompactions()
	if o.NoCompactions {
		s.compactions.close()
	}
	s.turn.s, s.marks.most = s, dropMarks
	s.lag = newLag(s)
	s.waiters.New = newWaiter
	s.state <- struct{}{}
	s.figures.asking = make(chan struct{}, 1)
	s.spawnCtx, s.cancel = context.WithCancel(context.Background())
	s.guard.poison, s.guard.noRoom, s.guard.inPlace = s.poison, s.outOfSpace, lock.inPlace
	s.guard.giveBallast, s.guard.emptying = s.space.giveBallast, s.space.emptying.Load
	s.space.fs, s.space.dir, s.space.log, s.space.ballast = o.FS, o.Dir, o.Logger, newBallast(o, lock)
	if !o.InMemory {
		s.space.reserve = uint64(4*memTableSize(o)) + spaceHeadroom
	}
	return s
}

// openEngine opens Pebble in a goroutine of its own, which a failing disk may
// park. An engine that must exist is not created anew around what is left of
// it.
func (s *Store) openEngine(mustExist bool) error {
	type result struct {
		db  *pebble.DB
		err error
	}
	opened := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil { // it trusts its files more than it should
				r.err = fmt.Errorf("%w: engine panic: %v", ErrCorrupt, p)
			}
			opened <- r
		}()
		o := s.engineOptions()
		o.ErrorIfNotExists = mustExist
		if r.db, r.err = pebble.Open(s.opts.Dir, o); r.err == nil {
			s.bridges.count(r.db)
		}
	}()
	select {
	case r := <-opened:
		if r.err != nil {
			s.guard.fence()
			return s.openError(r.err)
		}
		s.db = r.db
		s.compactions.start()
		s.open = &group{batch: r.db.NewBatch()}
		return nil
	case <-s.failed:
		s.guard.fence()
		return fmt.Errorf("pebblemq: open %s: %w", s.opts.Dir, s.firstError())
	}
}

// openError tells damage from what the operating system refuses. The engine does not
// always name the file, but it reads one after the other.
func (s *Store) openError(err error) error {
	var refused syscall.Errno
	missing := errors.Is(err, pebble.ErrDBDoesNotExist) || errors.Is(err, os.ErrNotExist)
	if errors.As(err, &refused) && !missing || errors.Is(err, ErrUnreadable) || errors.Is(err, ErrDiskFull) {
		return fmt.Errorf("pebblemq: open %s: %w", s.opts.Dir, err)
	}
	return fmt.Errorf("%w: %s: %w (%s)", ErrCorrupt, s.opts.Dir, err, s.suspect(err))
}

// tableInError finds the number of a table in an error of the engine.
var tableInError = regexp.MustCompile(`L\d: (\d{6,}):`)

// suspect names the file that an error of the engine is about.
func (s *Store) suspect(err error) string {
	if table := tableInError.FindStringSubmatch(err.Error()); table != nil {
		return "table " + table[1] + tableSuffix
	}
	if errors.Is(err, pebble.ErrDBNotPristine) { // it has tables, but takes the store for a new one
		return "the file " + markerFiles(formatMarker) + " is missing"
	}
	if name := s.guard.reading.Load(); name != nil && !errors.Is(err, pebble.ErrDBDoesNotExist) {
		return "the file read last is " + *name
	}
	return "the markers are " + strings.Join(listFiles(s.opts.FS, s.opts.Dir, isMarker), ", ")
}

// load reads what the kernel keeps in memory and checks it against the sync
// record.
func (s *Store) load(synced progress, wals []string) error {
	if err := s.loadSeq(); err != nil {
		return fmt.Errorf("%w: %s: %s", err, s.opts.Dir, synced.wrongWAL(wals))
	}
	seq := s.marks.newest
	if seq < synced.seq {
		return fmt.Errorf("%w: %s: operations %d to %d were acknowledged and are gone: %s; "+
			"restore a backup, or remove %s to go on without them",
			ErrCorrupt, s.opts.Dir, seq+1, synced.seq, synced.lostWAL(wals), recordName)
	}
	s.accepted.Store(seq)
	s.sealed, s.durable = seq, seq
	id, err := s.loadNextID()
	if err != nil {
		return err
	}
	s.catalog = newCatalog(max(id, 1))
	if err := errors.Join(s.loadCatalog(), s.loadPayloads()); err != nil {
		return err
	}
	clean, err := s.engineGet(keyClean)
	if err != nil {
		return err
	}
	s.clean = clean != nil
	s.unclean = !s.clean && seq > 0
	s.damages.named.Store(true)
	return nil
}

// followRecord keeps the sync record from now on. What the engine has recovered is on disk: it wrote
// tables of it. A backup has no record before.
func (s *Store) followRecord(last progress) error {
	if s.opts.InMemory {
		return nil
	}
	r, err := openRecord(namedReads{s.opts.FS}, s.opts.Dir, last, s.log)
	if err != nil {
		return fmt.Errorf("pebblemq: open %s: %w", s.opts.Dir, err)
	}
	s.guard.onDisk.groupSynced(s.durable)
	s.guard.onDisk.follow(r)
	return nil
}

// dropCleanMark makes sure that whatever this life does, a crash will show. It also deletes the
// payloads that have no holder, and sees to those that have few.
func (s *Store) dropCleanMark() error {
	if !s.clean && len(s.payloads.emptied) == 0 && len(s.payloads.sweep.sparse) == 0 {
		return nil
	}
	drop := OpFunc(func(t *Turn) error {
		t.Delete(keyClean)
		t.Touch(&s.payloads)
		return nil
	})
	return s.Do(context.Background(), drop, Sync)
}

func (s *Store) loadNextID() (uint32, error) {
	v, err := s.engineGet(keyNextID)
	if err != nil || v == nil {
		return 0, err
	}
	if len(v) != 4 {
		return 0, fmt.Errorf("%w: record %x has %d bytes", ErrCorrupt, keyNextID, len(v))
	}
	return binary.BigEndian.Uint32(v), nil
}

func (s *Store) loadCatalog() error {
	lo := []byte{byte(KindCatalog)}
	it, err := s.Iter(context.Background(), lo, PrefixEnd(lo))
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var v []byte
		if v, err = it.Value(); err != nil {
			break
		}
		var o *Object
		if o, err = decodeObject(it.Key(), v); err == nil {
			s.catalog.put(o)
		}
	}
	return errors.Join(err, it.Close())
}

func (s *Store) start() {
	s.guard.patient.Store(true)
	s.kernel.Add(3)
	go s.commitLoop()
	go s.syncLoop()
	go s.schedule()
}

// abandon gives up a store that was never started.
func (s *Store) abandon() {
	s.leaveEngine()
	s.guard.fence()
}
