package store_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// crashes takes a clone of the file system before every operation on it, as a
// crash at that moment would leave it.
type crashes struct {
	fs      *storetest.FS
	l       atomic.Pointer[ledger] // of the life at hand, once it is open
	past    atomic.Uint64          // synced in the lives before
	seed    uint64
	percent int
	left    chan remains
}

type remains struct {
	at     string
	fs     *vfs.MemFS
	synced uint64
	open   bool // changes were made in a life that had not ended
}

func (c *crashes) hook(call storetest.Call) error {
	r := remains{at: fmt.Sprintf("%s %s", call.Op, call.Name), synced: c.past.Load()}
	if l := c.l.Load(); l != nil {
		r.synced, r.open = l.synced(), true
	}
	cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: c.percent}
	if c.percent > 0 {
		cfg.RNG = rand.New(rand.NewPCG(c.seed, uint64(len(c.left))))
	}
	r.fs = c.fs.CrashClone(cfg)
	r.open = r.open && c.l.Load() != nil // else the life may have ended before the clone
	c.left <- r
	return nil
}

func (c *crashes) life(t *testing.T, changes int) {
	t.Helper()
	s := openStore(t, small(c.fs))
	l, err := openLedger(s, entrySize, c.past.Load())
	require.NoError(t, err)
	c.l.Store(l)
	for i := range changes {
		require.NoError(t, l.mix(ctx, i))
	}
	c.l.Store(nil)
	c.past.Store(l.synced())
	require.NoError(t, s.Close())
	require.NoError(t, l.disorder)
}

// TestCrashAtAnyMoment checks that acknowledged changes are there, that all others are a prefix
// of the order of changes in whole groups and transactions, and that the store goes on from it.
func TestCrashAtAnyMoment(t *testing.T) {
	for _, percent := range []int{0, 50, 90} {
		t.Run(fmt.Sprint(percent, "% of the unsynced survives"), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			fs := storetest.NewFS(vfs.NewCrashableMem())
			c := &crashes{fs: fs, percent: percent, seed: seed, left: make(chan remains, 10000)}
			fs.SetHook(c.hook)
			for range 3 {
				c.life(t, 36)
			}
			close(c.left)
			n, every := 0, 2
			if underRace {
				every = 20
			}
			for r := range c.left {
				if n++; n%every != 0 {
					continue
				}
				s := openStore(t, small(r.fs))
				l, err := openLedger(s, entrySize, r.synced)
				require.NoError(t, err, "crash %d, before %s", n, r.at)
				if r.open && l.next > 0 {
					require.True(t, s.Unclean(), "crash %d, before %s", n, r.at)
				}
				require.NoError(t, l.add(ctx, store.Sync))
				require.NoError(t, s.Close())
				r.fs = nil
			}
			t.Logf("%d crashes", n)
		})
	}
}
