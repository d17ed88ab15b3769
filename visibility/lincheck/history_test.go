package lincheck

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/visibility"
)

const (
	clients       = 4
	opsOfClient   = 12
	leaseTime     = time.Hour // none ends during a history
	groupsOfQueue = 3
)

// recorder runs clients against a queue and writes down what they saw.
type recorder struct {
	t     *testing.T
	rules rules
	fs    *storetest.FS
	db    *pebblemq.DB
	q     *visibility.Queue
	start time.Time
	sent  atomic.Int64
	dying atomic.Bool // what returns from now on was not seen by anyone

	mu       sync.Mutex
	receipts []input // to settle
	history  []porcupine.Operation
}

func record(t *testing.T, r rules, seed uint64) []porcupine.Operation {
	h := &recorder{t: t, rules: r, fs: storetest.NewFS(vfs.NewCrashableMem()), start: time.Now()}
	h.open(false)
	random := rand.New(rand.NewPCG(seed, 1))
	lives := 1
	if r.crashes {
		lives = 3
	}
	for life := range lives {
		if life > 0 {
			h.open(false)
		}
		h.run(random, life, life < lives-1)
	}
	require.NoError(t, h.db.Close())
	h.open(true)
	h.drain()
	require.NoError(t, h.db.Close())
	return withoutIdle(h.history)
}

// withoutIdle drops what a crash cut off and what cannot have mattered: it would
// only multiply the orders to look through.
func withoutIdle(history []porcupine.Operation) []porcupine.Operation {
	seen := map[string]bool{}
	for _, o := range history {
		out := o.Output.(output)
		seen[out.id] = true
		for _, id := range out.ids {
			seen[id] = true
		}
	}
	return slices.DeleteFunc(history, func(o porcupine.Operation) bool {
		in := o.Input.(input)
		return o.Output.(output).outcome == unknown && (in.kind == extend || in.kind == send && !seen[in.id])
	})
}

func (h *recorder) open(release bool) {
	var err error
	h.db, err = storetest.OpenFS(h.fs, store.Options{MemoryBytes: store.MinMemoryBytes})
	require.NoError(h.t, err)
	h.q, err = visibility.OpenQueue(context.Background(), h.db, "q", &visibility.QueueConfig{FIFO: h.rules.fifo, VisibilityTimeout: leaseTime, ReleaseOnOpen: release})
	require.NoError(h.t, err)
}

// run has the clients do their part, until they are through or, if they are to
// crash, somewhere in the middle.
func (h *recorder) run(random *rand.Rand, life int, crash bool) {
	h.dying.Store(false)
	var all sync.WaitGroup
	var done atomic.Int64
	end := int64(math.MaxInt64)
	if crash {
		end = random.Int64N(clients*opsOfClient/2) + 1
	}
	killed := make(chan struct{})
	for c := range clients {
		r := rand.New(rand.NewPCG(random.Uint64(), uint64(c)))
		all.Go(func() {
			for range opsOfClient {
				h.operate(r, life*clients+c)
				if done.Add(1) == end {
					h.dying.Store(true)
					close(killed)
				}
				if h.dying.Load() {
					return
				}
			}
		})
	}
	if crash {
		<-killed
		clone := h.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: random})
		all.Wait()
		require.NoError(h.t, h.db.Close())
		h.fs = storetest.NewFS(clone)
		return
	}
	all.Wait()
}

// operate does one random operation.
func (h *recorder) operate(random *rand.Rand, client int) {
	in := input{kind: kind(random.IntN(int(drain)))}
	d := pebblemq.Sync // or a crash could take back what somebody saw
	if !h.rules.crashes && random.IntN(2) == 0 {
		d = pebblemq.NoSync
	}
	switch in.kind {
	case send:
		in.id = fmt.Sprint(h.sent.Add(1))
		if h.rules.fifo {
			in.group = fmt.Sprint("g", random.IntN(groupsOfQueue))
		}
	case remove, release, extend:
		known, ok := h.receipt(random)
		if !ok {
			return
		}
		in.id, in.receipt = known.id, known.receipt
	}
	call := time.Since(h.start)
	out := h.do(pebblemq.WithDurability(context.Background(), d), in)
	back := int64(time.Since(h.start))
	if h.dying.Load() {
		out, back = output{outcome: unknown}, math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.history = append(h.history, porcupine.Operation{ClientId: client, Input: in, Call: int64(call), Output: out, Return: back})
	if out.receipt != "" {
		h.receipts = append(h.receipts, input{id: out.id, receipt: out.receipt})
	}
}

// receipt returns one that somebody got, more often a late one.
func (h *recorder) receipt(random *rand.Rand) (input, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.receipts) == 0 {
		return input{}, false
	}
	n := min(random.IntN(len(h.receipts)), random.IntN(len(h.receipts)))
	return h.receipts[len(h.receipts)-1-n], true
}

func (h *recorder) do(ctx context.Context, in input) output {
	var err error
	switch r := visibility.Receipt(in.receipt); in.kind {
	case send:
		_, err = h.q.Send(ctx, visibility.Message{Body: []byte(in.id), Group: in.group})
	case receive:
		return h.receive(ctx)
	case remove:
		err = h.q.Delete(ctx, r)
	case release:
		err = h.q.ChangeVisibility(ctx, r, 0)
	case extend:
		err = h.q.ChangeVisibility(ctx, r, 2*leaseTime)
	}
	return output{outcome: h.outcomeOf(err)}
}

func (h *recorder) receive(ctx context.Context) output {
	got, err := h.q.Receive(ctx, nil)
	out := output{outcome: h.outcomeOf(err)}
	for _, m := range got {
		out.id, out.receipt = string(m.Body), string(m.Receipt)
	}
	return out
}

func (h *recorder) outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return fine
	case errors.Is(err, visibility.ErrStaleReceipt):
		return stale
	case errors.Is(err, visibility.ErrNotInFlight):
		return notInFlight
	case !h.dying.Load():
		h.t.Errorf("unexpected: %v", err)
	}
	return unknown
}

// drain takes out everything. After a crash some of it comes one by one.
func (h *recorder) drain() {
	ctx := context.Background()
	out := output{}
	call := time.Since(h.start)
	for {
		st, err := h.q.Stats(ctx)
		require.NoError(h.t, err)
		if st.Visible == 0 {
			break
		}
		got, err := h.q.Receive(ctx, &visibility.ReceiveOptions{Max: 10, Wait: 10 * time.Second})
		require.NoError(h.t, err)
		require.NotEmpty(h.t, got, "%+v", st)
		for _, m := range got {
			out.ids = append(out.ids, string(m.Body))
			require.NoError(h.t, h.q.Delete(ctx, m.Receipt))
		}
	}
	slices.Sort(out.ids)
	h.history = append(h.history, porcupine.Operation{
		ClientId: 1000, Input: input{kind: drain}, Call: int64(call), Output: out, Return: int64(time.Since(h.start)),
	})
}
