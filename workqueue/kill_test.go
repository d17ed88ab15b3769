package workqueue_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

const childEnv = "PEBBLEMQ_WORKQUEUE_CHILD"

// child runs a test of this binary in a process of its own and returns what it
// printed, line by line, until it ended or alive said to kill it.
func child(t *testing.T, test, dir string, kill time.Duration) (lines []string, killed bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^"+test+"$")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	scan := bufio.NewScanner(out)
	for scan.Scan() {
		if len(lines) == 0 && kill > 0 {
			time.AfterFunc(kill, func() { _ = cmd.Process.Kill() })
		}
		lines = append(lines, scan.Text())
	}
	err = cmd.Wait()
	require.NoError(t, ctx.Err())
	return lines, err != nil
}

func childDir(t *testing.T) string {
	dir := os.Getenv(childEnv)
	if dir == "" {
		t.Skip("the other half of a test that runs it in a child process")
	}
	return dir
}

func TestAKilledProcessLosesNothingConfirmed(t *testing.T) {
	for _, c := range []struct {
		child  string
		rounds int
	}{{"TestChildGets", 20}, {"TestChildConsumes", 12}, {"TestChildRuns", 12}} {
		t.Run(c.child, func(t *testing.T) {
			dir, w := t.TempDir(), newWitness()
			for range c.rounds {
				lines, _ := child(t, c.child, dir, 1+rand.N(30*time.Millisecond))
				w.listen(lines)
				checkCopy(t, dir, w)
			}
			require.Greater(t, len(w.published), 20)
			require.Greater(t, len(w.gone), 10)
		})
	}
}

// listen notes what a process printed.
func (w *witness) listen(lines []string) {
	sets := map[string]map[int]bool{"published": w.published, "acking": w.gone, "acked": w.acked}
	for _, line := range lines {
		word, number, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(number)
		if set := sets[word]; set != nil && err == nil { // or it is of the test binary, or cut off
			w.note(set, n)
		}
	}
}

// checkCopy leaves the directory as it is, but for having been open.
func checkCopy(t *testing.T, dir string, w *witness) {
	copied := t.TempDir() + "/copy"
	db, err := pebblemq.Open(dir, nil)
	require.NoError(t, err)
	require.NoError(t, db.Checkpoint(bg, copied))
	require.NoError(t, db.Close())
	db, err = pebblemq.Open(copied, nil)
	require.NoError(t, err)
	b := openBroker(t, db)
	topology(t, b)
	w.check(t, b, "after a kill")
	require.NoError(t, db.Close())
}

// openChild is a broker in a process that will be killed.
func openChild(t *testing.T) *workqueue.Broker {
	db, err := pebblemq.Open(childDir(t), nil)
	require.NoError(t, err)
	b := openBroker(t, db)
	topology(t, b)
	return b
}

// publishForEver prints each message that was confirmed.
func publishForEver(t *testing.T, b *workqueue.Broker, each func()) {
	for id := rand.IntN(1 << 40); ; id++ {
		m := workqueue.Message{MessageID: fmt.Sprint(id), Body: []byte(fmt.Sprint(id))}
		require.NoError(t, b.Publish(bg, "", "q", m))
		fmt.Println("published", id)
		each()
	}
}

// ackAloud prints what it does before, and after.
func ackAloud(t *testing.T, d *workqueue.Delivery) {
	fmt.Println("acking", string(d.Body))
	require.NoError(t, d.Ack(pebblemq.WithDurability(bg, pebblemq.Sync)))
	fmt.Println("acked", string(d.Body))
}

func TestChildGets(t *testing.T) {
	b := openChild(t)
	turn := 0
	publishForEver(t, b, func() {
		if turn++; turn%2 == 0 {
			return
		}
		d, ok, err := queueOf(t, b, "q").Get(bg)
		require.NoError(t, err)
		if ok {
			ackAloud(t, d)
		}
	})
}

