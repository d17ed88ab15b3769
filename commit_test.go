package pebblemq_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
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

// world is one of everything on one store.
type world struct {
	db     *pebblemq.DB
	topic  *log.Topic
	broker *workqueue.Broker
	mail   *visibility.Queue
	seen   *idempotency.Namespace
}

func openWorld(t testing.TB, db *pebblemq.DB) *world {
	t.Helper()
	w := &world{db: db}
	var err error
	w.topic, err = log.OpenTopic(bg, db, "orders", nil)
	require.NoError(t, err)
	w.broker, err = workqueue.OpenBroker(bg, db, "main")
	require.NoError(t, err)
	require.NoError(t, w.broker.DeclareExchange(bg, "events", workqueue.Topic, nil))
	for _, q := range []string{"in", "out"} {
		declareQueue(t, w.broker, q, nil)
	}
	require.NoError(t, w.broker.Bind(bg, workqueue.Binding{Exchange: "events", Queue: "out", Key: "order.*"}))
	w.mail, err = visibility.OpenQueue(bg, db, "mail", nil)
	require.NoError(t, err)
	w.seen, err = idempotency.OpenNamespace(bg, db, "payments", nil)
	require.NoError(t, err)
	return w
}

// stock puts one message into each queue and takes it out again, unsettled.
func (w *world) stock(t testing.TB, text string) (*workqueue.Delivery, *visibility.Received) {
	t.Helper()
	require.NoError(t, w.broker.Publish(bg, "", "in", workqueue.Message{Body: []byte(text)}))
	_, err := w.mail.Send(bg, visibility.Message{Body: []byte(text)})
	require.NoError(t, err)
	d, ok, err := queueOf(t, w.broker, "in").Get(bg)
	require.NoError(t, err)
	require.True(t, ok)
	got, err := w.mail.Receive(bg, nil)
	require.NoError(t, err)
	require.Len(t, got, 1)
	return d, got[0]
}

// all does everything in one commit.
func (w *world) all(ctx context.Context, text string, d *workqueue.Delivery, m *visibility.Received, last error) error {
	return w.db.Update(ctx, func(tx *pebblemq.Tx) error {
		if err := increment(tx); err != nil {
			return err
		}
		_, err := w.topic.In(tx).Append(log.Record{Key: []byte(text), Value: []byte(text)})
		return errors.Join(err,
			w.broker.In(tx).Publish("events", "order.paid", workqueue.Message{Body: []byte(text)}),
			w.broker.In(tx).Ack(d),
			w.mail.In(tx).Delete(m.Receipt),
			w.seen.In(tx).Complete([]byte(text), []byte(text)),
			last,
		)
	})
}

// holdings is what a world has, counted from outside.
type holdings struct {
	N                   string
	Records             int64
	Out, In, Mail, Keys uint64
}

func (w *world) holdings(t testing.TB) (h holdings) {
	t.Helper()
	h.N = all(t, w.db)["n"]
	_, end, err := w.topic.Offsets(bg, 0)
	require.NoError(t, err)
	h.Records = end
	for queue, n := range map[string]*uint64{"in": &h.In, "out": &h.Out} {
		st, err := queueOf(t, w.broker, queue).Stats(bg)
		require.NoError(t, err)
		*n = st.Ready + st.Unacked
	}
	st, err := w.mail.Stats(bg)
	require.NoError(t, err)
	h.Mail = st.Visible + st.InFlight
	seen, err := w.seen.Info(bg)
	require.NoError(t, err)
	h.Keys = seen.Completed
	return h
}

func TestOneCommitOverEverything(t *testing.T) {
	w := openWorld(t, storetest.Open(t, nil))
	d, m := w.stock(t, "first")
	require.NoError(t, w.all(bg, "first", d, m, nil))
	require.Equal(t, holdings{N: "1", Records: 1, Out: 1, Keys: 1}, w.holdings(t))

	reader, err := w.topic.NewReader(0, log.Start())
	require.NoError(t, err)
	records, err := reader.Fetch(bg, 10, 1<<20)
	require.NoError(t, err)
	require.Len(t, records, 1)
	require.Equal(t, "first", string(records[0].Value))
}

