package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// copied is a copy of the disk at a moment, perhaps with a bit that is wrong. It is looked at when
// the world has ended, and outside of its bubble: a compaction that meets damage waits for ever.
type copied struct {
	files  *vfs.MemFS
	moment time.Time
	age    time.Duration // of the world, then
	flip   *flip
	fails  bool // it returns errors when it is written to
	judges []judge

	salvaged bool // Salvage reads it, and its new store is looked at
}

// flip is a bit that is wrong.
type flip struct {
	sort  string // of the file: how its name begins or ends
	place int    // in thousandths of all files of the sort
	bit   int
	open  bool // it turns while the store is open
}

// judge compares what a copy holds with what was known when it was made.
type judge func(*client)

// judging is a part that can be asked about a copy.
type judging interface{ remember() judge }

// maxCopies is how many copies of a world are looked at: a store is opened for each.
const maxCopies = 3

func (d *disk) copyVerbs() []*verb {
	return append(d.salvageVerbs(), []*verb{
		{phrase: parsePhrase("copy the disk"), weight: 1, alone: true, draw: d.drawCopy, do: d.copy},
		{phrase: parsePhrase("copy the disk with bit {bit} at {place} of {sort} wrong [open]"), weight: 3, alone: true, draw: d.drawFlip, do: d.copy},
		{phrase: parsePhrase("copy the disk to one that fails"), weight: 1, alone: true, draw: d.drawCopy, do: func(*client, args) {
			d.keep(&copied{files: d.clone(), fails: true})
		}},
		{phrase: parsePhrase("back up the store [restore]"), weight: 3, alone: true, draw: d.drawBackup, do: d.backup},
	}...)
}

func (d *disk) drawCopy() args {
	if !d.well() || len(d.copies) == maxCopies {
		return nil
	}
	return args{}
}

func (d *disk) drawFlip() args {
	a, w := d.drawCopy(), d.w
	if a == nil || !w.likes("wrong bits") {
		return nil
	}
	a["bit"], a["place"] = fmt.Sprint(w.rng.IntN(8)), fmt.Sprint(w.rng.IntN(1000))
	a["sort"] = oneOf(w, "sst", "sst", "sst", "log", "MANIFEST", "SYNCED", "marker", "FORMAT")
	if w.chance(3) {
		a["open"] = "yes"
	}
	return a
}

func (d *disk) drawBackup() args {
	a, w := d.drawCopy(), d.w
	if a != nil && w.chance(2) {
		a["restore"] = "yes"
	}
	return a
}

func (d *disk) copy(_ *client, a args) {
	c := &copied{files: d.clone()}
	if a.has("bit") {
		c.flip = &flip{sort: a["sort"], place: a.int("place"), bit: a.int("bit"), open: a.has("open")}
	}
	d.keep(c)
}

// clone returns the files as they are now, whether synced or not.
func (d *disk) clone() *vfs.MemFS {
	return d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(d.w.seed, 0))})
}

// keep has a copy looked at in the end, and asks what is in it.
func (d *disk) keep(c *copied) {
	w := d.w
	w.mu.Lock()
	defer w.mu.Unlock()
	c.moment, c.age = wall(), time.Since(w.begin)
	for _, p := range w.parts {
		if p, ok := p.(judging); ok {
			c.judges = append(c.judges, p.remember())
		}
	}
	d.copies = append(d.copies, c)
}

// backup makes a checkpoint, which is looked at in the end, or takes the place of the store. A
// loss of power takes nothing of it.
func (d *disk) backup(_ *client, a args) {
	d.heal()
	if d.wasFull(wall()) {
		time.Sleep(noticed)
	}
	w := d.w
	ctx, stop := context.WithTimeout(w.ctx, time.Hour)
	defer stop()
	before := w.moment()
	d.backups++
	dir := fmt.Sprintf("backup%d", d.backups)
	if err := w.db.Checkpoint(ctx, dir); err != nil {
		w.failFree("back up the store: %v", err)
		return
	}
	files := d.fs.CrashClone(vfs.CrashCloneCfg{})
	err := errors.Join(d.fs.RemoveAll(dir), files.RemoveAll("data"), files.Rename(dir, "data"), syncRoot(files))
	switch {
	case err != nil:
		w.failFree("put a backup in the place of the store: %v", err)
	case w.moment() != before: // what happened in the meantime is there or not
	case a.has("restore"):
		d.leave(w.crashed)
		d.adopt(files)
		d.open()
	default:
		d.keep(&copied{files: files})
	}
}

