package workqueue_test

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

func weigh(t testing.TB, b *workqueue.Broker, exchange string, weights map[string]string) {
	t.Helper()
	for queue, weight := range weights {
		declare(t, b, queue)
		bind(t, b, workqueue.Binding{Exchange: exchange, Queue: queue, Key: weight})
	}
}

// publishKeys publishes a message for each of n keys, as one batch.
func publishKeys(t testing.TB, b *workqueue.Broker, exchange string, n int) {
	t.Helper()
	batch := make([]workqueue.Publishing, n)
	for i := range batch {
		key := fmt.Sprint("key-", i)
		batch[i] = workqueue.Publishing{Key: key, Message: workqueue.Message{Body: []byte(key)}}
	}
	require.NoError(t, b.PublishBatch(bg, exchange, batch))
}

// shares returns which queue each key went to, and takes all messages out.
func shares(t testing.TB, b *workqueue.Broker, queues ...string) (of map[string]string, counts map[string]int) {
	t.Helper()
	relaxed := pebblemq.WithDurability(bg, pebblemq.NoSync)
	of, counts = make(map[string]string), make(map[string]int)
	for _, queue := range queues {
		for {
			d, ok, err := queueOf(t, b, queue).Get(relaxed)
			require.NoError(t, err)
			if !ok {
				break
			}
			require.NoError(t, d.Ack(relaxed))
			require.Empty(t, of[string(d.Body)], "%s is in two queues", d.Body)
			of[string(d.Body)] = queue
			counts[queue]++
		}
	}
	return of, counts
}

func TestAHashExchangeSharesKeysOutByWeight(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Hash, "x")
	weigh(t, b, "x", map[string]string{"one": "1", "two": "2", "five": "5"})
	const n = 4000
	publishKeys(t, b, "x", n)
	first, counts := shares(t, b, "one", "two", "five")
	require.InDelta(t, n/8, counts["one"], n/16)
	require.InDelta(t, n/4, counts["two"], n/16)
	require.InDelta(t, 5*n/8, counts["five"], n/12)

	publishKeys(t, b, "x", n)
	again, _ := shares(t, b, "one", "two", "five")
	require.Equal(t, first, again, "a key has one queue")
}

func TestAHashExchangeIsStableOverRestartsAndMovesLittleWhenAQueueComes(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, b := restart(t, fs, nil)
	exchange(t, b, workqueue.Hash, "x")
	weigh(t, b, "x", map[string]string{"a": "1", "b": "1", "c": "1"})
	publishKeys(t, b, "x", 1000)
	before, _ := shares(t, b, "a", "b", "c")

	db, b = restart(t, fs, db)
	publishKeys(t, b, "x", 1000)
	after, _ := shares(t, b, "a", "b", "c")
	require.Equal(t, before, after)

	weigh(t, b, "x", map[string]string{"d": "1"})
	publishKeys(t, b, "x", 1000)
	more, counts := shares(t, b, "a", "b", "c", "d")
	require.InDelta(t, 250, counts["d"], 100)
	for key, queue := range more {
		if queue != "d" {
			require.Equal(t, before[key], queue, "only what the new queue takes over moves")
		}
	}

	require.NoError(t, queueOf(t, b, "d").Delete(bg))
	publishKeys(t, b, "x", 1000)
	back, _ := shares(t, b, "a", "b", "c")
	require.Equal(t, before, back, "and it moves back")
	require.NoError(t, db.Close())
}

func TestTheFirstBindingOfAQueueIsItsWeight(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, b := restart(t, fs, nil)
	exchange(t, b, workqueue.Hash, "x")
	declare(t, b, "a", "b")
	bind(t, b,
		workqueue.Binding{Exchange: "x", Queue: "a", Key: "9"},
		workqueue.Binding{Exchange: "x", Queue: "a", Key: "1"},
		workqueue.Binding{Exchange: "x", Queue: "b", Key: "1"},
	)
	share := func() int {
		publishKeys(t, b, "x", 1000)
		_, counts := shares(t, b, "a", "b")
		return counts["a"]
	}
	require.InDelta(t, 900, share(), 70)
	db, b = restart(t, fs, db)
	require.InDelta(t, 900, share(), 70, "the order of bindings outlives a restart")
	require.NoError(t, b.Unbind(bg, workqueue.Binding{Exchange: "x", Queue: "a", Key: "9"}))
	require.InDelta(t, 500, share(), 150, "then the next counts")
	require.NoError(t, db.Close())
}

