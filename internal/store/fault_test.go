package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// faults are all the places where the engine or the kernel changes a file.
var faults = []struct{ class, op string }{
	{storetest.ClassWAL, storetest.OpCreate},
	{storetest.ClassWAL, storetest.OpReuse},
	{storetest.ClassWAL, storetest.OpWrite},
	{storetest.ClassWAL, storetest.OpSync},
	{storetest.ClassWAL, storetest.OpClose},
	{storetest.ClassManifest, storetest.OpCreate},
	{storetest.ClassManifest, storetest.OpWrite},
	{storetest.ClassManifest, storetest.OpSync},
	{storetest.ClassManifest, storetest.OpClose},
	{storetest.ClassMarker, ""},
	{storetest.ClassTable, storetest.OpCreate},
	{storetest.ClassTable, storetest.OpWrite},
	{storetest.ClassTable, storetest.OpSync},
	{storetest.ClassTable, storetest.OpClose},
	{storetest.ClassDir, storetest.OpOpenDir},
	{storetest.ClassDir, storetest.OpSync},
	{storetest.ClassDir, storetest.OpClose},
	{storetest.ClassOptions, ""},
	{storetest.ClassFormat, ""},
	{storetest.ClassRecord, ""},
	{"", storetest.OpRemove},
	{"", storetest.OpRename},
}

// TestDiskFaults fails every operation on every class of file, once and for
// good, early and late, until the load passes without meeting the fault.
func TestDiskFaults(t *testing.T) {
	for _, f := range faults {
		for _, mode := range []string{"once", "forever", "late"} {
			t.Run(fmt.Sprintf("%s-%s-%s", f.class, f.op, mode), func(t *testing.T) {
				t.Parallel()
				child(t, "TestDiskFaultsChild", "class="+f.class, "op="+f.op, mode)
			})
		}
	}
}

func TestDiskFaultsChild(t *testing.T) {
	args := childArgs(t)
	class, op, mode := args[0][len("class="):], args[1][len("op="):], args[2]
	maybeInBubble(t, class == storetest.ClassTable, func(t *testing.T) {
		hits := 0
		for n := int64(1); ; n = later(n) {
			f := &storetest.Fault{Class: class, Op: op, N: n, Forever: mode == "forever"}
			if mode == "late" {
				f.Err = storetest.Late{Err: storetest.ErrInjected}
			}
			mem := vfs.NewCrashableMem()
			if err := surviveFault(mem, "data", mem.CrashClone, f); err != nil {
				fmt.Printf("%s %s %s, call %d: %v\n", class, op, mode, n, err)
				os.Exit(1)
			}
			if !f.Hit() {
				break
			}
			hits++
		}
		fmt.Println(hits, "faults;", childDone)
		os.Exit(0)
	})
}

// later picks the next call to fail.
func later(n int64) int64 {
	if underRace {
		return 1 + 3*n
	}
	return n + 1 + n/3
}

// maybeInBubble runs f in a bubble for the faults that the kernel backs off
// from, so that this costs no time. The bubble cannot end, as parked goroutines
// remain in it: f exits the process. Other faults can park the engine under its
// mutex, which stops the time of a bubble.
func maybeInBubble(t *testing.T, bubble bool, f func(*testing.T)) {
	if bubble {
		synctest.Test(t, f)
	}
	f(t)
}

// TestDiskFaultsOnRealFiles does the same on the file system of the machine,
// for the operations that matter most.
func TestDiskFaultsOnRealFiles(t *testing.T) {
	for _, f := range []string{"wal write", "wal sync", "wal create", "manifest sync", "table write", "dir sync"} {
		t.Run(f, func(t *testing.T) {
			t.Parallel()
			child(t, "TestDiskFaultsOnRealFilesChild", f, t.TempDir())
		})
	}
}

func TestDiskFaultsOnRealFilesChild(t *testing.T) {
	args := childArgs(t)
	hits := 0
	for n := int64(1); ; n += 1 + 2*n {
		f := &storetest.Fault{Class: args[0], Op: args[1], N: n}
		dir := filepath.Join(args[2], strconv.FormatInt(n, 10))
		require.NoError(t, surviveFault(vfs.Default, dir, nil, f), "call %d", n)
		if !f.Hit() {
			break
		}
		hits++
	}
	require.Positive(t, hits)
	fmt.Println(hits, "faults;", childDone)
}

