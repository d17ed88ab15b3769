package main

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// disk is the files of a world and what goes wrong with them.
type disk struct {
	w     *world
	fs    *storetest.FS
	quota *storetest.Quota
	gate  *storetest.Gate
	slow  atomic.Int64 // how much longer an fsync takes

	wasSlow   time.Duration // how much longer one took before that
	slowUntil time.Time

	full, frozen bool
	fullUntil    time.Time
	frozenAt     time.Time
	wellSince    time.Time
	backups      int
	copies       []*copied
}

// roomy is the size of a disk that is not full.
const roomy = 1 << 40

func newDisk(w *world) *disk {
	return &disk{w: w, quota: storetest.NewQuota(roomy, false), gate: new(storetest.Gate), wellSince: wall().Add(-behind)}
}

func (d *disk) verbs() []*verb {
	w := d.w
	always := func() args { return args{} }
	when := func(flag *bool, is bool) func() args {
		return func() args {
			if *flag != is {
				return nil
			}
			return args{}
		}
	}
	alone := func(text string, weight int, draw func() args, do func(*client, args)) *verb {
		return &verb{phrase: parsePhrase(text), weight: weight, alone: true, draw: draw, do: do}
	}
	return append(d.copyVerbs(), []*verb{
		alone("wait {span}", 60, d.drawSpan, func(_ *client, a args) { time.Sleep(a.span("span")) }),
		alone("crash and keep {percent} percent of what was not synced", 3, func() args {
			return args{"percent": oneOf(w, "0", "0", "30", "70", "100")}
		}, d.crash),
		alone("close the store and open it [after {span}]", 3, d.drawReopen, d.reopen),
		alone("close the store, cut the power and open it", 2, always, d.cut),
		alone("fill the disk", 2, when(&d.full, false), func(*client, args) { d.fill() }),
		alone("free the disk", 6, when(&d.full, true), func(*client, args) { d.free() }),
		alone("freeze the disk", 2, when(&d.frozen, false), func(*client, args) { d.freeze() }),
		alone("thaw the disk", 8, when(&d.frozen, true), func(*client, args) { d.thaw() }),
		alone("set the clock back by {span}", 3, d.drawSetBack, d.setBack),
		alone("let an fsync take {span}", 2, func() args {
			return args{"span": oneOf(w, "0s", "1ms", "20ms", "100ms")}
		}, func(_ *client, a args) { d.setSlow(a.span("span")) }),
	}...)
}

// drawSpan prefers spans at which something may fall due. A store on a full disk looks for room
// all the time, so hours of it are minutes of the simulator.
func (d *disk) drawSpan() args {
	spans := []string{"1ms", "50ms", "1s", "1s", "2s", "5s", "10s", "29s", "30s", "31s"}
	if d.well() {
		spans = append(spans, "1m", "5m", "1h")
	}
	if d.well() && d.w.likes("days") {
		spans = append(spans, "12h", "24h", "100h")
	}
	return args{"span": oneOf(d.w, spans...)}
}

// open begins a life. The world is not held.
func (d *disk) open() {
	if d.fs == nil {
		d.adopt(vfs.NewCrashableMem())
	}
	db, err := storetest.OpenFS(d.fs, store.Options{MemoryBytes: store.MinMemoryBytes, Logger: slog.New(slog.DiscardHandler), Clock: wall})
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	if err != nil {
		d.w.fail("open the store: %v", err)
		return
	}
	d.w.db = db
	if db.Stats().Unclean && !d.w.unclean {
		d.w.fail("after a life that ended with Close the store says that it did not")
	}
	for _, p := range d.w.parts {
		p.opened(d.w.client(nil))
	}
}

// setSlow lets an fsync take longer from now on. Like all that changes what is known of the disk
// it holds the world, because clients ask.
func (d *disk) setSlow(span time.Duration) {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	if was := time.Duration(d.slow.Swap(int64(span))); was != span {
		d.wasSlow, d.slowUntil = was, wall()
	}
}

// slowSince is how much longer an fsync has taken since a time, at most.
func (d *disk) slowSince(t time.Time) time.Duration {
	now := time.Duration(d.slow.Load())
	if d.slowUntil.Before(t) {
		return now
	}
	return max(now, d.wasSlow)
}

func (d *disk) adopt(files *vfs.MemFS) {
	d.fs = storetest.NewFS(files)
	d.fs.SetHook(d.hook)
	d.fs.Usage = d.quota.Usage
}

func (d *disk) hook(c storetest.Call) error {
	if delay := d.slow.Load(); delay > 0 && c.Op == storetest.OpSync {
		time.Sleep(time.Duration(delay))
	}
	if err := d.gate.Hook(c); err != nil {
		return err
	}
	return d.quota.Hook(c)
}

// crash ends a life as a loss of power does, at this very moment: what is under way may have
// happened or not, and some of what was not synced is kept.
func (d *disk) crash(_ *client, a args) {
	w := d.w
	rng := rand.New(rand.NewPCG(w.seed, w.crashes+1))
	var left *vfs.MemFS
	d.leave(func() {
		left = d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: a.int("percent"), RNG: rng})
		w.crashed()
	})
	d.adopt(left)
	d.open()
}