func TestAnyRefusalUndoesEverything(t *testing.T) {
	fail := errors.New("the application says no")
	for name, c := range map[string]struct {
		spoil func(t *testing.T, w *world, d *workqueue.Delivery, m *visibility.Received)
		last  error
		want  error
	}{
		"a delivery that is settled": {func(t *testing.T, w *world, d *workqueue.Delivery, _ *visibility.Received) {
			require.NoError(t, d.Ack(bg))
		}, nil, workqueue.ErrSettled},
		"a receipt that is stale": {func(t *testing.T, w *world, _ *workqueue.Delivery, m *visibility.Received) {
			require.NoError(t, w.mail.ChangeVisibility(bg, m.Receipt, 0))
			_, err := w.mail.Receive(bg, nil)
			require.NoError(t, err)
		}, nil, visibility.ErrStaleReceipt},
		"a key that is completed": {func(t *testing.T, w *world, _ *workqueue.Delivery, _ *visibility.Received) {
			require.NoError(t, w.db.Update(bg, func(tx *pebblemq.Tx) error { return w.seen.In(tx).Complete([]byte("x"), nil) }))
		}, nil, idempotency.ErrDuplicate},
		"an exchange that is gone": {func(t *testing.T, w *world, _ *workqueue.Delivery, _ *visibility.Received) {
			require.NoError(t, w.broker.DeleteExchange(bg, "events"))
		}, nil, workqueue.ErrUnknownExchange},
		"the function itself": {func(*testing.T, *world, *workqueue.Delivery, *visibility.Received) {}, fail, fail},
	} {
		t.Run(name, func(t *testing.T) {
			w := openWorld(t, storetest.Open(t, nil))
			d, m := w.stock(t, "x")
			c.spoil(t, w, d, m)
			before := w.holdings(t)
			require.ErrorIs(t, w.all(bg, "x", d, m, c.last), c.want)
			require.Equal(t, before, w.holdings(t))

			d, m = w.stock(t, "y")
			if name != "an exchange that is gone" {
				require.NoError(t, w.all(bg, "y", d, m, nil), "and nothing is stuck")
			}
		})
	}
}

// TestACrashLeavesAllOfACommitOrNothing clones the file system at every write
// of a workload over all layers and checks that in each clone all layers agree
// on how many commits happened, and that the synced ones did.
func TestACrashLeavesAllOfACommitOrNothing(t *testing.T) {
	type remains struct {
		at     string
		fs     *vfs.MemFS
		synced int
		begun  int
	}
	fs := storetest.NewFS(vfs.NewCrashableMem())
	var mu sync.Mutex
	var left []remains
	synced, begun := 0, 0
	fs.SetHook(func(c storetest.Call) error {
		mu.Lock()
		r := remains{at: c.Op + " " + c.Name, synced: synced, begun: begun}
		mu.Unlock()
		r.fs = fs.CrashClone(vfs.CrashCloneCfg{})
		mu.Lock()
		defer mu.Unlock()
		left = append(left, r)
		return nil
	})
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	w := openWorld(t, db)
	const commits = 30
	for i := range commits {
		d, m := w.stock(t, fmt.Sprint(i))
		ctx := bg
		if i%3 == 0 {
			ctx = pebblemq.WithDurability(bg, pebblemq.NoSync)
		}
		mu.Lock()
		begun++
		mu.Unlock()
		require.NoError(t, w.all(ctx, fmt.Sprint(i), d, m, nil))
		mu.Lock()
		if i%3 != 0 {
			synced = begun
		}
		mu.Unlock()
	}
	require.NoError(t, db.Close())
	require.Greater(t, len(left), commits)
	for i, r := range left {
		db, err := storetest.OpenFS(r.fs, store.Options{})
		require.NoError(t, err, r.at)
		w := openWorld(t, db)
		h := w.holdings(t)
		at := fmt.Sprintf("crash %d before %s: %+v, %d synced", i, r.at, h, r.synced)
		n := 0
		if h.N != "" {
			n, err = strconv.Atoi(h.N)
			require.NoError(t, err)
		}
		require.GreaterOrEqual(t, n, r.synced, at)
		require.LessOrEqual(t, n, r.begun, at)
		require.EqualValues(t, n, h.Records, at)
		require.EqualValues(t, n, h.Out, at)
		require.EqualValues(t, n, h.Keys, at)
		require.LessOrEqual(t, h.In, uint64(1), at)
		require.LessOrEqual(t, h.Mail, uint64(1), at)
		d, m := w.stock(t, "after")
		require.NoError(t, w.all(bg, "after", d, m, nil), at)
		require.NoError(t, db.Close())
	}
}

