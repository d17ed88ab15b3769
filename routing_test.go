package pebblemq_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

// bindAll has the exchange lead to one destination of each sort.
func (w *world) bindAll(t testing.TB) {
	t.Helper()
	for _, b := range []workqueue.Binding{
		{Exchange: "events", Key: "user.#", Queue: "out"},
		{Exchange: "events", Key: "user.#", Topic: "orders"},
		{Exchange: "events", Key: "user.#", VisibilityQueue: "mail"},
	} {
		require.NoError(t, w.broker.Bind(bg, b))
	}
}

// counts says how many messages the three destinations hold.
func (w *world) counts(t testing.TB) string {
	t.Helper()
	st, err := queueOf(t, w.broker, "out").Stats(bg)
	require.NoError(t, err)
	_, end, err := w.topic.Offsets(bg, 0)
	require.NoError(t, err)
	mail, err := w.mail.Stats(bg)
	require.NoError(t, err)
	return fmt.Sprintf("out %d orders %d mail %d", st.Ready+st.Delayed, end, mail.Visible+mail.Delayed)
}

func TestAnExchangeLeadsToQueuesTopicsAndVisibilityQueues(t *testing.T) {
	w := openWorld(t, storetest.Open(t, nil))
	w.bindAll(t)
	at := time.UnixMicro(1_700_000_000_000_000).UTC()
	require.NoError(t, w.broker.Publish(bg, "events", "user.new", workqueue.Message{
		Body: []byte("hello"), Headers: map[string]string{"a": "1", "b": "ü"},
		MessageID: "m-1", ContentType: "text/plain", Timestamp: at, Mandatory: true,
	}))

	d, ok, err := queueOf(t, w.broker, "out").Get(bg)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "hello", string(d.Body))

	r, err := w.topic.NewReader(0, log.Start())
	require.NoError(t, err)
	records, err := r.Fetch(bg, 10, 1<<20)
	require.NoError(t, err)
	require.Len(t, records, 1)
	require.Equal(t, "user.new", string(records[0].Key))
	require.Equal(t, "hello", string(records[0].Value))
	require.Equal(t, at, records[0].Timestamp)
	require.Equal(t, []log.Header{
		{Name: "message-id", Value: []byte("m-1")}, {Name: "a", Value: []byte("1")}, {Name: "b", Value: []byte("ü")},
		{Name: "content-type", Value: []byte("text/plain")},
	}, records[0].Headers)

	got, err := w.mail.Receive(bg, nil)
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, "m-1", got[0].ID)
	require.Equal(t, "hello", string(got[0].Body))
	require.Equal(t, map[string]visibility.Attribute{
		"a": visibility.StringAttribute("1"), "b": visibility.StringAttribute("ü"),
		"content-type": visibility.StringAttribute("text/plain"),
	}, got[0].Attributes)
}

func TestQueuesOfBothSortsShareAPayload(t *testing.T) {
	w := openWorld(t, storetest.Open(t, nil))
	dead, err := visibility.OpenQueue(bg, w.db, "dead", nil)
	require.NoError(t, err)
	short, err := visibility.OpenQueue(bg, w.db, "short", &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 1})
	require.NoError(t, err)
	w.bindAll(t)
	require.NoError(t, w.broker.Bind(bg, workqueue.Binding{Exchange: "events", Key: "user.#", VisibilityQueue: "short"}))
	body := bytes.Repeat([]byte("body"), 2500)
	require.NoError(t, w.broker.Publish(bg, "events", "user.new", workqueue.Message{Body: body}))
	it, err := bridge.Store(w.db).Iter(bg, []byte{byte(store.KindPayload)}, []byte{byte(store.KindPayload) + 1})
	require.NoError(t, err)
	require.True(t, it.First())
	require.False(t, it.Next(), "stored once")
	require.NoError(t, it.Close())

	d, ok, err := queueOf(t, w.broker, "out").Get(bg)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, body, d.Body)
	require.NoError(t, d.Ack(bg))
	for range 2 { // the second time as a dead letter
		for _, q := range []*visibility.Queue{short, dead} {
			got, err := q.Receive(bg, &visibility.ReceiveOptions{VisibilityTimeout: visibility.NoVisibilityTimeout})
			require.NoError(t, err)
			for _, m := range got {
				require.Equal(t, body, m.Body)
			}
		}
	}
	st, err := dead.Stats(bg)
	require.NoError(t, err)
	require.Equal(t, uint64(1), st.Visible)
	require.Greater(t, st.Bytes, uint64(len(body)))
}