func TestAHashExchangeGoesByAHeaderOrProperty(t *testing.T) {
	for _, c := range []struct {
		config workqueue.ExchangeConfig
		mark   func(m *workqueue.Message, text string)
	}{
		{workqueue.ExchangeConfig{HashHeader: "tenant"}, func(m *workqueue.Message, text string) { m.Headers = map[string]string{"tenant": text} }},
		{workqueue.ExchangeConfig{HashProperty: workqueue.HashMessageID}, func(m *workqueue.Message, text string) { m.MessageID = text }},
		{workqueue.ExchangeConfig{HashProperty: workqueue.HashCorrelationID}, func(m *workqueue.Message, text string) { m.CorrelationID = text }},
		{workqueue.ExchangeConfig{HashProperty: workqueue.HashReplyTo}, func(m *workqueue.Message, text string) { m.ReplyTo = text }},
		{workqueue.ExchangeConfig{HashProperty: workqueue.HashType}, func(m *workqueue.Message, text string) { m.Type = text }},
		{workqueue.ExchangeConfig{HashProperty: workqueue.HashAppID}, func(m *workqueue.Message, text string) { m.AppID = text }},
	} {
		t.Run(c.config.HashHeader+c.config.HashProperty, func(t *testing.T) {
			_, b := open(t)
			require.NoError(t, b.DeclareExchange(bg, "x", workqueue.Hash, &c.config))
			weigh(t, b, "x", map[string]string{"a": "1", "b": "1", "c": "1", "d": "1"})
			queues := []string{"a", "b", "c", "d"}
			batch := make([]workqueue.Publishing, 100)
			for i := range batch {
				batch[i].Key = fmt.Sprint(i)
				batch[i].Message.Body = []byte(fmt.Sprint(i))
				c.mark(&batch[i].Message, "same")
			}
			require.NoError(t, b.PublishBatch(bg, "x", batch))
			_, counts := shares(t, b, queues...)
			require.Len(t, counts, 1, "the key does not count")
			for i := range batch {
				c.mark(&batch[i].Message, fmt.Sprint(i))
			}
			require.NoError(t, b.PublishBatch(bg, "x", batch))
			_, counts = shares(t, b, queues...)
			require.Len(t, counts, 4)
			for i := range batch {
				batch[i].Message = workqueue.Message{Body: batch[i].Message.Body}
			}
			require.NoError(t, b.PublishBatch(bg, "x", batch))
			_, counts = shares(t, b, queues...)
			require.Len(t, counts, 1, "those that lack it stay together")
		})
	}
}

func TestABadHashWeightOrSourceIsAnError(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Hash, "x")
	declare(t, b, "q")
	for _, weight := range []string{"", "0", "-1", "101", "1.5", "01", "+1", " 1", "many", "99999999999999999999"} {
		err := b.Bind(bg, workqueue.Binding{Exchange: "x", Queue: "q", Key: weight})
		require.ErrorIs(t, err, pebblemq.ErrInvalid, "%q", weight)
	}
	require.Empty(t, bindings(t, b))
	bind(t, b, workqueue.Binding{Exchange: "x", Queue: "q", Key: "100"})

	for _, c := range []struct {
		kind   workqueue.ExchangeKind
		config workqueue.ExchangeConfig
	}{
		{workqueue.Direct, workqueue.ExchangeConfig{HashHeader: "h"}},
		{workqueue.Hash, workqueue.ExchangeConfig{HashHeader: "h", HashProperty: workqueue.HashType}},
		{workqueue.Hash, workqueue.ExchangeConfig{HashProperty: "body"}},
		{workqueue.Hash, workqueue.ExchangeConfig{HashHeader: "\xff"}},
	} {
		require.ErrorIs(t, b.DeclareExchange(bg, "y", c.kind, &c.config), pebblemq.ErrInvalid)
	}
	require.ErrorIs(t, b.DeclareExchange(bg, "x", workqueue.Hash, &workqueue.ExchangeConfig{HashHeader: "h"}), pebblemq.ErrConfigMismatch)
}

func TestARandomExchangePicksOneQueue(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Random, "x")
	m := body("m")
	m.Mandatory = true
	require.ErrorIs(t, b.Publish(bg, "x", "k", m), workqueue.ErrUnroutable)
	queues := []string{"a", "b", "c", "d"}
	for _, queue := range queues {
		declare(t, b, queue)
		bind(t, b, workqueue.Binding{Exchange: "x", Queue: queue, Key: "whatever"})
	}
	bind(t, b, workqueue.Binding{Exchange: "x", Queue: "a", Key: "again"})
	publishKeys(t, b, "x", 1000)
	_, counts := shares(t, b, queues...)
	for _, queue := range queues {
		require.InDelta(t, 250, counts[queue], 120)
	}
}

// The points are what users rely on: a key must not change its queue with an
// update of the library.
func TestHashedKeysGoWhereTheyAlwaysDid(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Hash, "x")
	weigh(t, b, "x", map[string]string{"a": "1", "b": "2", "c": "3"})
	publishKeys(t, b, "x", 16)
	of, _ := shares(t, b, "a", "b", "c")
	got := ""
	for i := range 16 {
		got += of[fmt.Sprint("key-", i)]
	}
	require.Equal(t, "acaaccaabbccbccc", got)
}
