package damage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	plog "github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// plan is what one process does with a store. It opens the store, compares all
// that it reads with the ledger, makes changes and compares again.
type plan struct {
	Dir    string // of the store
	Ledger string // file
	Seed   uint64
	Steps  int

	Pauses bool // wait for the parent after opening and after half of the steps
	Drain  bool // at last receive everything that is left in the queues
	Kill   bool // end by waiting to be killed, not by Close
	Stall  bool // no table can be written, so WALs gather

	Reads *indexes // make reads fail, in a copy of the store in memory
}

// report is one line from a child to its parent.
type report struct {
	Kind reportKind
	What string   // the call, or the item
	Text string   `json:",omitempty"`
	Is   []string `json:",omitempty"` // names of the sentinel errors that an error is
}

type reportKind string

const (
	at     reportKind = "at"    // a call begins
	failed reportKind = "error" // a call returned an error
	lost   reportKind = "lost"  // what was acknowledged is not there, and no error said so
	wrong  reportKind = "wrong" // what was read was never written, or is older than it can be
	order  reportKind = "order" // messages came in another order than they were sent in
	pause  reportKind = "pause" // the child waits for a line from the parent
	end    reportKind = "end"   // the child is through, or waits to be killed
	fault  reportKind = "fault" // a read was made to fail; Text is the file
	phase  reportKind = "phase" // of a sweep: the number of the read that fails, or secondLife
)

// life is one process's work with a store.
type life struct {
	plan
	report func(report)
	resume func() // waits for the parent
	ledger *ledger
	random *rand.Rand

	db       *pebblemq.DB
	events   *plog.Topic
	state    *plog.Topic
	billing  *plog.Group
	member   *plog.Member
	broker   *workqueue.Broker
	queues   map[string]*workqueue.Queue // of broker
	ranked   *workqueue.Consumer
	unranked []change // when what that has handed out is acknowledged
	mail     *visibility.Queue
	dead     *visibility.Queue // of mail
	orders   *visibility.Queue
	requests *idempotency.Namespace

	held     []*workqueue.Delivery  // of jobs
	leased   []*visibility.Received // of mail
	fetched  map[string]bool        // of ranked, and what held has
	producer int64                  // number of the next record
	names    int                    // of producers
	told     map[string]bool        // objects whose readers returned an error
	clean    bool                   // the life before it ended with Close
	down     bool                   // the store has failed, which is a crash to NoSync changes
	failures int                    // in a row
}

func newLife(p plan, l *ledger, out func(report), resume func()) *life {
	return &life{
		plan: p, ledger: l, report: out, resume: resume,
		random: rand.New(rand.NewPCG(p.Seed, uint64(l.next))),
		queues: make(map[string]*workqueue.Queue), fetched: make(map[string]bool), told: make(map[string]bool),
	}
}

