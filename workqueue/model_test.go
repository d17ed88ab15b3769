package workqueue_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// model is a work queue in plain memory: the waiting messages, in order, and those that are out.
// Everything is synced, so that a crash takes nothing back but deliveries.
type model struct {
	db    *pebblemq.DB
	b     *workqueue.Broker
	fs    *vfs.MemFS
	bound map[string]bool // of the keys "a" and "b" to the queue
	ready []int           // numbers of messages, in order
	out   map[int]*workqueue.Delivery
	count map[int]int
	last  int
	dead  []int       // rejected
	place map[int]int // of each in the queue
	next  int
}

// add puts a message at the end.
func (m *model) add(n int) {
	m.next++
	m.place[n] = m.next
	m.ready = append(m.ready, n)
}

// order sorts messages by their places.
func (m *model) order(list []int) {
	slices.SortFunc(list, func(a, b int) int { return m.place[a] - m.place[b] })
}

func (m *model) open(t *rapid.T) {
	var err error
	m.db, err = storetest.OpenFS(m.fs, store.Options{})
	require.NoError(t, err)
	m.b, err = workqueue.OpenBroker(bg, m.db, "main")
	require.NoError(t, err)
	require.NoError(t, m.b.DeclareExchange(bg, "x", workqueue.Direct, nil))
	declareQueue(t, m.b, "dead", nil)
	declareQueue(t, m.b, "q", &workqueue.QueueConfig{
		DeliveryLimit: workqueue.NoDeliveryLimit, DeadLetter: &workqueue.DeadLetter{Key: "dead"},
	})
}

// putBack returns what is out to its places.
func (m *model) putBack() {
	for n := range m.out {
		m.ready = append(m.ready, n)
	}
	m.order(m.ready)
	clear(m.out)
}

func (m *model) publish(t *rapid.T) {
	key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
	m.last++
	msg := workqueue.Message{Body: fmt.Append(nil, m.last), Mandatory: true}
	err := m.b.Publish(bg, "x", key, msg)
	if !m.bound[key] {
		require.ErrorIs(t, err, workqueue.ErrUnroutable)
		return
	}
	require.NoError(t, err)
	m.add(m.last)
}

func (m *model) bind(t *rapid.T) {
	key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
	was := m.bound[key]
	if m.bound[key] = rapid.Bool().Draw(t, "bound"); m.bound[key] {
		require.NoError(t, m.b.Bind(bg, workqueue.Binding{Exchange: "x", Queue: "q", Key: key}))
		return
	}
	err := m.b.Unbind(bg, workqueue.Binding{Exchange: "x", Queue: "q", Key: key})
	if was {
		require.NoError(t, err)
		return
	}
	require.ErrorIs(t, err, workqueue.ErrUnknownBinding)
}

func (m *model) get(t *rapid.T) {
	d, ok, err := queueOf(t, m.b, "q").Get(bg)
	require.NoError(t, err)
	require.Equal(t, len(m.ready) > 0, ok)
	if !ok {
		return
	}
	n := m.ready[0]
	m.ready = m.ready[1:]
	require.Equal(t, fmt.Sprint(n), string(d.Body))
	m.count[n]++
	require.Equal(t, m.count[n], d.DeliveryCount)
	require.Equal(t, m.count[n] > 1, d.Redelivered)
	m.out[n] = d
}