// syncRoot makes the names of a disk durable.
func syncRoot(files *vfs.MemFS) error {
	root, err := files.OpenDir("/")
	if err != nil {
		return err
	}
	return errors.Join(root.Sync(), root.Close())
}

// moment is a number that rises with everything that happens.
func (w *world) moment() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

// safe reports that everything that was acknowledged is on the disk.
func (w *world) safe() bool { return len(w.unsynced) == 0 }

// judgeCopies opens each copy of a world that has ended, and compares what it holds.
func (w *world) judgeCopies() {
	for _, c := range w.disk.copies {
		if w.fault == "" {
			w.progress.Add(1)
			c.judge(w)
		}
	}
}

func (c *copied) judge(w *world) {
	w.begin = time.Now().Add(-c.age) // faults tell the time of the copy
	if c.flip != nil && !c.flip.open {
		c.flip.turn(w, c.files)
	}
	if c.salvaged {
		c.salvage(w)
		return
	}
	fs := storetest.NewFS(c.files)
	db, err := c.open(fs)
	if err != nil {
		if c.flip == nil || !errors.Is(err, pebblemq.ErrCorrupt) && !(errors.Is(err, pebblemq.ErrFormat) && c.flip.sort == "FORMAT") {
			w.fail("open a copy: %v", err)
		}
		return
	}
	if c.flip != nil && c.flip.open {
		c.flip.turn(w, c.files)
	}
	var allowed []error
	if c.flip != nil {
		allowed = append(allowed, pebblemq.ErrCorrupt)
	}
	judges := append(c.judges, judgeWhole, judgeWrite)
	if c.fails {
		fs.SetHook(failWrites)
		allowed = append(allowed, pebblemq.ErrFailed, pebblemq.ErrUnknownOutcome)
		judges = []judge{judgeFailing}
	}
	c.judgeBy(w, db, judges, allowed)
	if c.fails && w.fault == "" { // all that was acknowledged is there again
		c.fails, c.files = false, c.files.CrashClone(vfs.CrashCloneCfg{})
		c.judge(w)
	}
}

// open opens the store of a copy, for which it is the moment of the copy.
func (c *copied) open(fs vfs.FS) (*pebblemq.DB, error) {
	began := time.Now()
	return storetest.OpenFS(fs, store.Options{
		MemoryBytes: store.MinMemoryBytes, Logger: slog.New(slog.DiscardHandler),
		Clock: func() time.Time { return c.moment.Add(time.Since(began)) },
	})
}

// judgeBy has the judges look at the store of a copy, and closes it.
func (c *copied) judgeBy(w *world, db *pebblemq.DB, judges []judge, allowed []error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	by := &client{world: w, born: w.life, db: db, ctx: context.Background(), allowed: allowed}
	for _, judge := range judges {
		if w.fault == "" {
			judge(by)
		}
	}
	by.allows(db.Close(), "close the store")
}

// failWrites is the hook of a disk that has failed.
func failWrites(c storetest.Call) error {
	if c.Op == storetest.OpWrite || c.Op == storetest.OpSync {
		return syscall.EIO
	}
	return nil
}

// turn makes a bit wrong, if there is a file of the sort.
func (f *flip) turn(w *world, files *vfs.MemFS) {
	names, err := files.List("data")
	if err != nil {
		w.fail("list a copy: %v", err)
		return
	}
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasSuffix(name, "."+f.sort) && !strings.HasPrefix(name, f.sort)
	})
	var sizes, total int64
	for _, name := range names {
		info, err := files.Stat("data/" + name)
		if err == nil {
			total += info.Size()
		}
	}
	for _, name := range names {
		info, err := files.Stat("data/" + name)
		if err != nil {
			continue
		}
		if at := total*int64(f.place)/1000 - sizes; at < info.Size() {
			if err := flipBit(files, "data/"+name, at, f.bit); err != nil {
				w.fail("turn a bit of %s: %v", name, err)
			}
			return
		}
		sizes += info.Size()
	}
}

func flipBit(files *vfs.MemFS, name string, at int64, bit int) error {
	file, err := files.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	b := make([]byte, 1)
	_, err = file.ReadAt(b, at)
	b[0] ^= 1 << bit
	if err == nil {
		_, err = file.WriteAt(b, at)
	}
	return errors.Join(err, file.Close())
}