func TestAnEmptyBodyIsNoTombstone(t *testing.T) {
	w := openWorld(t, storetest.Open(t, nil))
	w.bindAll(t)
	require.NoError(t, w.broker.Publish(bg, "events", "user.new", workqueue.Message{}))
	r, err := w.topic.NewReader(0, log.Start())
	require.NoError(t, err)
	records, err := r.Fetch(bg, 1, 1<<20)
	require.NoError(t, err)
	require.NotNil(t, records[0].Value)
	require.Empty(t, records[0].Value)
}

func TestADestinationThatRefusesUndoesThePublishing(t *testing.T) {
	w := openWorld(t, storetest.Open(t, nil))
	small, err := visibility.OpenQueue(bg, w.db, "small", &visibility.QueueConfig{MaxBodyBytes: 30, MaxAttributes: 10})
	require.NoError(t, err)
	w.bindAll(t)
	require.NoError(t, w.broker.Bind(bg, workqueue.Binding{Exchange: "events", Key: "user.#", VisibilityQueue: small.Name()}))
	many := make(map[string]string)
	for i := range 11 {
		many[fmt.Sprint(i)] = "v"
	}
	for name, c := range map[string]struct {
		m    workqueue.Message
		want error
		says string
	}{
		"too large":            {workqueue.Message{Body: make([]byte, 31)}, pebblemq.ErrTooLarge, `visibility queue "small"`},
		"too many headers":     {workqueue.Message{Headers: many}, pebblemq.ErrTooLarge, `visibility queue "small"`},
		"delay in a topic":     {workqueue.Message{Delay: time.Second}, pebblemq.ErrInvalid, `topic "orders"`},
		"header that is twice": {workqueue.Message{Headers: map[string]string{"type": "a"}, Type: "b"}, pebblemq.ErrInvalid, `two headers "type"`},
	} {
		err := w.broker.Publish(bg, "events", "user.new", c.m)
		require.ErrorIs(t, err, c.want, name)
		require.ErrorContains(t, err, c.says, name)
		require.ErrorIs(t, w.broker.PublishBatch(bg, "events", []workqueue.Publishing{
			{Key: "user.new", Message: workqueue.Message{Body: []byte("fits")}}, {Key: "user.new", Message: c.m},
		}), c.want, name)
		err = w.db.Update(bg, func(tx *pebblemq.Tx) error {
			if err := w.broker.In(tx).Publish("events", "user.new", workqueue.Message{Body: []byte("fits")}); err != nil {
				return err
			}
			return w.broker.In(tx).Publish("events", "user.new", c.m)
		})
		require.ErrorIs(t, err, c.want, name)
	}
	require.Equal(t, "out 0 orders 0 mail 0", w.counts(t))
	require.NoError(t, w.broker.Publish(bg, "events", "user.new", workqueue.Message{Body: []byte("fits")}))
	require.Equal(t, "out 1 orders 1 mail 1", w.counts(t))
}

func TestADelayedMessageWaitsInEachQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := openWorld(t, storetest.Open(t, nil))
		w.bindAll(t)
		require.NoError(t, w.broker.Unbind(bg, workqueue.Binding{Exchange: "events", Key: "user.#", Topic: "orders"}))
		require.NoError(t, w.broker.Publish(bg, "events", "user.new", workqueue.Message{Delay: time.Hour}))
		got, err := w.mail.Receive(bg, &visibility.ReceiveOptions{Wait: 59 * time.Minute})
		require.NoError(t, err)
		require.Empty(t, got)
		got, err = w.mail.Receive(bg, &visibility.ReceiveOptions{Wait: 2 * time.Minute})
		require.NoError(t, err)
		require.Len(t, got, 1)
	})
}

func TestBindingsOutliveTheProcess(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	w := openWorld(t, db)
	w.bindAll(t)
	before, err := w.broker.Bindings(bg)
	require.NoError(t, err)
	require.Len(t, before, 4)
	require.NoError(t, db.Close())

	db, err = storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	broker, err := workqueue.OpenBroker(bg, db, "main") // before the others
	require.NoError(t, err)
	require.NoError(t, broker.Publish(bg, "events", "user.new", workqueue.Message{}))
	after, err := broker.Bindings(bg)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Equal(t, "out 1 orders 1 mail 1", openWorld(t, db).counts(t))
	require.NoError(t, db.Close())
}

