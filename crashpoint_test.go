package pebblemq_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// A crash before any write or fsync of a mixed run leaves the queues as they were before the operation
// under way, or after it. What they have is seen with Browse alone, of the living store and of what the
// crash left.
func TestACrashAtAnyWriteIsBeforeOrAfterAnOperation(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	steps := 120
	if testing.Short() {
		steps = 40
	}
	p := newCrashPoints(t, seed)
	states := []string{p.contents(p.db)}
	for range steps {
		p.step()
		states = append(states, p.contents(p.db))
		p.done.Add(1)
	}
	p.disk.SetHook(nil)
	storetest.Close(t, p.db)
	t.Logf("%d crashes", len(p.crashes))
	require.Greater(t, len(p.crashes), steps)
	for _, c := range p.crashes {
		c.check(t, p, states)
	}
}

// crashPoints is a store that crashes before each write, and goes on.
type crashPoints struct {
	t      *testing.T
	rng    *rand.Rand
	mem    *vfs.MemFS
	disk   *storetest.FS
	db     *pebblemq.DB
	broker *workqueue.Broker
	vis    []*visibility.Queue
	out    []*workqueue.Delivery
	leased map[int][]visibility.Receipt
	n      int          // of the next message
	done   atomic.Int64 // operations

	mu      sync.Mutex
	crashes []crashPoint
}

// crashPoint is what a crash has left, and the operation that was under way.
type crashPoint struct {
	fs      *vfs.MemFS
	at      int64
	call    storetest.Call
	percent int
}

var (
	crashedQueues = []string{"plain", "ranked", "copy", "dead"}
	synced        = pebblemq.WithDurability(bg, pebblemq.Sync)
)

func newCrashPoints(t *testing.T, seed uint64) *crashPoints {
	p := &crashPoints{t: t, rng: rand.New(rand.NewPCG(seed, 0)), mem: vfs.NewCrashableMem(), leased: make(map[int][]visibility.Receipt)}
	p.disk = storetest.NewFS(p.mem)
	var err error
	p.db, err = storetest.OpenFS(p.disk, store.Options{})
	require.NoError(t, err)
	p.broker, err = workqueue.OpenBroker(bg, p.db, "main")
	require.NoError(t, err)
	require.NoError(t, p.broker.DeclareExchange(bg, "all", workqueue.Fanout, nil))
	for _, name := range []string{"dead", "plain", "ranked", "copy"} {
		config := &workqueue.QueueConfig{DeliveryLimit: 3, DeadLetter: &workqueue.DeadLetter{Key: "dead"}}
		switch name {
		case "dead":
			config = nil
		case "ranked":
			config.MaxPriority = 3
		}
		declareQueue(t, p.broker, name, config)
		if config != nil {
			require.NoError(t, p.broker.Bind(bg, workqueue.Binding{Exchange: "all", Queue: name}))
		}
	}
	p.openVisibility(p.db)
	random := rand.New(rand.NewPCG(seed, 1))
	p.disk.SetHook(func(c storetest.Call) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if c.Op == storetest.OpWrite || c.Op == storetest.OpSync {
			percent := 50 * random.IntN(3)
			clone := p.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: random})
			p.crashes = append(p.crashes, crashPoint{clone, p.done.Load(), c, percent})
		}
		return nil
	})
	return p
}

func (p *crashPoints) openVisibility(db *pebblemq.DB) {
	p.vis = nil
	for _, fifo := range []bool{false, true} {
		q, err := visibility.OpenQueue(bg, db, fmt.Sprintf("fifo %v", fifo), &visibility.QueueConfig{FIFO: fifo, Retention: time.Hour})
		require.NoError(p.t, err)
		p.vis = append(p.vis, q)
	}
}

