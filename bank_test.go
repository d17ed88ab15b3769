package pebblemq_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

// The bank: 64 workers take transfers from a log, a work queue and a visibility
// queue. Each transfer was sent twice, to two of the three, and the process
// crashes again and again. The sum of all accounts never changes, and in the end
// every transfer has been applied once.
const (
	bankAccounts  = 20
	bankTransfers = 300
	bankBalance   = 1000
	bankCrashes   = 6
	bankWorkers   = 64
)

// bank is one life of the store.
type bank struct {
	db     *pebblemq.DB
	topic  *log.Topic
	group  *log.Group
	broker *workqueue.Broker
	queue  *visibility.Queue
	keys   *idempotency.Namespace

	handled atomic.Int64
	applied atomic.Int64 // in this and the former lives
	failure atomic.Pointer[error]
}

func openBank(t *testing.T, fs vfs.FS) *bank {
	t.Helper()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	return newBank(t, db, false)
}

func newBank(t *testing.T, db *pebblemq.DB, release bool) *bank {
	t.Helper()
	var err error
	b := &bank{db: db}
	b.topic, err = log.OpenTopic(bg, db, "transfers", &log.TopicConfig{Partitions: 8})
	require.NoError(t, err)
	b.group, err = b.topic.OpenGroup(bg, "bank", nil)
	require.NoError(t, err)
	b.broker, err = workqueue.OpenBroker(bg, db, "bank")
	require.NoError(t, err)
	declareQueue(t, b.broker, "transfers", nil)
	b.queue, err = visibility.OpenQueue(bg, db, "transfers", &visibility.QueueConfig{ReleaseOnOpen: release})
	require.NoError(t, err)
	b.keys, err = idempotency.OpenNamespace(bg, db, "transfers", nil)
	require.NoError(t, err)
	return b
}

// transfer is "id from to amount" on the wire.
type transfer struct{ id, from, to, amount int }

func (x transfer) String() string { return fmt.Sprint(x.id, " ", x.from, " ", x.to, " ", x.amount) }

func parseTransfer(body []byte) (x transfer, err error) {
	_, err = fmt.Sscan(string(body), &x.id, &x.from, &x.to, &x.amount)
	return x, err
}

func number(tx *pebblemq.Tx, key string) (int, error) {
	v, err := tx.Get([]byte(key))
	if err != nil || v == nil {
		return 0, err
	}
	return strconv.Atoi(string(v))
}

func addTo(tx *pebblemq.Tx, key string, by int) (int, error) {
	n, err := number(tx, key)
	if err != nil {
		return 0, err
	}
	return n + by, tx.Set([]byte(key), strconv.AppendInt(nil, int64(n+by), 10))
}

// apply moves the money. That it was applied is counted, to catch a second time.
func (b *bank) apply(tx *pebblemq.Tx, body []byte) (total int, err error) {
	x, err := parseTransfer(body)
	if err != nil {
		return 0, err
	}
	_, e1 := addTo(tx, fmt.Sprintf("account/%02d", x.from), -x.amount)
	_, e2 := addTo(tx, fmt.Sprintf("account/%02d", x.to), x.amount)
	_, e3 := addTo(tx, fmt.Sprintf("applied/%d", x.id), 1)
	total, e4 := addTo(tx, "total", 1)
	return total, errors.Join(e1, e2, e3, e4)
}

// handler makes the transactional handler of one queue. After is told of each
// transfer that is confirmed.
func handler[M any](b *bank, body func(M) []byte, settle func(*pebblemq.Tx, M) error, after func(id int)) func(context.Context, M) error {
	w := idempotency.Wrapper[M]{Keys: b.keys, Key: func(m M) ([]byte, error) {
		x, err := parseTransfer(body(m))
		return strconv.AppendInt(nil, int64(x.id), 10), err
	}}
	return func(ctx context.Context, m M) error {
		x, err := parseTransfer(body(m))
		if err != nil {
			return err
		}
		var total int
		err = w.Transactional(b.db, func(tx *pebblemq.Tx, m M) (err error) {
			total, err = b.apply(tx, body(m))
			return err
		}, settle)(ctx, m)
		if err == nil {
			b.handled.Add(1)
			for n := b.applied.Load(); int64(total) > n && !b.applied.CompareAndSwap(n, int64(total)); n = b.applied.Load() {
			}
			after(x.id)
		}
		return err
	}
}

