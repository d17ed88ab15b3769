package store_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

const killedEntrySize = 500

// TestKilledProcessLosesNothingAcknowledged kills a process that writes to a
// real directory, twenty times in a row.
func TestKilledProcessLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	synced := uint64(0)
	for round := range 20 {
		synced = max(synced, killOne(t, dir))
		s := openStore(t, store.Options{Dir: dir, MemoryBytes: store.MinMemoryBytes})
		require.Equal(t, synced > 0, s.Unclean())
		l, err := openLedger(s, killedEntrySize, synced)
		require.NoError(t, err, "round %d", round)
		require.NoError(t, l.add(ctx, store.Sync))
		synced = l.synced()
		require.NoError(t, s.Close())
	}
	t.Logf("%d entries", synced)
	require.Greater(t, synced, uint64(100))
}

// killOne returns the newest entry that the child was heard to acknowledge.
func killOne(t *testing.T, dir string) (acked uint64) {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := childCommand(limited, "TestKilledProcessChild", dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for n := -1; lines.Scan(); {
		var a uint64
		if _, err := fmt.Sscanf(lines.Text(), "acked %d", &a); err != nil {
			continue // of the test binary
		}
		if acked = max(acked, a); n < 0 { // alive
			n = 0
			time.AfterFunc(rand.N(20*time.Millisecond), func() { _ = cmd.Process.Kill() })
		}
	}
	require.Error(t, cmd.Wait(), "it was killed")
	require.NoError(t, limited.Err())
	require.Positive(t, acked)
	return acked
}

func TestKilledProcessChild(t *testing.T) {
	dir := childArgs(t)[0]
	s := openStore(t, store.Options{Dir: dir, MemoryBytes: store.MinMemoryBytes})
	l, err := openLedger(s, killedEntrySize, 0)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				if err := l.mix(ctx, i); err != nil {
					fmt.Println(err)
					os.Exit(1)
				}
				if i%4 == 3 {
					fmt.Println("acked", l.synced())
				}
			}
		})
	}
	wg.Wait()
}