// TestChildConsumes has always some messages out, and gives back or rejects others.
func TestChildConsumes(t *testing.T) {
	b := openChild(t)
	c, err := queueOf(t, b, "q").Consume(bg, &workqueue.ConsumeOptions{Prefetch: 8})
	require.NoError(t, err)
	go publishForEver(t, b, func() {})
	for {
		d, err := c.Next(bg)
		require.NoError(t, err)
		switch rand.IntN(4) {
		case 0:
			require.NoError(t, d.Nack(bg, true))
		case 1:
			require.NoError(t, d.Reject(bg))
		default:
			ackAloud(t, d)
		}
	}
}

func TestChildRuns(t *testing.T) {
	b := openChild(t)
	go publishForEver(t, b, func() {})
	handle := func(_ context.Context, d *workqueue.Delivery) error {
		if rand.IntN(4) == 0 {
			return errors.New("try again")
		}
		fmt.Println("acking", string(d.Body))
		return nil
	}
	later := pebblemq.Backoff{Min: time.Hour, Max: time.Hour} // is delayed when it is counted
	require.NoError(t, queueOf(t, b, "q").Run(bg, handle, &workqueue.RunOptions{Concurrency: 4, Backoff: later}))
}

// TestAPoisonMessageEndsInTheDeadLetterPlace has a handler that kills its
// process when it meets one message, with others in flight around it.
func TestAPoisonMessageEndsInTheDeadLetterPlace(t *testing.T) {
	const limit, neighbours = 4, 40
	dir := t.TempDir()
	db, err := pebblemq.Open(dir, nil)
	require.NoError(t, err)
	b := openBroker(t, db)
	declare(t, b, "dead", "done")
	declareQueue(t, b, "q", &workqueue.QueueConfig{
		DeliveryLimit: limit, DeadLetter: &workqueue.DeadLetter{Key: "dead"},
	})
	for i := range neighbours {
		if i == neighbours/2 {
			publish(t, b, "q", "poison")
		}
		publish(t, b, "q", fmt.Sprint(i))
	}
	require.NoError(t, db.Close())

	deaths := 0
	for ; ; deaths++ {
		require.LessOrEqual(t, deaths, limit+1)
		if _, killed := child(t, "TestChildMeetsPoison", dir, 0); !killed {
			break
		}
	}
	t.Logf("%d deaths", deaths)

	db, err = pebblemq.Open(dir, nil)
	require.NoError(t, err)
	defer storetest.Close(t, db)
	b = openBroker(t, db)
	require.NoError(t, get(t, b, "dead", "poison").Ack(bg))
	require.Zero(t, ready(t, b, "dead"), "only the poison")
	require.Zero(t, ready(t, b, "q"))
	var done []int
	for {
		d, ok, err := queueOf(t, b, "done").Get(bg)
		require.NoError(t, err)
		if !ok {
			break
		}
		n, err := strconv.Atoi(string(d.Body))
		require.NoError(t, err)
		done = append(done, n)
		require.NoError(t, d.Ack(bg))
	}
	slices.Sort(done)
	require.Len(t, slices.Compact(done), neighbours, "every neighbour was processed")
}

func TestChildMeetsPoison(t *testing.T) {
	db, err := pebblemq.Open(childDir(t), nil)
	require.NoError(t, err)
	b := openBroker(t, db)
	ctx, cancel := context.WithCancel(bg)
	idle := func() {
		for _, q := range []string{"q", "dead"} {
			st, err := queueOf(t, b, q).Stats(bg)
			require.NoError(t, err)
			if q == "q" && st.Ready+st.Unacked > 0 || q == "dead" && st.Ready == 0 {
				return
			}
		}
		cancel()
	}
	handler := func(_ context.Context, d *workqueue.Delivery) error {
		if string(d.Body) == "poison" {
			self, err := os.FindProcess(os.Getpid())
			require.NoError(t, err)
			require.NoError(t, self.Kill())
			select {}
		}
		return db.Update(bg, func(tx *pebblemq.Tx) error {
			if err := b.In(tx).Publish("", "done", d.Message); err != nil {
				return err
			}
			return b.In(tx).Ack(d)
		})
	}
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if idle(); ctx.Err() != nil {
				return
			}
		}
	}()
	require.NoError(t, queueOf(t, b, "q").Run(ctx, handler, &workqueue.RunOptions{Concurrency: 4}))
	require.NoError(t, db.Close())
}
