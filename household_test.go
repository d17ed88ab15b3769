package pebblemq_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// household is a store of little use. Each minute uses every layer once, each hour the
// rarer features. Neither leaves anything to be kept.
type household struct {
	t      *testing.T
	fs     vfs.FS
	db     *pebblemq.DB
	topic  *log.Topic
	latest *log.Topic
	member *log.Member
	broker *workqueue.Broker
	mails  *visibility.Queue
	steps  *visibility.Queue
	dead   *visibility.Queue
	keys   *idempotency.Namespace
	rounds int
}

const householdWindow = 10 * time.Minute

func (h *household) open() {
	t := h.t
	var err error
	h.db, err = storetest.OpenFS(h.fs, store.Options{})
	require.NoError(t, err)
	h.openLog()
	h.openQueues()
	h.keys, err = idempotency.OpenNamespace(bg, h.db, "requests", &idempotency.Config{Expiry: householdWindow})
	require.NoError(t, err)
}

func (h *household) close() { require.NoError(h.t, h.db.Close()) }

func (h *household) openLog() {
	t := h.t
	var err error
	h.topic, err = log.OpenTopic(bg, h.db, "events", &log.TopicConfig{
		RetentionTime: time.Hour, RetentionBytes: 64 << 10, DedupeWindow: householdWindow,
	})
	require.NoError(t, err)
	h.latest, err = log.OpenTopic(bg, h.db, "state", &log.TopicConfig{Compact: true, IndexKeys: true, TombstoneRetention: time.Hour})
	require.NoError(t, err)
	group, err := h.topic.OpenGroup(bg, "readers", nil)
	require.NoError(t, err)
	h.member, err = group.Join(bg, nil)
	require.NoError(t, err)
}

func (h *household) openQueues() {
	t := h.t
	var err error
	h.broker, err = workqueue.OpenBroker(bg, h.db, "broker")
	require.NoError(t, err)
	dead := &workqueue.DeadLetter{Key: "dead"}
	declareQueue(t, h.broker, "dead", nil)
	for name, c := range map[string]*workqueue.QueueConfig{
		"jobs":   {DedupeWindow: householdWindow, DeadLetter: dead},
		"urgent": {MaxPriority: 3, MessageTTL: 20 * time.Second, DeadLetter: dead},
	} {
		declareQueue(t, h.broker, name, c)
	}
	require.NoError(t, h.broker.DeclareExchange(bg, "all", workqueue.Fanout, nil))
	require.NoError(t, h.broker.Bind(bg, workqueue.Binding{Exchange: "all", Queue: "urgent"}))
	h.dead, err = visibility.OpenQueue(bg, h.db, "dead", nil)
	require.NoError(t, err)
	h.mails, err = visibility.OpenQueue(bg, h.db, "mails", &visibility.QueueConfig{
		DedupeWindow: householdWindow, DeadLetterQueue: "dead", MaxReceives: 1, VisibilityTimeout: time.Second,
	})
	require.NoError(t, err)
	h.steps, err = visibility.OpenQueue(bg, h.db, "steps", &visibility.QueueConfig{FIFO: true})
	require.NoError(t, err)
}

// minute is a round of everyday use.
func (h *household) minute() {
	t := h.t
	h.rounds++
	id := strconv.Itoa(h.rounds)
	body := []byte("something of a usual length that happened in round " + id)

	_, err := h.topic.AppendWith(bg, log.AppendOptions{ID: id}, log.Record{Key: []byte(id), Value: body})
	require.NoError(t, err)
	records, err := h.member.Poll(bg, 10)
	require.NoError(t, err)
	require.NoError(t, h.member.Commit(bg, records...))

	require.NoError(t, h.broker.Publish(bg, "", "jobs", workqueue.Message{MessageID: id, Body: body}))
	h.ackOne("jobs")
	_, err = h.mails.Send(bg, visibility.Message{DedupeID: id, Body: body})
	require.NoError(t, err)
	h.deleteOne(h.mails)

	_, err = h.keys.Do(bg, []byte(id), func(context.Context, idempotency.Claim) ([]byte, error) { return body, nil }, nil)
	require.NoError(t, err)
	require.NoError(t, h.db.Update(bg, func(tx *pebblemq.Tx) error {
		return errors.Join(tx.Set([]byte("state/"+id), body), tx.Delete(fmt.Appendf(nil, "state/%d", h.rounds-100)))
	}))
	<-time.After(time.Minute)
}

func (h *household) ackOne(queue string) {
	h.t.Helper()
	d, ok, err := queueOf(h.t, h.broker, queue).Get(bg)
	require.NoError(h.t, err)
	require.True(h.t, ok)
	require.NoError(h.t, d.Ack(bg))
}

func (h *household) deleteOne(q *visibility.Queue) {
	h.t.Helper()
	got, err := q.Receive(bg, nil)
	require.NoError(h.t, err)
	require.Len(h.t, got, 1)
	require.NoError(h.t, q.Delete(bg, got[0].Receipt))
}

// hour is what happens now and then.
func (h *household) hour() {
	id := strconv.Itoa(h.rounds)
	body := bytes.Repeat([]byte("something longer "), 100)
	h.passingTopic(id, body)
	h.passingQueues(id, body)
	h.deadLetters(body)
}

