package pebblemq_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/stretchr/testify/require"
)

// bankEnv tells a child process after how many transfers to kill itself, 0 for never,
// and where the bank is.
const bankEnv = "PEBBLEMQ_BANK_CHILD"

func openBankDir(t *testing.T, dir string) *bank {
	t.Helper()
	db, err := pebblemq.Open(dir, nil)
	require.NoError(t, err)
	return newBank(t, db, &visibility.Options{ReleaseOnOpen: true})
}

func TestTheBankSurvivesKills(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	b := openBankDir(t, dir)
	b.fund(t, random)
	require.NoError(t, b.db.Close())
	for life := range bankCrashes + 1 {
		limit := 1 + random.IntN(2*bankTransfers/bankCrashes)
		if life == bankCrashes {
			limit = 0
		}
		bankChild(t, dir, limit)
		b = openBankDir(t, dir)
		b.audit(t, life == bankCrashes)
		require.NoError(t, b.db.Close())
	}
}

// bankChild runs one life of the bank in a process of its own.
func bankChild(t *testing.T, dir string, limit int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestBankChild$", "-test.timeout=50s")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", bankEnv, limit, dir))
	out, err := cmd.CombinedOutput()
	require.NoError(t, ctx.Err(), "%s", out)
	if err != nil {
		require.NotZero(t, limit, "%s", out)
		require.Contains(t, err.Error(), "killed", "%s", out)
	}
}

func TestBankChild(t *testing.T) {
	count, dir, ok := strings.Cut(os.Getenv(bankEnv), " ")
	if !ok {
		t.Skip("the other half of a test that runs it in a child process")
	}
	limit, err := strconv.ParseInt(count, 10, 64)
	require.NoError(t, err)
	b := openBankDir(t, dir)
	ctx, stop := context.WithCancel(bg)
	defer stop()
	if !b.drained(t) {
		b.work(ctx, func() {
			if limit > 0 && b.handled.Load() >= limit {
				self, _ := os.FindProcess(os.Getpid())
				_ = self.Kill()
				select {}
			}
			if b.drained(t) {
				stop()
			}
		})
	}
	require.Nil(t, b.failure.Load())
	require.NoError(t, b.db.Close())
}