func TestABindingGoesWithItsDestination(t *testing.T) {
	for _, open := range []string{"while the broker is open", "while it is not"} {
		t.Run(open, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			db, err := storetest.OpenFS(fs, store.Options{})
			require.NoError(t, err)
			w := openWorld(t, db)
			w.bindAll(t)
			if open == "while it is not" {
				require.NoError(t, db.Close())
				db, err = storetest.OpenFS(fs, store.Options{})
				require.NoError(t, err)
			}
			orders, err := log.LookupTopic(bg, db, "orders")
			require.NoError(t, err)
			require.NoError(t, orders.Delete(bg))
			mail, err := visibility.LookupQueue(bg, db, "mail")
			require.NoError(t, err)
			require.NoError(t, mail.DeleteQueue(bg))
			w = openWorld(t, db) // creates them anew
			bindings, err := w.broker.Bindings(bg)
			require.NoError(t, err)
			require.Equal(t, []workqueue.Binding{
				{Exchange: "events", Key: "order.*", Queue: "out"}, {Exchange: "events", Key: "user.#", Queue: "out"},
			}, bindings)
			require.NoError(t, w.broker.Publish(bg, "events", "user.new", workqueue.Message{}))
			require.Equal(t, "out 1 orders 0 mail 0", w.counts(t))
			require.NoError(t, db.Close())

			db, err = storetest.OpenFS(fs, store.Options{})
			require.NoError(t, err)
			w = openWorld(t, db)
			bindings, err = w.broker.Bindings(bg)
			require.NoError(t, err)
			require.Len(t, bindings, 2)
			require.NoError(t, db.Close())
		})
	}
}

func TestDeadLettersGoToAVisibilityQueue(t *testing.T) {
	w := openWorld(t, storetest.Open(t, nil))
	require.NoError(t, w.broker.DeclareExchange(bg, "dead", workqueue.Fanout, nil))
	require.NoError(t, w.broker.Bind(bg, workqueue.Binding{Exchange: "dead", VisibilityQueue: "mail"}))
	declareQueue(t, w.broker, "work", &workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Exchange: "dead"}})
	require.NoError(t, w.broker.Publish(bg, "", "work", workqueue.Message{
		Body: []byte("bad"), Headers: map[string]string{"mine": "v", "x-death-queue": "forged"},
	}))
	d, _, err := queueOf(t, w.broker, "work").Get(bg)
	require.NoError(t, err)
	require.NoError(t, d.Reject(bg))
	got, err := w.mail.Receive(bg, nil)
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, "bad", string(got[0].Body))
	require.Equal(t, map[string]visibility.Attribute{
		"x-death-queue": visibility.StringAttribute("work"), "x-death-reason": visibility.StringAttribute("rejected"),
		"x-death-count": visibility.StringAttribute("1"), "mine": visibility.StringAttribute("v"),
	}, got[0].Attributes)
}

func TestAQueueThatABrokerOpenedCannotBeReleasedOnOpen(t *testing.T) {
	w := openWorld(t, storetest.Open(t, nil))
	_, err := visibility.OpenQueue(bg, w.db, "mail", &visibility.QueueConfig{ReleaseOnOpen: true})
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	require.True(t, strings.Contains(err.Error(), "open already"), err)
}

// A body that is missing is damage, and not a message that was deleted.
func TestASharedBodyThatIsMissingIsReported(t *testing.T) {
	db, err := storetest.OpenFS(vfs.NewMem(), store.Options{})
	require.NoError(t, err)
	w := openWorld(t, db)
	w.sharedBodies(t, 2)
	s := bridge.Store(db)
	require.NoError(t, s.Do(bg, store.OpFunc(func(turn *store.Turn) error {
		turn.DeleteRange(store.PayloadSpan())
		return nil
	}), store.Sync))

	for what, call := range w.receivers(t) {
		err := call(bg)
		require.ErrorIs(t, err, pebblemq.ErrCorrupt, what)
		require.ErrorContains(t, err, "is missing", what)
	}
	require.NoError(t, db.Close())
}

// sharedBodies publishes messages to all destinations whose body is stored once.
func (w *world) sharedBodies(t testing.TB, n int) {
	t.Helper()
	w.bindAll(t)
	for i := range n {
		m := workqueue.Message{MessageID: fmt.Sprint(i), Body: bytes.Repeat([]byte("x"), 4<<10)}
		require.NoError(t, w.broker.Publish(bg, "events", "user.new", m))
	}
}