// settle does something with one of the deliveries that are out.
func (m *model) settle(t *rapid.T) {
	if len(m.out) == 0 {
		return
	}
	var numbers []int
	for n := range m.out {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	n := rapid.SampledFrom(numbers).Draw(t, "delivery")
	d := m.out[n]
	sync := pebblemq.WithDurability(bg, pebblemq.Sync)
	switch rapid.SampledFrom([]string{"ack", "requeue", "release", "reject", "move", "refused"}).Draw(t, "how") {
	case "ack":
		require.NoError(t, d.Ack(sync))
	case "reject":
		require.NoError(t, d.Reject(sync))
		m.dead = append(m.dead, n)
	case "requeue":
		require.NoError(t, d.Nack(sync, true))
		m.ready = append(m.ready, n)
		m.order(m.ready)
	case "release":
		require.NoError(t, d.Release(sync, 0))
		m.count[n]--
		m.ready = append(m.ready, n)
		m.order(m.ready)
	case "move":
		m.last++
		require.NoError(t, m.db.Update(bg, func(tx *pebblemq.Tx) error {
			require.NoError(t, m.b.In(tx).Ack(d))
			return m.b.In(tx).Publish("", "q", workqueue.Message{Body: fmt.Append(nil, m.last)})
		}))
		m.add(m.last)
	case "refused":
		require.ErrorIs(t, m.db.Update(bg, func(tx *pebblemq.Tx) error {
			require.NoError(t, m.b.In(tx).Publish("", "q", workqueue.Message{Body: []byte("never")}))
			require.NoError(t, m.b.In(tx).Nack(d, true))
			return m.b.In(tx).Ack(d)
		}), workqueue.ErrSettled)
		return // it is still out
	}
	delete(m.out, n)
}

// browse looks at all that is there.
func (m *model) browse(t *rapid.T) {
	want := slices.Clone(m.ready)
	for n := range m.out {
		want = append(want, n)
	}
	m.order(want)
	for found, err := range queueOf(t, m.b, "q").Browse(bg, nil) {
		require.NoError(t, err)
		require.NotEmpty(t, want)
		require.Equal(t, fmt.Sprint(want[0]), string(found.Body))
		require.Equal(t, m.count[want[0]], found.DeliveryCount)
		require.Equal(t, m.out[want[0]] != nil, found.State == workqueue.Unacked)
		want = want[1:]
	}
	require.Empty(t, want)
}

// redrive moves what was rejected back, but for some.
func (m *model) redrive(t *rapid.T) {
	odd := rapid.IntRange(0, 2).Draw(t, "which")
	wanted := func(n int) bool { return n%2 != odd }
	p, err := waited(queueOf(t, m.b, "dead").Redrive(bg, &workqueue.RedriveOptions{Filter: func(found *workqueue.Browsed) bool {
		n, err := strconv.Atoi(string(found.Body))
		require.NoError(t, err)
		return wanted(n)
	}}))
	require.NoError(t, err)
	var left []int
	for _, n := range m.dead {
		if !wanted(n) {
			left = append(left, n)
			continue
		}
		m.count[n] = 0
		m.add(n)
	}
	require.EqualValues(t, len(m.dead)-len(left), p.Moved)
	require.EqualValues(t, len(left), p.Skipped)
	m.dead = left
}

func (m *model) reopen(t *rapid.T) {
	require.NoError(t, m.db.Close())
	m.open(t)
	m.putBack()
}

func (m *model) purge(t *rapid.T) {
	n, err := queueOf(t, m.b, "q").Purge(bg)
	require.NoError(t, err)
	require.Equal(t, len(m.ready), n)
	m.ready = nil
}

func (m *model) check(t *rapid.T) {
	storetest.Sound(t, m.db)
	st, err := queueOf(t, m.b, "q").Stats(bg)
	require.NoError(t, err)
	require.EqualValues(t, len(m.ready), st.Ready)
	require.EqualValues(t, len(m.out), st.Unacked)
	st, err = queueOf(t, m.b, "dead").Stats(bg)
	require.NoError(t, err)
	require.EqualValues(t, len(m.dead), st.Ready)
}

func TestTheQueueBehavesLikeItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{
			fs: vfs.NewCrashableMem(), bound: map[string]bool{},
			out: map[int]*workqueue.Delivery{}, count: map[int]int{}, place: map[int]int{},
		}
		m.open(t)
		defer func() { require.NoError(t, m.db.Close()) }()
		t.Repeat(map[string]func(*rapid.T){
			"publish": m.publish, "publish again": m.publish, "bind": m.bind, "get": m.get, "get again": m.get,
			"settle": m.settle, "reopen": m.reopen, "purge": m.purge, "browse": m.browse, "redrive": m.redrive, "": m.check,
		})
	})
}