const entrySize = 9 << 10

// surviveFault runs a load that opens, fills, closes and opens a store again,
// with the fault in it, and checks everything that a caller relies on.
func surviveFault(base vfs.FS, dir string, crash func(vfs.CrashCloneCfg) *vfs.MemFS, f *storetest.Fault) error {
	fs := storetest.NewFS(base)
	fs.SetHook(f.Hook)
	var synced uint64
	for range 2 {
		var err error
		if synced, err = faultyLife(fs, dir, synced, f); err != nil {
			return err
		}
	}
	f.Stop()
	if crash != nil {
		clone := crash(vfs.CrashCloneCfg{})
		if err := soundLife(clone, dir, synced); err != nil {
			return fmt.Errorf("after a crash: %w", err)
		}
	}
	return soundLife(fs, dir, synced)
}

// faultyLife returns what has been acknowledged.
func faultyLife(fs vfs.FS, dir string, synced uint64, f *storetest.Fault) (uint64, error) {
	o := small(fs)
	o.Dir = dir
	s, err := store.Open(o)
	if err != nil {
		if !f.Hit() || !errors.Is(err, storetest.ErrInjected) {
			return 0, fmt.Errorf("open: %w", err)
		}
		return synced, nil
	}
	l, err := openLedger(s, entrySize, synced)
	if err != nil {
		return 0, fmt.Errorf("reading back: %w", err)
	}
	// Changes that a late fault let through may be there, and acknowledged by now.
	loadErr := fill(l)
	if err := checkAfterLoad(l, loadErr, f); err != nil {
		return 0, err
	}
	closeErr := timely("Close", s.Close)
	switch {
	case errors.Is(closeErr, errHangs):
		return 0, closeErr
	case loadErr != nil && !errors.Is(closeErr, store.ErrFailed):
		return 0, fmt.Errorf("close of a failed store: %v", closeErr)
	case closeErr != nil && !errors.Is(closeErr, storetest.ErrInjected):
		return 0, fmt.Errorf("close: %w", closeErr)
	}
	return l.synced(), nil
}

// fill makes changes until the first error.
func fill(l *ledger) error {
	for i := range 90 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := l.mix(ctx, i)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func checkAfterLoad(l *ledger, err error, f *storetest.Fault) error {
	if l.disorder != nil {
		return l.disorder
	}
	if err == nil {
		return nil
	}
	if !errors.Is(err, store.ErrFailed) || !errors.Is(err, storetest.ErrInjected) {
		return fmt.Errorf("load: %w", err)
	}
	if !f.Forever && f.Class == storetest.ClassTable || f.Class == storetest.ClassRecord || f.Op == storetest.OpRemove {
		return fmt.Errorf("a fault that is no reason to fail: %w", err)
	}
	for _, d := range []store.Durability{store.Sync, store.NoSync} {
		if err := timely("Do", func() error { return l.add(context.Background(), d) }); !errors.Is(err, store.ErrFailed) {
			return fmt.Errorf("write after the failure: %v", err)
		}
	}
	return timely("Get", func() error {
		v, err := l.s.Get(ctx, entryKey(1))
		if err == nil && l.synced() > 0 && v == nil {
			return errors.New("entry 1 cannot be read any more")
		}
		l.s.Stats()
		return err
	})
}

var errHangs = errors.New("hangs")

func timely(what string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		return fmt.Errorf("%s %w", what, errHangs)
	}
}

// soundLife opens the store without faults, checks it and uses it.
func soundLife(fs vfs.FS, dir string, synced uint64) error {
	o := small(fs)
	o.Dir = dir
	s, err := store.Open(o)
	if err != nil {
		return fmt.Errorf("reopen: %w", err)
	}
	l, err := openLedger(s, entrySize, synced)
	if err != nil {
		return fmt.Errorf("reopen: %w", err)
	}
	return errors.Join(l.add(context.Background(), store.Sync), s.Close())
}