// fund opens the accounts and sends every transfer twice, all in a few commits.
func (b *bank) fund(t *testing.T, seed *rand.Rand) {
	t.Helper()
	require.NoError(t, b.db.Update(bg, func(tx *pebblemq.Tx) error {
		for i := range bankAccounts {
			if _, err := addTo(tx, fmt.Sprintf("account/%02d", i), bankBalance); err != nil {
				return err
			}
		}
		for id := range bankTransfers {
			x := transfer{id, seed.IntN(bankAccounts), seed.IntN(bankAccounts), seed.IntN(50)}
			first := seed.IntN(3)
			if err := errors.Join(b.send(tx, first, x), b.send(tx, (first+1+seed.IntN(2))%3, x)); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (b *bank) send(tx *pebblemq.Tx, where int, x transfer) (err error) {
	body := []byte(x.String())
	switch where {
	case 0:
		_, err = b.topic.In(tx).Append(log.Record{Key: strconv.AppendInt(nil, int64(x.id), 10), Value: body})
	case 1:
		err = b.broker.In(tx).Publish("", "transfers", workqueue.Message{Body: body})
	default:
		_, err = b.queue.In(tx).Send(visibility.Message{Body: body})
	}
	return err
}

// work runs all workers until ctx ends.
func (b *bank) work(ctx context.Context, after func(id int)) {
	var wg sync.WaitGroup
	run := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil && ctx.Err() == nil {
				b.failure.Store(&err)
			}
		})
	}
	const share = bankWorkers / 3
	run(func() error {
		transfers, err := b.broker.Queue(ctx, "transfers")
		if err != nil {
			return err
		}
		return transfers.Run(ctx, handler(b, func(d *workqueue.Delivery) []byte { return d.Body },
			func(tx *pebblemq.Tx, d *workqueue.Delivery) error { return b.broker.In(tx).Ack(d) }, after),
			&workqueue.RunOptions{Concurrency: share})
	})
	run(func() error {
		return b.queue.Run(ctx, handler(b, func(m *visibility.Received) []byte { return m.Body },
			func(tx *pebblemq.Tx, m *visibility.Received) error { return b.queue.In(tx).Delete(m.Receipt) }, after),
			&visibility.RunOptions{Concurrency: share})
	})
	for range bankWorkers - 2*share {
		run(func() error { return b.member(ctx, after) })
	}
	wg.Wait()
}

// member is a worker of the log. A record whose partition it has lost is
// another's.
func (b *bank) member(ctx context.Context, after func(id int)) error {
	m, err := b.group.Join(ctx, nil)
	if err != nil {
		return err
	}
	h := handler(b, func(r log.Record) []byte { return r.Value },
		func(tx *pebblemq.Tx, r log.Record) error { return m.In(tx).Commit(r) }, after)
	for r, err := range m.Records(ctx) {
		if err == nil {
			err = h(ctx, r)
		}
		if err != nil && !errors.Is(err, log.ErrFenced) {
			return err
		}
	}
	return m.Leave(context.WithoutCancel(ctx))
}

// drained reports whether nothing is left in any queue.
func (b *bank) drained(t *testing.T) bool {
	w, err := queueOf(t, b.broker, "transfers").Stats(bg)
	require.NoError(t, err)
	v, err := b.queue.Stats(bg)
	require.NoError(t, err)
	left := w.Ready + w.Unacked + v.Visible + v.InFlight
	lag, err := b.group.Lag(bg)
	require.NoError(t, err)
	for _, l := range lag {
		left += uint64(l.Records)
	}
	return left == 0
}

// audit checks the books.
func (b *bank) audit(t *testing.T, all bool) {
	t.Helper()
	require.NoError(t, b.db.View(bg, func(tx *pebblemq.Tx) error {
		sum, applied := 0, 0
		for e, err := range tx.Scan(&pebblemq.ScanOptions{Prefix: []byte("account/")}) {
			require.NoError(t, err)
			n, err := strconv.Atoi(string(e.Value))
			require.NoError(t, err)
			sum += n
		}
		require.Equal(t, bankAccounts*bankBalance, sum)
		for e, err := range tx.Scan(&pebblemq.ScanOptions{Prefix: []byte("applied/")}) {
			require.NoError(t, err)
			require.Equal(t, "1", string(e.Value), "%s", e.Key)
			applied++
		}
		total, err := number(tx, "total")
		require.NoError(t, err)
		require.Equal(t, applied, total)
		seen, err := b.keys.Info(bg)
		require.NoError(t, err)
		require.EqualValues(t, applied, seen.Completed, "a key for each transfer")
		if all {
			require.Equal(t, bankTransfers, applied)
		}
		return nil
	}))
}

func TestTheBankNeverLosesMoney(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 0))
		fs := vfs.NewCrashableMem()
		b := openBank(t, fs)
		b.fund(t, random)
		for range bankCrashes {
			ctx, stop := context.WithCancel(bg)
			after := int64(random.IntN(bankTransfers / bankCrashes))
			var crashed *vfs.MemFS
			var once sync.Once
			b.work(ctx, func(int) {
				if b.handled.Load() > after {
					once.Do(func() { crashed = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: random}); stop() })
				}
			})
			stop()
			require.Nil(t, b.failure.Load())
			require.NoError(t, b.db.Close())
			fs = crashed
			b = openBank(t, fs)
			b.audit(t, false)
		}
		ctx, stop := context.WithTimeout(bg, time.Hour)
		go func() {
			for range time.Tick(time.Second) { // of the bubble's time
				if ctx.Err() != nil || b.drained(t) {
					stop()
					return
				}
			}
		}()
		b.work(ctx, func(int) {})
		require.True(t, b.drained(t))
		b.audit(t, true)
		require.NoError(t, b.db.Close())
	})
}
