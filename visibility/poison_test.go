package visibility_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

const (
	poisonReceives = 3
	poisonMessages = 60
)

// TestPoisonEndsInTheDeadLetterQueue has a message kill its process at each
// receive, at once and with everything else under way.
func TestPoisonEndsInTheDeadLetterQueue(t *testing.T) {
	for _, mode := range []string{"run", "batch"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			db, err := pebblemq.Open(dir, nil)
			require.NoError(t, err)
			q, _ := poisonQueues(t, db)
			for i := range poisonMessages {
				body := fmt.Sprint(i)
				if i == 7 {
					body = "poison"
				}
				send(t, q, body)
			}
			require.NoError(t, db.Close())

			crashes := 0
			for !poisonChild(t, dir, mode) {
				crashes++
				require.LessOrEqual(t, crashes, poisonReceives+1)
			}
			t.Logf("%d crashes", crashes)

			db, err = pebblemq.Open(dir, nil)
			require.NoError(t, err)
			defer func() { require.NoError(t, db.Close()) }()
			q, dead := poisonQueues(t, db)
			require.Zero(t, stats(t, q), "the neighbours were processed")
			got := receive(t, dead, 10)
			require.Equal(t, []string{"poison"}, bodies(got))
			require.Equal(t, poisonReceives, got[0].DeadLetter.ReceiveCount)
		})
	}
}

func poisonQueues(t *testing.T, db *pebblemq.DB) (q, dead *visibility.Queue) {
	dead = open(t, db, "dead", nil)
	q, err := visibility.OpenQueue(ctx, db, "q",
		&visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: poisonReceives, ReleaseOnOpen: true})
	require.NoError(t, err)
	return q, dead
}

// poisonChild reports whether the child got through.
func poisonChild(t *testing.T, dir, mode string) bool {
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(limited, os.Args[0], "-test.run=^TestPoisonChild$", "-test.timeout=50s")
	cmd.Env = append(os.Environ(), childEnv+"="+mode+" "+dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, limited.Err())
	if err == nil {
		require.Contains(t, string(out), poisonDone)
		return true
	}
	require.Contains(t, err.Error(), "killed", "%s", out)
	return false
}

const poisonDone = "child: all is well"

func TestPoisonChild(t *testing.T) {
	mode, dir, ok := strings.Cut(os.Getenv(childEnv), " ")
	if !ok {
		t.Skip("runs in a child process")
	}
	db, err := pebblemq.Open(dir, nil)
	require.NoError(t, err)
	q, dead := poisonQueues(t, db)
	if mode == "run" {
		poisonRun(t, q, dead)
	} else {
		poisonBatches(t, q)
	}
	counts(t, dead, 1, 0, 0)
	require.NoError(t, db.Close())
	fmt.Println(poisonDone)
}

func handlePoison(body []byte) {
	if string(body) == "poison" {
		self, _ := os.FindProcess(os.Getpid())
		_ = self.Kill()
		select {}
	}
}

func poisonRun(t *testing.T, q, dead *visibility.Queue) {
	handled := make(chan struct{}, poisonMessages+1)
	c, cancel := context.WithCancel(ctx)
	ended := make(chan error)
	go func() {
		ended <- q.Run(c, func(_ context.Context, m *visibility.Received) error {
			handlePoison(m.Body)
			defer func() { handled <- struct{}{} }()
			return q.Delete(ctx, m.Receipt)
		}, &visibility.RunOptions{Concurrency: 4})
	}()
	go func() { // no handler sees the last move
		if got, _ := dead.Receive(c, &visibility.ReceiveOptions{Wait: time.Hour, VisibilityTimeout: visibility.NoVisibilityTimeout}); len(got) > 0 {
			handled <- struct{}{}
		}
	}()
	for {
		s := stats(t, q)
		if s.Visible+s.InFlight == 0 {
			break
		}
		<-handled
	}
	cancel()
	require.NoError(t, <-ended)
}

// poisonBatches works from the end of each batch, so that many are out when the
// poison strikes.
func poisonBatches(t *testing.T, q *visibility.Queue) {
	for {
		got := receive(t, q, 10)
		if len(got) == 0 {
			return
		}
		for _, m := range slices.Backward(got) {
			handlePoison(m.Body)
			require.NoError(t, q.Delete(ctx, m.Receipt))
		}
	}
}
