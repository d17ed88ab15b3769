package store_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pebblemq/pebblemq/internal/store"
)

// childEnv tells a re-executed test binary that it is a child, and what to do.
// A failed engine is left parked, goroutines and all, so tests that make it
// fail run in a process of their own.
const childEnv = "PEBBLEMQ_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// child runs the test of that name in a child process and returns its output.
func child(t *testing.T, test string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	out, err := childCommand(ctx, test, args...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), childDone) {
		t.Fatalf("%s %s: %v\n%s", test, strings.Join(args, " "), err, tail(out))
	}
}

// childDone is the last word of a child: that it exited well is not enough,
// as the engine's way out of trouble is to exit.
const childDone = "child: all is well"

func childCommand(ctx context.Context, test string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+test+"$", "-test.timeout=150s")
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(args, " "), "GORACE=atexit_sleep_ms=0")
	return cmd
}

// childArgs returns the arguments of a child, and skips the test elsewhere.
func childArgs(t *testing.T) []string {
	t.Helper()
	v := os.Getenv(childEnv)
	if v == "" {
		t.Skip("runs in a child process")
	}
	return strings.Fields(v)
}

func tail(out []byte) []byte { return out[max(0, len(out)-8<<10):] }

// small is a store whose WAL is rotated and whose tables are written within a
// test.
func small(fs vfs.FS) store.Options {
	return store.Options{FS: fs, Dir: "data", MemoryBytes: store.MinMemoryBytes, Logger: testLogger()}
}

// testLogger prints what the store reports, if asked to.
func testLogger() *slog.Logger {
	if os.Getenv("PEBBLEMQ_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

func openStore(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(o)
	require.NoError(t, err)
	return s
}

// openMem opens a store in memory and closes it with the test.
func openMem(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.OpenMemory(store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// noRand serves clones that keep everything.
var noRand = rand.New(rand.NewPCG(0, 0))

// logText is what a store has logged. It may be read while the store logs.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
