package workqueue

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// checkedQueue is the queue "q" with messages of all sorts, one of them out.
type checkedQueue struct {
	fs            *vfs.MemFS
	broker, queue uint32
}

func newCheckedQueue(t *testing.T) checkedQueue {
	t.Helper()
	ctx := context.Background()
	c := checkedQueue{fs: vfs.NewMem()}
	db, err := storetest.OpenFS(c.fs, store.Options{})
	require.NoError(t, err)
	b, err := OpenBroker(ctx, db, "main")
	require.NoError(t, err)
	require.NoError(t, b.DeclareExchange(ctx, "all", Fanout, nil))
	for _, name := range []string{"q", "other"} {
		_, err := b.DeclareQueue(ctx, name, &QueueConfig{DedupeWindow: time.Hour})
		require.NoError(t, err)
		require.NoError(t, b.Bind(ctx, Binding{Exchange: "all", Queue: name}))
	}
	require.NoError(t, b.PutJob(ctx, Job{Name: "nightly", Every: time.Hour, Key: "q"}))
	for i := range 5 {
		require.NoError(t, b.Publish(ctx, "", "q", Message{Body: []byte("body"), MessageID: fmt.Sprint("m", i)}))
	}
	require.NoError(t, b.Publish(ctx, "", "q", Message{Body: []byte("body"), TTL: time.Hour}))                                   // 5
	require.NoError(t, b.Publish(ctx, "", "q", Message{Body: []byte("body"), UniqueKey: "u"}))                                   // 6
	require.NoError(t, b.Publish(ctx, "all", "", Message{Body: []byte(strings.Repeat("body", 1000))}))                           // 7, shared
	require.NoError(t, b.Publish(ctx, "", "q", Message{Body: []byte("body"), MessageID: "d", UniqueKey: "w", Delay: time.Hour})) // delayed
	q, err := b.Queue(ctx, "q")
	require.NoError(t, err)
	_, ok, err := q.Get(ctx)
	require.NoError(t, err)
	require.True(t, ok)
	c.broker, c.queue = b.t.id, b.t.queues["q"].object.ID
	require.NoError(t, db.Close())
	return c
}

// key is that of a message in lane 0.
func (c *checkedQueue) key(k store.Kind, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append(store.Key(k, c.queue, 9), 0), seq)
}

func (c *checkedQueue) meta() []byte { return append(store.Key(store.KindWorkMeta, c.queue, 1), 0) }

// wipe removes all keys of one kind.
func (c *checkedQueue) wipe(t *store.Turn, k store.Kind) { t.DeleteRange(store.Span(k, c.queue)) }

