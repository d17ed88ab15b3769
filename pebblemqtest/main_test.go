package pebblemqtest_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var ctx = context.Background()

// childEnv names the test that a re-executed test binary runs. A failed engine is
// left parked, goroutines and all, so such tests have a process of their own.
const childEnv = "PEBBLEMQ_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// inChild reports whether it runs in the child process of the test; otherwise it
// runs that and waits for it.
func inChild(t *testing.T) bool {
	t.Helper()
	if os.Getenv(childEnv) == t.Name() {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), childEnv+"="+t.Name())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

// fakeT is a test that may fail.
type fakeT struct {
	testing.TB
	ctx context.Context
	mu  sync.Mutex
	log strings.Builder
	bad bool

	cleanup []func()
}

// failure runs a test and its cleanups, and returns whether it has failed and what it has said.
func failure(t testing.TB, test func(t testing.TB)) (failed bool, said string) {
	ctx, stop := context.WithCancel(t.Context())
	f := &fakeT{TB: t, ctx: ctx}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			stop()
			for i := len(f.cleanup) - 1; i >= 0; i-- {
				f.cleanup[i]()
			}
		}()
		test(f)
	}()
	<-done
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bad, f.log.String()
}

func (f *fakeT) Helper()                  {}
func (f *fakeT) Context() context.Context { return f.ctx }
func (f *fakeT) Cleanup(c func())         { f.cleanup = append(f.cleanup, c) }

func (f *fakeT) Failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bad
}

func (f *fakeT) Logf(format string, args ...any) { f.say(false, format, args) }

func (f *fakeT) Errorf(format string, args ...any) { f.say(true, format, args) }

func (f *fakeT) Fatalf(format string, args ...any) {
	f.say(true, format, args)
	runtime.Goexit()
}

func (f *fakeT) say(bad bool, format string, args []any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bad = f.bad || bad
	fmt.Fprintf(&f.log, format+"\n", args...)
}
