package idempotency_test

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// childEnv names the test that a re-executed test binary runs. A failed engine is
// left parked, goroutines and all, so such tests have a process of their own.
const childEnv = "PEBBLEMQ_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// countOf returns how many keys have an outcome.
func countOf(k *idempotency.Namespace) (uint64, error) {
	info, err := k.Info(context.Background())
	return info.Completed, err
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

func wrap(s *store.Store) *pebblemq.DB { return bridge.DB(s).(*pebblemq.DB) }
