package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// openDestination opens an engine in dst. Open refuses the directory until it has a format
// file.
func (v *salvage) openDestination() error {
	o := Options{Dir: v.dst, FS: v.fs, MemoryBytes: v.o.MemoryBytes, Logger: v.o.Logger}
	if err := o.normalize(); err != nil {
		return err
	}
	lock, err := lockDir(v.fs, v.dst)
	if err != nil {
		return err
	}
	s := newStore(o, lock)
	s.space.beforeOpen()
	if err := s.openEngine(false); err != nil {
		return errors.Join(err, lock.Close())
	}
	v.s = s
	v.pace.down, v.pace.cause = s.down, s.Cause
	return nil
}

// copy writes the keys that are there into tables of the new engine.
func (v *salvage) copy() error {
	sources := []changes{&v.wal}
	for _, chain := range chains(v.tables) {
		sources = append(sources, &tableChain{fs: v.fs, dir: v.src, read: v.pace.read, report: v.loseBlock, tables: chain})
	}
	m, err := newMerge(sources, append(v.deleted, v.wal.tombstones...))
	if err != nil {
		return err
	}
	w := &tableWriter{v: v, dir: v.fs.PathJoin(v.dst, "salvage")}
	if err := v.fs.MkdirAll(w.dir, 0o755); err != nil {
		return err
	}
	if err := m.run(w.put); err != nil {
		w.abandon()
		return err
	}
	return errors.Join(w.flush(), v.mark(), v.fs.RemoveAll(w.dir))
}

// mark says how far the store has come. Only the newest mark is written: the others are a
// chain, which has gaps if operations are lost.
func (v *salvage) mark() error {
	if v.newest == 0 {
		return nil
	}
	return v.engine(func() error {
		return v.s.db.Set(seqKey(v.newest), make([]byte, 8), pebble.Sync)
	})
}

// engine runs a call of the new engine, which a failing disk may park.
func (v *salvage) engine(f func() error) error {
	if err := v.s.readers.enter(); err != nil {
		return err
	}
	var failed error
	err := v.s.aside(v.pace.ctx, func() { failed = f() }, func() {})
	if err != nil {
		return err // f may still be under way
	}
	return failed
}

// tableWriter writes keys into tables, and gives each to the engine when it is full.
type tableWriter struct {
	v    *salvage
	dir  string
	n    int
	path string
	w    *sstable.Writer
	kind byte
}

// salvagedTable is about how large a table gets.
const salvagedTable = 32 << 20

// put adds a key. The kernel's own records are looked at, because an engine with bad ones
// would not be opened.
func (w *tableWriter) put(key, value []byte) error {
	if ok, err := w.v.admit(key, value); !ok || err != nil {
		return err
	}
	if w.w != nil && (key[0] != w.kind || w.w.Raw().EstimatedSize() >= salvagedTable) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if w.w == nil {
		if err := w.begin(key[0]); err != nil {
			return err
		}
	}
	w.v.report.Keys++
	w.v.report.Bytes += int64(len(key) + len(value))
	return w.w.Set(key, value)
}

