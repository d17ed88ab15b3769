package pebblemq_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/stretchr/testify/require"
)

// TestTheBankNeverLosesMoneyWhenItsProcessIsKilled has the bank work in a process
// of its own, on a real directory, and kills that again and again in the middle of
// its transfers.
func TestTheBankNeverLosesMoneyWhenItsProcessIsKilled(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	audited := func(f func(*bank)) {
		db, err := pebblemq.Open(dir, nil)
		require.NoError(t, err)
		f(openBank(t, db))
		require.NoError(t, db.Close())
	}
	audited(func(b *bank) { b.fund(t, random) })
	confirmed := 0
	for range bankCrashes {
		ids := killBank(t, dir, 1+random.IntN(bankTransfers/bankCrashes))
		confirmed += len(ids)
		audited(func(b *bank) {
			b.audit(t, false)
			b.requireApplied(t, ids)
		})
	}
	t.Logf("%d messages were confirmed before the last kill", confirmed)
	audited(func(b *bank) {
		b.drain(t)
		b.audit(t, true)
	})
}

// requireApplied checks that what was confirmed has not gone with the process.
func (b *bank) requireApplied(t *testing.T, ids []int) {
	t.Helper()
	require.NoError(t, b.db.View(bg, func(tx *pebblemq.Tx) error {
		for _, id := range ids {
			n, err := number(tx, fmt.Sprintf("applied/%d", id))
			require.NoError(t, err)
			require.Equal(t, 1, n, "transfer %d was confirmed", id)
		}
		return nil
	}))
}

// killBank lets a child work until that many messages have been handled and kills
// it. It returns the transfers that it confirmed to have been applied.
func killBank(t *testing.T, dir string, after int) (confirmed []int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestBankInChild$")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		id := 0
		if _, err := fmt.Sscanf(lines.Text(), "applied %d.", &id); err != nil {
			continue // of the test binary, or cut off
		}
		if confirmed = append(confirmed, id); len(confirmed) == after {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait()
	require.NoError(t, ctx.Err())
	return confirmed
}

func TestBankInChild(t *testing.T) {
	db, err := pebblemq.Open(childArg(t), nil)
	require.NoError(t, err)
	b := openBank(t, db)
	b.work(bg, func(id int) { fmt.Printf("applied %d.\n", id) })
	t.Fatal("the bank stopped working: ", *b.failure.Load())
}