// leave ends a life without closing its store first: nobody will see what becomes of it.
func (d *disk) leave(last func()) {
	w := d.w
	w.mu.Lock()
	last()
	old, db := d.fs, w.db
	w.db, w.unclean = nil, true
	w.life++
	w.mu.Unlock()
	old.SetHook(nil)
	d.heal()
	if err := db.Close(); err != nil {
		w.failFree("close a store on a disk that is well: %v", err)
	}
	time.Sleep(time.Millisecond) // receipts tell by the time which of two lives they are from
}

func (d *disk) drawReopen() args {
	if d.w.likes("pauses of the process") && d.w.chance(2) {
		return args{"span": oneOf(d.w, "1s", "10s", "1h", "100h")}
	}
	return args{}
}

// reopen ends a life in good order: everything that was accepted is there in the next. What fell
// due in between is done then.
func (d *disk) reopen(_ *client, a args) {
	d.heal()
	if err := d.close(); err != nil {
		d.w.failFree("close the store: %v", err)
		return
	}
	if a.has("span") {
		time.Sleep(a.span("span"))
		d.w.mu.Lock()
		d.wellSince = wall()
		d.w.mu.Unlock()
	}
	d.open()
}

// cut is reopen with a loss of power in between, which takes nothing: what Close has accepted
// is durable.
func (d *disk) cut(*client, args) {
	d.heal()
	if err := d.close(); err != nil {
		d.w.failFree("close the store: %v", err)
		return
	}
	d.adopt(d.fs.CrashClone(vfs.CrashCloneCfg{}))
	d.open()
}

func (d *disk) close() error {
	w := d.w
	w.mu.Lock()
	db := w.db
	w.db, w.closing = nil, true
	w.mu.Unlock()
	err := db.Close()
	synctest.Wait() // what was acknowledged by then counts
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closing, w.unclean = false, false
	w.life++
	w.unsynced = nil
	return err
}

// end is the end of the world.
func (d *disk) end() {
	if d.w.db == nil {
		return
	}
	d.heal()
	if err := d.close(); err != nil {
		d.w.failFree("close the store at the end: %v", err)
	}
}

func (d *disk) fill() {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	d.full = true
	d.quota.Fill()
}

func (d *disk) free() {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	if d.full {
		d.full, d.fullUntil, d.wellSince = false, wall(), wall()
		d.quota.Resize(roomy)
	}
}

func (d *disk) freeze() {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	d.frozen, d.frozenAt = true, wall()
	d.gate.Shut()
}

func (d *disk) thaw() {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	if d.frozen {
		if d.wasFull(d.frozenAt) {
			d.fullUntil = wall()
		}
		d.frozen, d.wellSince = false, wall()
		d.gate.Open()
	}
}

func (d *disk) well() bool { return !d.full && !d.frozen }

// isWell reports that the store has noticed too, and what waited for the disk has come to an end.
func (d *disk) isWell() bool { return d.well() && wall().Sub(d.wellSince) >= noticed }

// isCalm reports that what the store tries again after a fault of the disk has been tried.
func (d *disk) isCalm() bool { return d.well() && wall().Sub(d.wellSince) >= time.Minute }

// caughtUp reports that nothing is left to be done of what fell due while the disk was ill.
func (d *disk) caughtUp() bool { return d.well() && wall().Sub(d.wellSince) >= behind }

// heal ends all faults of the disk, and waits until the store has noticed.
func (d *disk) heal() {
	sick := !d.well()
	d.setSlow(0)
	d.free()
	d.thaw()
	if sick {
		time.Sleep(noticed)
	}
}

// noticed is how long the store may take to see that there is room again: twice what is documented.
const noticed = 2 * time.Second

// wasFull reports that the store may have known a full disk at some time since then. It cannot
// learn that there is room again while the disk is frozen.
func (d *disk) wasFull(since time.Time) bool {
	if d.full {
		return true
	}
	if d.frozen && since.After(d.frozenAt) {
		since = d.frozenAt
	}
	return !d.fullUntil.IsZero() && since.Before(d.fullUntil.Add(noticed))
}

// behind is how long a queue may take to do what fell due while the disk was ill.
const behind = 2 * time.Second

// wasWell reports that the disk has been well since then, and nobody is behind because it was not.
func (d *disk) wasWell(since time.Time) bool {
	return d.well() && !since.Before(d.wellSince.Add(behind)) && !d.wasFull(since.Add(-behind))
}

func (d *disk) opened(*client) {}

// check looks at the health of the store.
func (d *disk) check(c *client) {
	err := c.db.Err()
	if c.expects(outcome{err: err, from: wall()}, "the store's Err"); err != nil && !d.wasFull(wall()) {
		c.fail("the store is not well on a disk that is: %v", err)
	}
}

// settle compares all records with one another.
func (d *disk) settle(c *client) {
	var report *pebblemq.VerifyReport
	o := c.call(func(ctx context.Context) (err error) {
		report, err = c.db.Verify(ctx, nil)
		return err
	})
	if c.expects(o, "Verify"); o.done() && report.Err() != nil {
		c.fail("Verify: %v", report.Err())
	}
}
