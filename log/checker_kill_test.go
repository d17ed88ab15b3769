package log_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/logcheck"
)

// What the killed process is to do.
const (
	killedDirEnv  = "PEBBLEMQ_TEST_KILLED_DIR"
	killedLifeEnv = "PEBBLEMQ_TEST_KILLED_LIFE"
	killedSeedEnv = "PEBBLEMQ_TEST_KILLED_SEED"
)

// opPrefix begins the lines of the child that are an Op of its history.
const opPrefix = "op "

// TestHistoriesOverKillsAreSound has a process of its own use a log in a real
// directory and kills it in the midst of that, several times. The child says what
// it does before it does it, and what it saw as soon as it did.
func TestHistoriesOverKillsAreSound(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	h := logcheck.New()
	const lives = 10
	for n := range lives {
		killed(t, dir, n, rng, h.Begin())
		h.Crash(nil)
	}
	db, err := pebblemq.Open(dir, nil)
	require.NoError(t, err)
	newWorkload(t, db, h.Begin(), lives).readAll()
	require.NoError(t, db.Close())
	requireSound(t, h.Ops())
}

// killed records a life that ends with SIGKILL after a number of operations.
func killed(t *testing.T, dir string, n int, rng *rand.Rand, life *logcheck.Life) {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(limited, os.Args[0], "-test.run=^TestKilledLogChild$")
	cmd.Env = append(os.Environ(), childEnv+"="+t.Name(), killedDirEnv+"="+dir,
		fmt.Sprintf("%s=%d", killedLifeEnv, n), fmt.Sprintf("%s=%d", killedSeedEnv, rng.Uint64()))
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	var other []string
	for left := 50 + rng.IntN(2000); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // what it was killed in the midst of saying was not said
		}
		text, ok := strings.CutPrefix(line, opPrefix)
		if !ok {
			other = append(other, line)
			continue
		}
		var op logcheck.Op
		require.NoError(t, json.Unmarshal([]byte(text), &op), text)
		life.Record(op)
		if left--; left == 0 {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	err = cmd.Wait()
	require.NoError(t, limited.Err())
	require.ErrorContains(t, err, "killed", "the child ended by itself: %s", other)
}

// TestKilledLogChild is the other half of the test above.
func TestKilledLogChild(t *testing.T) {
	dir := os.Getenv(killedDirEnv)
	if dir == "" {
		t.Skip("the other half of a test that runs it in a child process")
	}
	n, err := strconv.Atoi(os.Getenv(killedLifeEnv))
	require.NoError(t, err)
	seed, err := strconv.ParseUint(os.Getenv(killedSeedEnv), 10, 64)
	require.NoError(t, err)
	o := &pebblemq.Options{MemoryBytes: 1 << 20}
	if seed%3 > 0 {
		o.SyncInterval = time.Minute // a kill takes more of what is NoSync
	}
	db, err := pebblemq.Open(dir, o)
	require.NoError(t, err)
	h := logcheck.New()
	h.Tee(func(op logcheck.Op) {
		line, err := json.Marshal(op)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s%s\n", opPrefix, line)
	})
	w := newWorkload(t, db, h.Begin(), n)
	w.readAll()
	w.start(seed, math.MaxInt)
	w.wait()
}