// passingTopic uses a topic, a group and a producer for the last time.
func (h *household) passingTopic(id string, body []byte) {
	t := h.t
	_, err := h.latest.Append(bg, log.Record{Key: []byte("the same"), Value: body}, log.Record{Key: []byte(id)})
	require.NoError(t, err)
	topic, err := log.OpenTopic(bg, h.db, "topic "+id, &log.TopicConfig{RetentionTime: time.Hour})
	require.NoError(t, err)
	group, err := topic.OpenGroup(bg, "group "+id, nil)
	require.NoError(t, err)
	member, err := group.Join(bg, nil)
	require.NoError(t, err)
	p, err := topic.OpenProducer(bg, id)
	require.NoError(t, err)
	_, err = topic.AppendWith(bg, log.AppendOptions{Partition: log.InPartition(0), Producer: p}, log.Record{Value: body})
	require.NoError(t, err)
	require.NoError(t, member.Leave(bg))
	require.NoError(t, topic.DeleteGroup(bg, "group "+id))
	require.NoError(t, topic.Delete(bg))
}

// passingQueues publishes a shared body, also to a queue that expires, and uses a new
// consumer, unique key and group.
func (h *household) passingQueues(id string, body []byte) {
	t := h.t
	q, err := h.broker.DeclareNewQueue(bg, &workqueue.QueueConfig{Expires: householdWindow})
	require.NoError(t, err)
	require.NoError(t, h.broker.Bind(bg, workqueue.Binding{Exchange: "all", Queue: q.Name()}))
	c, err := queueOf(h.t, h.broker, "urgent").Consume(bg, nil)
	require.NoError(t, err)
	require.NoError(t, h.broker.Publish(bg, "all", "", workqueue.Message{Body: body, UniqueKey: id}))
	d, err := c.Next(bg)
	require.NoError(t, err)
	require.NoError(t, d.Ack(bg))
	require.NoError(t, c.Close())

	for range 2 { // of which one expires
		require.NoError(t, h.broker.Publish(bg, "", "urgent", workqueue.Message{Body: body, Delay: time.Second}))
	}
	_, err = h.steps.Send(bg, visibility.Message{Group: id, DedupeID: id, Body: body})
	require.NoError(t, err)
	h.deleteOne(h.steps)
}

// deadLetters makes some and moves them back.
func (h *household) deadLetters(body []byte) {
	t := h.t
	_, err := h.mails.Send(bg, visibility.Message{Body: body})
	require.NoError(t, err)
	got, err := h.mails.Receive(bg, nil)
	require.NoError(t, err)
	require.Len(t, got, 1)
	<-time.After(30 * time.Second) // of which it is hidden for one
	h.ackOne("dead")
	h.ackOne("dead")
	got, err = h.mails.Receive(bg, nil)
	require.NoError(t, err)
	require.Empty(t, got)
	r, err := h.dead.Redrive(bg, nil)
	require.NoError(t, err)
	_, err = r.Wait(bg)
	require.NoError(t, err)
	h.deleteOne(h.mails)
}

// day returns what the store takes up at its end.
func (h *household) day() usage {
	for m := range 24 * 60 {
		if m%60 == 0 {
			h.hour()
		}
		h.minute()
	}
	synctest.Wait()
	return h.usage()
}

// usage is what a store takes up. Sizes are in bytes.
type usage struct {
	tables, wals, keys            int
	tableSize, manifestSize, disk int64
	heap                          int64 // without the files, which are in memory
	engine                        int64 // memtables and block cache, which may be in the heap
	goroutines                    int
}

func (u usage) String() string {
	return fmt.Sprintf("%d tables of %d KiB, %d WALs, MANIFEST of %d KiB, %d KiB in all; %d keys; heap of %d KiB, engine of %d KiB, %d goroutines",
		u.tables, u.tableSize>>10, u.wals, u.manifestSize>>10, u.disk>>10, u.keys, u.heap>>10, u.engine>>10, u.goroutines)
}

func (h *household) usage() (u usage) {
	t := h.t
	names, err := h.fs.List("data")
	require.NoError(t, err)
	for _, name := range names {
		info, err := h.fs.Stat(h.fs.PathJoin("data", name))
		require.NoError(t, err)
		u.disk += info.Size()
		switch {
		case strings.HasSuffix(name, ".sst"):
			u.tables++
			u.tableSize += info.Size()
		case strings.HasSuffix(name, ".log"):
			u.wals++
		case strings.HasPrefix(name, "MANIFEST"):
			u.manifestSize += info.Size()
		}
	}
	u.keys = h.countKeys()
	u.heap = storetest.Heap() - u.disk
	u.engine = int64(h.db.Stats().MemoryBytes)
	u.goroutines = runtime.NumGoroutine()
	return u
}

// countKeys counts the keys of all layers and the application.
func (h *household) countKeys() (n int) {
	it, err := bridge.Store(h.db).Iter(bg, []byte{byte(store.KindCatalog)}, []byte{0xff})
	require.NoError(h.t, err)
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	require.NoError(h.t, it.Close())
	return n
}