func (w *tableWriter) begin(kind byte) error {
	w.n++
	w.kind, w.path = kind, w.v.fs.PathJoin(w.dir, tableName(uint64(w.n)))
	f, err := w.v.fs.Create(w.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	s := w.v.s
	o := s.engineOptions()
	o.EnsureDefaults()
	level := len(o.Levels) - 1
	w.w = sstable.NewWriter(objstorageprovider.NewFileWritable(f), o.MakeWriterOptions(level, s.db.TableFormat()))
	return nil
}

// flush finishes the table at hand, and gives it to the engine.
func (w *tableWriter) flush() error {
	if w.w == nil {
		return nil
	}
	err := w.w.Close() // which syncs it
	if w.w = nil; err != nil {
		return err
	}
	return w.v.engine(func() error { return w.v.s.db.Ingest(context.Background(), []string{w.path}) })
}

func (w *tableWriter) abandon() {
	if w.w != nil {
		_ = w.w.Close() // it is removed
	}
}

// admit decides whether a key gets into the new store.
func (v *salvage) admit(key, value []byte) (ok bool, err error) {
	if len(key) == 0 {
		return false, nil
	}
	var bad error
	switch Kind(key[0]) {
	case KindMeta:
		if len(key) == len(keySeq)+8 && bytes.HasPrefix(key, keySeq) {
			v.newest = max(v.newest, binary.BigEndian.Uint64(key[len(keySeq):]))
			return false, nil // see mark
		}
		bad = v.admitMeta(key, value)
	case KindCatalog:
		var o *Object
		if o, bad = decodeObject(key, value); bad == nil && checks[o.Class] == nil {
			return false, Invalid("the store has a %s, and package %s, which can repair it, is not part of this program", o.Class, o.Class.pkg())
		}
	case KindPayload:
		if len(key) != 9 {
			bad = fmt.Errorf("payload key %x", key)
		}
	case KindHolding:
		_, _, bad = decodeHolding(key, value)
	}
	if errors.Is(bad, ErrFormat) {
		return false, bad
	}
	if bad != nil {
		v.repaired(Contradiction{Key: slices.Clone(key), Text: bad.Error()})
	}
	return bad == nil, nil
}

func (v *salvage) admitMeta(key, value []byte) error {
	switch {
	case string(key) == string(keyClean):
		v.clean = true
	case string(key) == string(keyNextID) && len(value) != 4:
		return fmt.Errorf("next object id %x", value)
	case bytes.HasPrefix(key, keySeq):
		return fmt.Errorf("mark %x of the kernel", key)
	}
	return nil
}

// pkg is the package of a class.
func (c Class) pkg() string {
	switch c {
	case ClassTopic, ClassGroup:
		return "log"
	case ClassBroker, ClassExchange, ClassQueue:
		return "workqueue"
	case ClassVisQueue:
		return "visibility"
	}
	return "idempotency"
}

func (v *salvage) repaired(c Contradiction) {
	if len(v.report.Repaired) == maxReported {
		v.report.MoreRepaired++
		return
	}
	v.report.Repaired = append(v.report.Repaired, c)
}

// finish makes the new store consistent, and a store.
func (v *salvage) finish() error {
	s := v.s
	if err := s.load(progress{}, nil); err != nil {
		return err
	}
	if err := s.followRecord(progress{}); err != nil {
		return err
	}
	s.payloads.keep, s.crashed = true, !v.clean
	s.guard.verified()
	if err := v.engine(func() error { s.bridges.count(s.db); return nil }); err != nil {
		return err
	}
	s.space.afterOpen()
	s.start()
	if err := v.compareRecord(); err != nil {
		return err
	}
	for i := range v.damages.list {
		if d := &v.damages.list[i]; d.keys() {
			d.Holds = s.Contents(d.Lo, d.Hi)
		}
	}
	if err := v.repair(); err != nil {
		return err
	}
	if err := s.Fence(v.pace.ctx); err != nil {
		return err
	}
	if err := writeFormat(v.fs, v.dst); err != nil {
		return err
	}
	left, err := s.Verify(v.pace.ctx, VerifyOptions{BytesPerSecond: Unlimited})
	if err != nil {
		return err
	}
	v.report.Unrepaired = left.Contradictions
	if len(left.Damages) > 0 {
		return left.Err()
	}
	return s.Close()
}

// compareRecord finds out what was acknowledged and is gone with the end of the WAL.
func (v *salvage) compareRecord() error {
	record, err := readRecord(v.fs, v.src)
	if errors.Is(err, ErrFormat) {
		return err
	}
	if err != nil {
		v.damages.add(Damage{File: recordName, Part: partFile, Err: err})
	}
	synced := record.seq
	if synced > v.newest {
		v.report.LostFrom, v.report.LostTo = v.newest+1, synced
	}
	for _, d := range v.torn {
		if synced == 0 || synced > v.newest {
			v.damages.add(d)
		}
	}
	return nil
}

// maxRepairs is how many rounds of repairs there are. One remedy may show the need for
// another, once.
const maxRepairs = 3

// repair carries out the remedies of the kernel and the layers.
func (v *salvage) repair() error {
	for range maxRepairs {
		found, err := v.repairOnce()
		if err != nil || !found {
			return err
		}
	}
	return nil
}

// lacks reports that the new store may not have all that the old one had.
func (v *salvage) lacks() bool {
	r := v.report
	return len(v.damages.list)+len(r.Lost)+len(r.Repaired) > 0 || r.LostTo > 0
}

func (v *salvage) repairOnce() (found bool, err error) {
	a, err := v.s.newAudit(v.pace, true)
	if err != nil {
		return false, err
	}
	defer a.close()
	a.lossy = v.lacks()
	lost, err := a.kernel()
	if err != nil {
		return false, err
	}
	v.report.Lost = append(v.report.Lost, lost...)
	if err := a.each(a.run); err != nil {
		return false, err
	}
	for _, c := range a.found {
		v.repaired(c)
	}
	v.report.MoreRepaired += a.more
	return len(a.found)+a.more > 0, nil
}