// contents are all messages of all queues, in order, and a key of the application.
func (p *crashPoints) contents(db *pebblemq.DB) string {
	var b strings.Builder
	broker, err := workqueue.OpenBroker(bg, db, "main")
	require.NoError(p.t, err)
	for _, name := range crashedQueues {
		fmt.Fprintf(&b, "\n%s:", name)
		for m, err := range queueOf(p.t, broker, name).Browse(bg, nil) {
			require.NoError(p.t, err)
			fmt.Fprintf(&b, " %s", numberOf(m.Body))
			if m.State == workqueue.Delayed {
				b.WriteString(" later")
			}
		}
	}
	for _, name := range []string{"fifo false", "fifo true"} {
		fmt.Fprintf(&b, "\n%s:", name)
		q, err := visibility.LookupQueue(bg, db, name)
		require.NoError(p.t, err)
		for m, err := range q.Browse(bg, nil) {
			require.NoError(p.t, err)
			fmt.Fprintf(&b, " %s", numberOf(m.Body))
		}
	}
	require.NoError(p.t, db.View(bg, func(tx *pebblemq.Tx) error {
		n, err := number(tx, "transactions")
		fmt.Fprintf(&b, "\ntransactions %d", n)
		return err
	}))
	return b.String()
}

// body is a numbered one, at times large enough to be shared by the queues that have it.
func (p *crashPoints) body() []byte {
	p.n++
	return fmt.Appendf(nil, "%d %s", p.n, make([]byte, 9000*p.rng.IntN(2)))
}

func numberOf(body []byte) string {
	n, _, _ := strings.Cut(string(body), " ")
	return n
}

// step is one operation.
func (p *crashPoints) step() {
	t := p.t
	switch v := p.rng.IntN(len(p.vis)); p.rng.IntN(16) {
	case 0, 1, 2:
		m := workqueue.Message{Body: p.body(), Priority: uint8(p.rng.IntN(4)), TTL: time.Hour * time.Duration(p.rng.IntN(2))}
		require.NoError(t, p.broker.Publish(synced, "all", "", m))
	case 3:
		require.NoError(t, p.broker.Publish(synced, "", "plain", workqueue.Message{Body: p.body(), Delay: time.Hour, MessageID: "later"}))
	case 4, 5, 6:
		d, ok, err := queueOf(t, p.broker, crashedQueues[p.rng.IntN(4)]).Get(synced)
		require.NoError(t, err)
		if ok {
			p.out = append(p.out, d)
		}
	case 7, 8, 9:
		if len(p.out) > 0 {
			d := p.out[0]
			p.out = p.out[1:]
			end := []func(context.Context) error{d.Ack, func(ctx context.Context) error { return d.Nack(ctx, true) }, d.Reject}[p.rng.IntN(3)]
			require.NoError(t, end(synced))
		}
	case 10, 11:
		_, err := p.vis[v].SendBatch(synced, []visibility.Message{{Body: p.body(), Group: "a"}, {Body: p.body(), Group: "b"}}, nil)
		require.NoError(t, err)
	case 12:
		got, err := p.vis[v].Receive(synced, &visibility.ReceiveOptions{Max: 3})
		require.NoError(t, err)
		for _, m := range got {
			p.leased[v] = append(p.leased[v], m.Receipt)
		}
	case 13:
		if r := p.leased[v]; len(r) > 0 {
			require.NoError(t, p.vis[v].Delete(synced, r[0]))
			p.leased[v] = r[1:]
		}
	case 14:
		require.NoError(t, p.db.Update(synced, func(tx *pebblemq.Tx) error {
			n, err := number(tx, "transactions")
			require.NoError(t, err)
			tx.Set([]byte("transactions"), fmt.Append(nil, n+1))
			_, err = p.vis[v].In(tx).Send(visibility.Message{Body: p.body(), Group: "a"})
			require.NoError(t, err)
			return p.broker.In(tx).Publish("all", "", workqueue.Message{Body: p.body()})
		}))
	case 15:
		if p.rng.IntN(2) == 0 {
			_, err := queueOf(t, p.broker, "copy").Purge(synced)
			require.NoError(t, err)
		} else {
			_ = queueOf(t, p.broker, "plain").Cancel(synced, "later") // if there is one
		}
	}
}

// check opens what the crash has left.
func (c crashPoint) check(t *testing.T, p *crashPoints, states []string) {
	db, err := storetest.OpenFS(c.fs, store.Options{})
	require.NoError(t, err)
	p.openVisibility(db)
	require.Contains(t, states[c.at:c.at+2], p.contents(db), "after %d operations, before %+v, %d %% of what is not synced", c.at, c.call, c.percent)
	storetest.Close(t, db)
}