// receivers are the calls that read a shared body.
func (w *world) receivers(t testing.TB) map[string]func(context.Context) error {
	t.Helper()
	out := queueOf(t, w.broker, "out")
	return map[string]func(context.Context) error{
		"out":  func(ctx context.Context) error { _, _, err := out.Get(ctx); return err },
		"mail": func(ctx context.Context) error { _, err := w.mail.Receive(ctx, nil); return err },
	}
}

// requireEnd makes a call that must end with its context.
func requireEnd(t *testing.T, call func(context.Context) error) error {
	t.Helper()
	ctx, stop := context.WithTimeout(bg, storetest.Patience)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- call(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-time.After(storetest.Patience + storetest.Grace + 1):
		return errors.New("the call goes on after its context and the grace")
	}
}

// readsPayload reports whether its goroutine reads a shared body.
func readsPayload() bool {
	pc := make([]uintptr, 100)
	frames := runtime.CallersFrames(pc[:runtime.Callers(0, pc)])
	for more := true; more; {
		var f runtime.Frame
		if f, more = frames.Next(); strings.HasSuffix(f.Function, "(*Store).Payload") {
			return true
		}
	}
	return false
}

// The disk freezes while a body is read that turns out to be unreadable. The message
// is set aside, although the store has no room for more.
func TestABodyThatCannotBeReadIsReportedByAFrozenStoreWithoutRoom(t *testing.T) {
	for name, want := range map[string]error{
		"out":  context.DeadlineExceeded, // it goes on to the next message
		"mail": pebblemq.ErrUnreadable,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cold := storetest.OpenCold(t, "")
				openWorld(t, cold.DB).sharedBodies(t, 1)
				cold.Reopen(t)
				w := openWorld(t, cold.DB)
				var frozen atomic.Bool
				cold.FS.SetReadHook(func(storetest.Call) error {
					if !readsPayload() {
						return nil
					}
					if frozen.CompareAndSwap(false, true) {
						cold.Freeze()
						cold.Fill(t)
					}
					return syscall.EIO
				})
				err := requireEnd(t, w.receivers(t)[name])
				require.True(t, frozen.Load(), "no table was read")
				cold.FS.SetReadHook(nil)
				cold.Thaw()
				require.NoError(t, cold.DB.Close())
				require.ErrorIs(t, err, want)
			})
		})
	}
}

// One of two queues is slow with a few messages. It keeps their bodies, and not those of all the
// messages around them.
func TestSharedBodiesThatNobodyNeedsAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		w := openWorld(t, db)
		for _, name := range []string{"quick", "slow"} {
			_, err := w.broker.DeclareQueue(bg, name, nil)
			require.NoError(t, err)
			require.NoError(t, w.broker.Bind(bg, workqueue.Binding{Exchange: "events", Key: "user.#", Queue: name}))
		}
		const bodies, left = 400, 10
		for i := range bodies {
			require.NoError(t, w.broker.Publish(bg, "events", "user.new", workqueue.Message{Body: numbered(i)}))
		}
		settle := func(name string, keep func(i int) bool) {
			for i, d := range take(t, queueOf(t, w.broker, name), bodies) {
				if keep(i) {
					require.NoError(t, d.Nack(bg, true))
				} else {
					require.NoError(t, d.Ack(bg))
				}
			}
		}
		settle("quick", func(int) bool { return false })
		settle("slow", func(i int) bool { return i%(bodies/left) == 0 })
		require.Greater(t, payloads(t, db), bodies-100)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Less(t, payloads(t, db), left+60, "what is left, and the generation that is written to")

		require.NoError(t, db.Close())
		db, err = storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close()) }()
		for i, d := range take(t, queueOf(t, openWorld(t, db).broker, "slow"), left) {
			require.Equal(t, numbered(i*(bodies/left)), d.Body)
		}
	})
}

// take gets as many messages as are there.
func take(t *testing.T, q *workqueue.Queue, n int) (ds []*workqueue.Delivery) {
	for range n {
		d, ok, err := q.Get(bg)
		require.NoError(t, err)
		require.True(t, ok)
		ds = append(ds, d)
	}
	return ds
}

// numbered is a body of 100 KiB with a number.
func numbered(i int) []byte {
	return append(bytes.Repeat([]byte("body"), 25<<10), fmt.Sprint(i)...)
}

// payloads counts the shared bodies on disk.
func payloads(t *testing.T, db *pebblemq.DB) (n int) {
	it, err := bridge.Store(db).Iter(bg, []byte{byte(store.KindPayload)}, []byte{byte(store.KindPayload) + 1})
	require.NoError(t, err)
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	require.NoError(t, it.Close())
	return n
}
