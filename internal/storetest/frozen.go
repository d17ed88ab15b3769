package storetest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/stretchr/testify/require"
)

// A context of a test on a frozen file system ends after Patience. A call whose outcome
// is on its way to the disk has the Grace of the kernel then.
const (
	Patience = 2 * time.Second
	Grace    = time.Second
)

// RequireEnd calls every verb of a table on a store whose file system is frozen. Each
// call has a bubble and a store of its own, and must end with its context.
// Make makes the table for a store.
func RequireEnd(t *testing.T, make func(testing.TB, *pebblemq.DB) Verbs) {
	var names []string
	synctest.Test(t, func(t *testing.T) {
		verbs := make(t, Open(t, nil))
		verbs.RequireAll(t)
		names = slices.Sorted(maps.Keys(verbs))
	})
	for _, name := range names {
		for _, f := range freezes {
			t.Run(name+", "+f.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { f.measure(t, name, make) })
			})
		}
	}
}

// freeze is a way to call a verb while the file system is frozen.
type freeze struct {
	name       string
	durability pebblemq.Durability
	full       bool   // the store takes no more writes
	class      string // of the files that are frozen; empty is all
	twin       bool   // the same call is under way with a context that does not end
}

var freezes = []freeze{
	{name: "default durability"},
	{name: "Sync", durability: pebblemq.Sync},
	{name: "no room", full: true},
	{name: "no room, Sync", full: true, durability: pebblemq.Sync},
	{name: "a twin", twin: true, durability: pebblemq.Sync},
	{name: "no room, a twin", full: true, twin: true},
	{name: "the MANIFEST", class: ClassManifest},
}

func (f freeze) measure(t *testing.T, name string, make func(testing.TB, *pebblemq.DB) Verbs) {
	c := OpenCold(t, f.class)
	verb := make(t, c.DB)[name]
	ctx := pebblemq.WithDurability(context.Background(), f.durability)
	c.Freeze()
	if f.full {
		c.Fill(t)
	}
	if f.class != "" {
		c.Flush(t)
	}
	under := start(context.Background(), Verb{c.DB.Update, func(tx *pebblemq.Tx) error { return tx.Set(nil, nil) }})
	synctest.Wait()
	var twin chan error
	if f.twin {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		twin = start(ctx, verb)
		synctest.Wait()
		defer func() { stop(); <-twin }()
	}
	begin := time.Now()
	limited, stop := context.WithTimeout(ctx, Patience)
	defer stop()
	ended := start(limited, verb)
	select {
	case err := <-ended:
		t.Logf("%v: %v", time.Since(begin), err)
	case <-time.After(Patience + Grace + 1):
		t.Errorf("the call goes on after its context and the grace")
	}
	c.Thaw()
	stop()
	<-under
	Close(t, c.DB)
}

func start(ctx context.Context, v Verb) chan error {
	done := make(chan error, 1)
	go func() { done <- v.Call(ctx) }()
	return done
}

// Cold is a store whose file system can be frozen: what changes a file then waits.
type Cold struct {
	DB   *pebblemq.DB
	FS   *FS
	o    store.Options
	gate *Gate
}

// OpenCold opens a store in a bubble. Class says which files can be frozen; empty is
// all. The caller thaws and closes it.
func OpenCold(t testing.TB, class string) *Cold {
	t.Helper()
	c := &Cold{FS: NewFS(vfs.NewCrashableMem()), gate: &Gate{Class: class}}
	c.o.MemoryBytes = store.MinMemoryBytes
	c.FS.SetHook(c.gate.Hook)
	c.open(t)
	return c
}

func (c *Cold) open(t testing.TB) {
	t.Helper()
	var err error
	c.DB, err = OpenFS(c.FS, c.o)
	require.NoError(t, err)
}

// Reopen closes the store and opens it again, with all that it holds in tables, which
// nothing has read.
func (c *Cold) Reopen(t testing.TB) {
	t.Helper()
	c.o.NoCompactions = true
	for range 2 { // the first Open flushes the WAL
		require.NoError(t, c.DB.Close())
		c.open(t)
	}
}

// Freeze begins it.
func (c *Cold) Freeze() { c.gate.Shut() }

// Thaw ends it.
func (c *Cold) Thaw() { c.gate.Open() }

// Fill writes until the store, which is frozen, takes no more.
func (c *Cold) Fill(t testing.TB) {
	t.Helper()
	value := make([]byte, 16<<10)
	for n := 0; ; n++ {
		ctx, stop := context.WithTimeout(context.Background(), time.Millisecond)
		err := bridge.Store(c.DB).Do(ctx, store.OpFunc(func(turn *store.Turn) error {
			turn.Set([]byte{byte(store.KindApp), byte(n >> 8), byte(n)}, value)
			return nil
		}), store.NoSync)
		stop()
		if errors.Is(err, context.DeadlineExceeded) {
			return
		}
		require.NoError(t, err)
	}
}

// Flush writes until the engine has a table to note in the MANIFEST, which is frozen.
func (c *Cold) Flush(t testing.TB) {
	t.Helper()
	value := make([]byte, 16<<10)
	for n := 0; c.gate.Held() == 0; n++ {
		require.Less(t, n, 1000)
		require.NoError(t, c.DB.Update(context.Background(), func(tx *pebblemq.Tx) error {
			return tx.Set([]byte{byte(n >> 8), byte(n)}, value)
		}))
		synctest.Wait()
	}
}
