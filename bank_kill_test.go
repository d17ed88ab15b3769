package pebblemq_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/stretchr/testify/require"
)

// bankEnv tells a child process after how many transfers to kill itself, 0 for never,
// and where the bank is.
const bankEnv = "PEBBLEMQ_BANK_CHILD"

func openBankDir(t *testing.T, dir string) *bank {
	t.Helper()
	db, err := pebblemq.Open(dir, nil)
	require.NoError(t, err)
	return newBank(t, db, true)
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
		confirmed := bankChild(t, dir, limit)
		b = openBankDir(t, dir)
		b.audit(t, life == bankCrashes)
		b.applies(t, confirmed)
		require.NoError(t, b.db.Close())
	}
}

// applies checks that what was confirmed is in the books.
func (b *bank) applies(t *testing.T, confirmed []string) {
	t.Helper()
	require.NoError(t, b.db.View(bg, func(tx *pebblemq.Tx) error {
		for _, id := range confirmed {
			n, err := number(tx, "applied/"+id)
			require.NoError(t, err)
			require.Equal(t, 1, n, "transfer %s was confirmed", id)
		}
		return nil
	}))
}

// confirmation is how a child reports a transfer: a line of its own, which one
// write puts whole into the pipe to the parent.
var confirmation = regexp.MustCompile(`(?m)^confirmed ([0-9]+)$`)

// bankChild runs one life of the bank in a process of its own, and returns the
// transfers that were confirmed in it.
func bankChild(t *testing.T, dir string, limit int) (confirmed []string) {
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
	for _, m := range confirmation.FindAllSubmatch(out, -1) {
		confirmed = append(confirmed, string(m[1]))
	}
	require.False(t, err != nil && len(confirmed) == 0, "it kills itself after one: %s", out)
	return confirmed
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
		b.work(ctx, func(id int) {
			fmt.Printf("confirmed %d\n", id)
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
