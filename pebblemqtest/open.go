package pebblemqtest

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/pebblemq/pebblemq"
)

// Options say which store to open. Nil is the defaults.
type Options struct {
	// Store are the options of the store. Its Logger is by default the log of the test, from
	// warnings up, and MemoryBytes are 4 MiB. Default: the defaults.
	Store *pebblemq.Options

	// Disk is where the store is. Default: a new one in memory, which is gone with the store.
	Disk *Disk
}

const defaultMemory = 4 << 20

// Open opens a store in memory and closes it when the test ends. It ends the test if the store
// cannot be opened. It may be called in a bubble of testing/synctest.
//
// The test fails at its end if the store has failed without Disk.Fail, has met damage or cannot
// be closed. It also fails if goroutines are left in the store or its handlers, such as a Run
// whose handler does not return. Goroutines are looked for only while no other store of this
// package is open in the process, because they do not say whose they are. Close a store that was
// opened by other means before, or its goroutines may be taken for what is left. Cleanup functions
// that were registered after Open run before it closes the store. The test may close the store
// itself.
func Open(t testing.TB, o *Options) *pebblemq.DB {
	t.Helper()
	if o == nil {
		o = &Options{}
	}
	disk := o.Disk
	if disk == nil {
		disk = NewDisk()
	}
	news := &testLog{t: t}
	before := opened()
	l := disk.newLife()
	if err := l.open(o.store(news), o.Disk == nil); err != nil {
		closed()
		t.Fatalf("pebblemqtest: open: %v", err)
	}
	t.Cleanup(func() {
		t.Helper()
		l.end(t)
		news.end()
		if alone := closed(); alone && !l.failed.Load() {
			requireNoneLeft(t, before)
		}
	})
	return l.db
}

// store returns the options of the store.
func (o *Options) store(news *testLog) *pebblemq.Options {
	var full pebblemq.Options
	if o.Store != nil {
		full = *o.Store
	}
	if full.Logger == nil {
		full.Logger = slog.New(slog.NewTextHandler(news, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	if full.MemoryBytes == 0 {
		full.MemoryBytes = defaultMemory
	}
	return &full
}

// end closes the store and tells what is wrong with it.
func (l *life) end(t testing.TB) {
	t.Helper()
	health := l.db.Health()
	l.release()
	err := l.db.Close()
	if l.failed.Load() {
		return // on command
	}
	if errors.Is(health.Err, pebblemq.ErrFailed) {
		err = health.Err
	}
	if err != nil {
		t.Errorf("pebblemqtest: %v", err)
	}
	for _, file := range health.Damaged {
		t.Errorf("pebblemqtest: damaged file %s: %v", file.Path, file.Err)
	}
}

// testLog writes to the log of a test until its end.
type testLog struct {
	mu sync.Mutex
	t  testing.TB // nil after the end
}

// Write logs a line.
func (l *testLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.t != nil {
		l.t.Logf("pebblemq: %s", strings.TrimSpace(string(line)))
	}
	return len(line), nil
}

func (l *testLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t = nil
}