func TestContradictionsOfAQueueAreFoundAndMended(t *testing.T) {
	for _, x := range []struct {
		name, text string
		change     func(t *store.Turn, c *checkedQueue)
		ready      int // that are left
	}{
		{"a message is missing", `queue "q" of broker "main": counters of priority 0: entries is 8, not 7`, func(t *store.Turn, c *checkedQueue) {
			t.Delete(c.key(store.KindWorkMessage, 3))
		}, 7},
		{"a message cannot be decoded", "message cannot be decoded", func(t *store.Turn, c *checkedQueue) {
			v, _ := t.Get(c.key(store.KindWorkMessage, 3))
			t.Set(c.key(store.KindWorkMessage, 3), append(v[:15:15], 3, 1, 0, 9)) // its length and the message, behind the head of the segment
		}, 7},
		{"a message was settled", "messages up to 3 were settled: all below 4 were", func(t *store.Turn, c *checkedQueue) {
			v, _ := t.Get(c.meta())
			binary.BigEndian.PutUint64(v[9:], 4)  // low
			binary.BigEndian.PutUint64(v[25:], 4) // entries
			t.Set(c.meta(), v)
		}, 4},
		{"the messages of a state are missing", "state of the messages up to 0, which are not there", func(t *store.Turn, c *checkedQueue) {
			t.Delete(c.key(store.KindWorkMessage, 0))
		}, 7},
		{"a state cannot be decoded", "what was settled of the messages up to 0 is lost", func(t *store.Turn, c *checkedQueue) {
			t.Set(c.key(store.KindWorkState, 0), []byte{1})
		}, 8},
		{"the counters are missing", "counters of priority 0: next is 0", func(t *store.Turn, c *checkedQueue) { t.Delete(c.meta()) }, 8},
		{"the counters cannot be decoded", "counters: pebblemq: store is damaged", func(t *store.Turn, c *checkedQueue) {
			t.Set(c.meta(), []byte{1})
		}, 8},
		{"the counters are old", "next is 3", func(t *store.Turn, c *checkedQueue) {
			v, _ := t.Get(c.meta())
			binary.BigEndian.PutUint64(v[1:], 3)  // next
			binary.BigEndian.PutUint64(v[25:], 3) // entries
			t.Set(c.meta(), v)
		}, 8},
		{"a delayed message is missing", "delayed is 1, not 0", func(t *store.Turn, c *checkedQueue) { c.wipe(t, store.KindWorkDelay) }, 8},
		{"a delayed message is not in the index", "delayed message 0 is not in the index by id", func(t *store.Turn, c *checkedQueue) {
			c.wipe(t, store.KindWorkDelayID)
		}, 8},
		{"a message is not in the index by expiry", "message 5 is not in the index by expiry", func(t *store.Turn, c *checkedQueue) {
			c.wipe(t, store.KindWorkExpiry)
		}, 8},
		{"a unique key is not held", "does not lead to message 6, which has it", func(t *store.Turn, c *checkedQueue) {
			c.wipe(t, store.KindWorkUnique)
		}, 8},
		{"a unique key leads nowhere", "leads to message 6, which does not have it", func(t *store.Turn, c *checkedQueue) {
			t.Delete(c.key(store.KindWorkMessage, 6))
		}, 7},
		{"a body is missing", "the body of the message, payload 0 of generation 1, is not there", func(t *store.Turn, c *checkedQueue) {
			t.DeleteRange(store.PayloadSpan())
		}, 7},
		{"the copies of a body are not counted", "payload count of generation 1 is 0, messages refer to 1", func(t *store.Turn, c *checkedQueue) {
			c.wipe(t, store.KindHolding)
		}, 8},
		{"a priority is above the highest", "priority 7 is above the highest, 0", func(t *store.Turn, c *checkedQueue) {
			v, _ := t.Get(c.meta())
			t.Set(append(store.Key(store.KindWorkMeta, c.queue, 1), 7), v)
		}, 8},
		{"a message id cannot be decoded", "message id", func(t *store.Turn, c *checkedQueue) {
			t.Set(append(store.Key(store.KindWorkWindow, c.queue, 24), make([]byte, 24)...), []byte{1})
		}, 8},
		{"a binding leads nowhere", `broker "main": binding of exchange "all" to queue "gone", which does not exist`, func(t *store.Turn, c *checkedQueue) {
			b := binding{exchange: "all", to: destination{store.ClassQueue, "gone"}}
			t.Set(bindingKey(c.broker, b), encodeRecord(record{77, 9}))
		}, 8},
		{"a binding comes from nowhere", `binding of exchange "gone", which does not exist`, func(t *store.Turn, c *checkedQueue) {
			b := binding{exchange: "gone", to: destination{store.ClassQueue, "q"}}
			t.Set(bindingKey(c.broker, b), encodeRecord(record{c.queue, 9}))
		}, 8},
		{"a job cannot be decoded", `job "nightly"`, func(t *store.Turn, c *checkedQueue) {
			t.Set(jobKey(c.broker, "nightly"), []byte{1})
		}, 8},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := newCheckedQueue(t)
			db := storetest.Contradict(t, c.fs, x.text, func(turn *store.Turn) { x.change(turn, &c) })
			ctx := context.Background()
			b, err := OpenBroker(ctx, db, "main")
			require.NoError(t, err)
			require.NoError(t, b.Publish(ctx, "", "q", Message{Body: []byte("new")}))
			q, err := b.Queue(ctx, "q")
			require.NoError(t, err)
			n := 0
			for {
				d, ok, err := q.Get(ctx)
				require.NoError(t, err)
				if !ok {
					break
				}
				n++
				require.NoError(t, d.Ack(ctx))
			}
			require.Equal(t, x.ready+1, n)
			require.NoError(t, q.Delete(ctx))
			storetest.Close(t, db)
		})
	}
}