// childMain runs a plan in a process of its own and talks to the parent over
// the standard streams.
func childMain(text string) error {
	var p plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	if p.Reads != nil {
		return sweep(p, reporter(os.Stdout))
	}
	f, err := os.OpenFile(p.Ledger, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	resume := func() { _, _ = in.ReadString('\n') }
	newLife(p, readLedger(f, f), reporter(os.Stdout), resume).run(func() (*pebblemq.DB, error) {
		if p.Stall {
			return openStalled()
		}
		return pebblemq.Open(p.Dir, &pebblemq.Options{MemoryBytes: store.MinMemoryBytes, Logger: warnings()})
	})
	return f.Close()
}

func warnings() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// reporter writes each report as a line of its own.
func reporter(w io.Writer) func(report) {
	var mu sync.Mutex
	enc := json.NewEncoder(w)
	return func(r report) {
		mu.Lock()
		defer mu.Unlock()
		_ = enc.Encode(r)
	}
}

// openStalled opens a store whose tables cannot be written. Its directory is
// called "data", and is in the working directory.
func openStalled() (*pebblemq.DB, error) {
	fs := storetest.NewFS(vfs.Default)
	db, err := storetest.OpenFS(fs, store.Options{MemoryBytes: store.MinMemoryBytes, Logger: warnings()})
	gate := &storetest.Gate{Class: storetest.ClassTable, Op: storetest.OpCreate}
	gate.Shut()
	fs.SetHook(gate.Hook)
	return db, err
}

// run goes through the plan.
func (l *life) run(open func() (*pebblemq.DB, error)) {
	if l.Reads == nil {
		defer func() { l.report(report{Kind: end}) }()
	}
	if !l.open(open) {
		return
	}
	l.prepare()
	if l.Reads == nil {
		defer l.hang()()
	}
	l.check(true)
	l.pause("opened")
	l.work(l.Steps / 2)
	l.pause("midway")
	l.work(l.Steps - l.Steps/2)
	if l.Stall {
		return
	}
	l.check(false)
	if l.Drain {
		l.drain()
	}
	if l.Kill {
		return
	}
	if l.do("close", l.db.Close) == nil {
		l.must(l.ledger.did(true))
	}
}

func (l *life) pause(what string) {
	if l.Pauses {
		// What reads in the background comes to rest before the damage. A block of the other
		// table that is read while the file is written over would stay in the cache: ADR 4.
		<-time.After(300 * time.Millisecond)
		l.report(report{Kind: pause, What: what})
		l.resume()
		// A table that was compared just before the damage is not compared again for
		// 10 ms. ADR 4 names this gap; it would make a case pass or fail by chance.
		<-time.After(20 * time.Millisecond)
	}
}

// open opens the store, twice if need be: damage that makes an opening fail must not
// be forgotten by the next one.
func (l *life) open(open func() (*pebblemq.DB, error)) bool {
	for range 2 {
		err := l.do("open", func() (err error) {
			l.db, err = open()
			return err
		})
		if err == nil {
			l.clean = !l.db.Stats().Unclean
			return true
		}
	}
	return false
}

// do makes one call, and reports its error.
func (l *life) do(what string, call func() error) error {
	l.report(report{Kind: at, What: what})
	err := call()
	if err != nil {
		l.report(report{Kind: failed, What: what, Text: err.Error(), Is: sentinels(err)})
	}
	if errors.Is(err, pebblemq.ErrFailed) && !l.down {
		l.down = true
		l.ledger.crashed()
	}
	return err
}

// sentinels names the errors of package pebblemq that an error is.
func sentinels(err error) (names []string) {
	for name, s := range map[string]error{
		"ErrCorrupt": pebblemq.ErrCorrupt, "ErrFormat": pebblemq.ErrFormat, "ErrUnreadable": pebblemq.ErrUnreadable,
		"ErrFailed": pebblemq.ErrFailed, "ErrUnknownOutcome": pebblemq.ErrUnknownOutcome,
		"ErrDiskFull": pebblemq.ErrDiskFull, "ErrClosed": pebblemq.ErrClosed, "ErrLocked": pebblemq.ErrLocked, "ErrNotStore": pebblemq.ErrNotStore,
	} {
		if errors.Is(err, s) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// act makes one change, which the ledger knows of before and after. A Sync change
// covers those before it; a call that changes nothing may not wait for the disk.
func (l *life) act(ctx context.Context, what string, changes []change, call func(context.Context) error) error {
	l.must(l.ledger.may(changes...))
	err := l.do(what, func() error { return call(ctx) })
	if err != nil {
		l.failures++
		return err
	}
	l.failures = 0
	l.must(l.ledger.did(ctx == synced && len(changes) > 0, changes...))
	return nil
}

// must ends a child that cannot go on for a reason outside of the store.
func (l *life) must(err error) {
	if err != nil {
		panic(fmt.Sprintf("the test itself: %v", err))
	}
}

var (
	synced   = pebblemq.WithDurability(context.Background(), pebblemq.Sync)
	unsynced = pebblemq.WithDurability(context.Background(), pebblemq.NoSync)
)

// durability makes one change in eight Sync, which covers those before it.
func (l *life) durability() context.Context {
	if l.random.IntN(8) == 0 {
		return synced
	}
	return unsynced
}