// TestABrokenDiskEndsEveryWait has callers blocked in every blocking verb when
// the WAL fails. It runs in a process of its own, as the engine stays parked.
func TestABrokenDiskEndsEveryWait(t *testing.T) {
	out, _ := inChild(t, "TestBrokenDiskInChild", "run")
	require.Contains(t, out, everyWaitEnded)
}

const everyWaitEnded = "every wait ended"

func TestBrokenDiskInChild(t *testing.T) {
	childArg(t)
	fs := storetest.NewFS(vfs.NewCrashableMem())
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	w := openWorld(t, db)
	d, m := w.stock(t, "x")
	reader, err := w.topic.NewReader(0, log.Start())
	require.NoError(t, err)
	consumer, err := queueOf(t, w.broker, "out").Consume(bg, nil)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()

	blocked := map[string]func() error{
		"log.Reader.Records": func() error {
			for _, err := range reader.Records(ctx) {
				return err
			}
			return nil
		},
		"workqueue.Consumer.Next":  func() error { _, err := consumer.Next(ctx); return err },
		"visibility.Queue.Receive": func() error { _, err := w.mail.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Hour}); return err },
	}
	errs := make(chan error, len(blocked)+1)
	for name, f := range blocked {
		go func() { errs <- wrap(name, f()) }()
	}
	fault := &storetest.Fault{Class: storetest.ClassWAL, Op: storetest.OpSync, N: 1, Forever: true}
	fs.SetHook(fault.Hook)
	go func() { errs <- wrap("Update", w.all(ctx, "x", d, m, nil)) }()
	for range len(blocked) + 1 {
		err := <-errs
		require.ErrorIs(t, err, pebblemq.ErrFailed)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
	}
	for name, err := range map[string]error{
		"append":  func() error { _, err := w.topic.Append(ctx, log.Record{}); return err }(),
		"publish": w.broker.Publish(ctx, "", "in", workqueue.Message{}),
		"send":    func() error { _, err := w.mail.Send(ctx, visibility.Message{Body: []byte("x")}); return err }(),
		"ack":     d.Ack(ctx),
		"delete":  w.mail.Delete(ctx, m.Receipt),
		"do": func() error {
			_, err := w.seen.Do(ctx, []byte("k"), func(context.Context, idempotency.Claim) ([]byte, error) {
				t.Error("the handler ran")
				return nil, nil
			}, nil)
			return err
		}(),
	} {
		require.ErrorIs(t, err, pebblemq.ErrFailed, name)
	}
	require.ErrorIs(t, db.Close(), pebblemq.ErrFailed)
	fs.SetHook(nil)
	db, err = storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err, "the directory reopens")
	defer storetest.Close(t, db)
	w = openWorld(t, db)
	require.LessOrEqual(t, w.holdings(t).Records, int64(1))
	fmt.Println(everyWaitEnded)
}

func wrap(name string, err error) error {
	if err == nil {
		return fmt.Errorf("%s returned no error", name)
	}
	return fmt.Errorf("%s: %w", name, err)
}

func TestObjectsOfAnotherStoreAreRefused(t *testing.T) {
	here, there := openWorld(t, storetest.Open(t, nil)), openWorld(t, storetest.Open(t, nil))
	d, m := there.stock(t, "x")
	for name, verb := range map[string]func(*pebblemq.Tx) error{
		"log":         func(tx *pebblemq.Tx) error { _, err := there.topic.In(tx).Append(log.Record{}); return err },
		"workqueue":   func(tx *pebblemq.Tx) error { return there.broker.In(tx).Ack(d) },
		"visibility":  func(tx *pebblemq.Tx) error { return there.mail.In(tx).Delete(m.Receipt) },
		"idempotency": func(tx *pebblemq.Tx) error { return there.seen.In(tx).Complete([]byte("k"), nil) },
	} {
		require.ErrorIs(t, here.db.Update(bg, verb), pebblemq.ErrInvalid, name)
		require.ErrorIs(t, here.db.Update(bg, func(tx *pebblemq.Tx) error { _ = verb(tx); return nil }), pebblemq.ErrInvalid, name)
	}
}
