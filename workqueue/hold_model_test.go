package workqueue_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// TestModelOfWhatAQueueHolds drives a queue with priorities, delays, times to live,
// unique keys and limits at once, through restarts and crashes, beside a plain list.
func TestModelOfWhatAQueueHolds(t *testing.T) {
	configs := []workqueue.QueueConfig{
		{}, {Retry: &pebblemq.Backoff{Min: time.Second, Max: 3 * time.Second, Jitter: pebblemq.NoJitter}},
		{MessageTTL: 3 * time.Second}, {MaxLength: 5}, {MaxLength: 5, Overflow: workqueue.DropLowest},
		{MaxLength: 5, Overflow: workqueue.RejectPublish}, {MaxLength: 5, Overflow: workqueue.RejectDeadLetter},
	}
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ testing.TB }{t}, func(t *rapid.T) { // hides Deadline, which a bubble forbids
			c := rapid.SampledFrom(configs).Draw(t, "config")
			c.MaxPriority, c.DeadLetter, c.DeliveryLimit = 3, toDead, workqueue.NoDeliveryLimit
			h := &holding{t: t, fs: storetest.NewFS(vfs.NewCrashableMem()), config: c}
			h.open()
			defer func() { require.NoError(t, h.db.Close()) }()
			t.Repeat(map[string]func(*rapid.T){
				"publish": h.publish,
				"refused": h.refused,
				"get":     h.get,
				"settle":  h.settle,
				"advance": h.advance,
				"purge":   h.purge,
				"reopen":  h.reopen,
				"crash":   h.crash,
				"":        h.check,
			})
		})
	})
}

// held is a message of the model.
type held struct {
	body     string
	key      string // unique, if any
	priority uint8
	ttl      time.Duration
	due      time.Time // if it is delayed
	expires  time.Time // zero is never
	place    int       // in its priority, once it is due
	counted  int       // deliveries
	ahead    int       // of all places, if it was requeued there; the highest first
	prime    bool      // was out when the process ended, and not since: may be tried alone
	d        *workqueue.Delivery
}

type holding struct {
	t      *rapid.T
	fs     *storetest.FS
	db     *pebblemq.DB
	b      *workqueue.Broker
	config workqueue.QueueConfig

	delayed, ready, out []*held
	dead                []string
	number, place       int
	crashed             bool // counts of deliveries may be lost
	ahead               int
}

func (h *holding) open() {
	var err error
	h.db, err = storetest.OpenFS(h.fs, store.Options{})
	require.NoError(h.t, err)
	h.b, err = workqueue.OpenBroker(bg, h.db, "main")
	require.NoError(h.t, err)
	declareQueue(h.t, h.b, "q", &h.config)
	declareQueue(h.t, h.b, "dead", nil)
}

// draw makes some messages up.
func (h *holding) draw(t *rapid.T) (batch []workqueue.Publishing, model []*held) {
	for range rapid.IntRange(1, 8).Draw(t, "n") {
		m := workqueue.Message{
			Body: fmt.Append(nil, h.number), Priority: uint8(rapid.IntRange(0, 3).Draw(t, "priority")),
			TTL:       time.Duration(rapid.SampledFrom([]int{0, 0, 1, 2, 7}).Draw(t, "ttl")) * time.Second,
			UniqueKey: rapid.SampledFrom([]string{"", "", "", "a", "b"}).Draw(t, "key"),
		}
		if h.config.MaxLength == 0 {
			m.Delay = time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 3}).Draw(t, "delay")) * time.Second
		}
		h.number++
		e := &held{body: string(m.Body), key: m.UniqueKey, priority: m.Priority, ttl: m.TTL, due: time.Now().Add(m.Delay)}
		if own := h.config.MessageTTL; e.ttl == 0 || own != 0 && own < e.ttl {
			e.ttl = own
		}
		if e.ttl != 0 {
			e.expires = e.due.Add(e.ttl)
		}
		batch, model = append(batch, workqueue.Publishing{Key: "q", Message: m}), append(model, e)
	}
	return batch, model
}

func (h *holding) publish(t *rapid.T) {
	batch, model := h.draw(t)
	err := h.b.PublishBatch(bg, "", batch)
	grows := h.countNew(model) // maybe not at all, which a queue over its limit takes
	if h.config.Overflow == workqueue.RejectPublish && grows > 0 && len(h.ready)+grows > h.config.MaxLength {
		require.ErrorIs(t, err, workqueue.ErrQueueFull)
		return
	}
	require.NoError(t, err)
	for _, e := range model {
		if e.key != "" && slices.Contains(h.keys(), e.key) {
			continue
		}
		if e.due.After(time.Now()) {
			h.delayed = append(h.delayed, e)
			continue
		}
		h.arrive(e)
		for h.config.MaxLength > 0 && len(h.ready) > h.config.MaxLength {
			h.evict(e)
			if h.config.Overflow == workqueue.RejectDeadLetter {
				break
			}
		}
	}
}

// keys are the unique keys that are held.
func (h *holding) keys() (keys []string) {
	for _, e := range slices.Concat(h.delayed, h.ready, h.out) {
		if e.key != "" {
			keys = append(keys, e.key)
		}
	}
	return keys
}

// countNew counts those that no unique key keeps out.
func (h *holding) countNew(batch []*held) (n int) {
	keys := h.keys()
	for _, e := range batch {
		if e.key == "" || !slices.Contains(keys, e.key) {
			keys = append(keys, e.key)
			n++
		}
	}
	return n
}

// refused publishes in a transaction that does not come about.
func (h *holding) refused(t *rapid.T) {
	batch, _ := h.draw(t)
	require.Error(t, h.db.Update(bg, func(tx *pebblemq.Tx) error {
		for _, p := range batch {
			if err := h.b.In(tx).Publish("", p.Key, p.Message); err != nil {
				return err
			}
		}
		return h.b.In(tx).Publish("", "nowhere", workqueue.Message{Mandatory: true})
	}))
}

func (h *holding) arrive(e *held) {
	e.place = h.place
	h.place++
	h.wait(e)
}

// wait puts a message among the ready ones, at its place.
func (h *holding) wait(e *held) {
	h.ready = append(h.ready, e)
	h.sort()
}

func (h *holding) sort() {
	slices.SortFunc(h.ready, func(a, b *held) int {
		return cmp.Or(int(b.priority)-int(a.priority), b.ahead-a.ahead, a.place-b.place)
	})
}

func (h *holding) evict(latest *held) {
	at := 0
	switch h.config.Overflow {
	case workqueue.RejectDeadLetter:
		at = slices.Index(h.ready, latest)
	case workqueue.DropLowest:
		for at = len(h.ready) - 1; at > 0 && h.ready[at-1].priority == h.ready[at].priority; at-- {
		}
	}
	h.dead = append(h.dead, h.ready[at].body)
	h.ready = slices.Delete(h.ready, at, at+1)
}

// pass does what time does by itself.
func (h *holding) pass() {
	now := time.Now()
	slices.SortStableFunc(h.delayed, func(a, b *held) int { return a.due.Compare(b.due) })
	for len(h.delayed) > 0 && !h.delayed[0].due.After(now) {
		h.arrive(h.delayed[0])
		h.delayed = h.delayed[1:]
	}
	h.ready = slices.DeleteFunc(h.ready, func(e *held) bool {
		over := !e.expires.IsZero() && !e.expires.After(now)
		if over {
			h.dead = append(h.dead, e.body)
		}
		return over
	})
}

func (h *holding) get(t *rapid.T) {
	d, ok, err := queueOf(t, h.b, "q").Get(bg)
	require.NoError(t, err)
	h.pass() // it may have waited
	i := slices.IndexFunc(h.ready, func(e *held) bool { return !e.prime })
	if !ok {
		require.Less(t, i, 0, "%d are ready", len(h.ready))
		return
	}
	at := slices.IndexFunc(h.ready, func(e *held) bool { return e.body == string(d.Body) })
	require.GreaterOrEqual(t, at, 0, "%s is not ready", d.Body)
	e := h.ready[at]
	if i >= 0 && e.prime {
		require.GreaterOrEqual(t, e.priority, h.ready[i].priority)
	} else if !e.prime {
		require.Equal(t, h.ready[i].body, e.body)
	}
	if e.counted++; !h.crashed {
		require.Equal(t, e.counted, d.DeliveryCount)
	}
	e.d, e.prime, e.ahead = d, false, 0
	h.out = append(h.out, e)
	h.ready = slices.Delete(h.ready, at, at+1)
}

func (h *holding) settle(t *rapid.T) {
	if len(h.out) == 0 {
		t.Skip("nothing is out")
	}
	i := rapid.IntRange(0, len(h.out)-1).Draw(t, "which")
	e := h.out[i]
	h.out = slices.Delete(h.out, i, i+1)
	ctx := pebblemq.WithDurability(bg, pebblemq.Sync)
	switch rapid.SampledFrom([]string{"ack", "reject", "requeue", "tail", "head", "later"}).Draw(t, "how") {
	case "ack":
		require.NoError(t, e.d.Ack(ctx))
	case "reject":
		require.NoError(t, e.d.Reject(ctx))
		h.dead = append(h.dead, e.body)
	case "tail":
		require.NoError(t, e.d.Requeue(ctx, workqueue.Requeue{}))
		h.arrive(e)
	case "head":
		require.NoError(t, e.d.Requeue(ctx, workqueue.Requeue{Head: true}))
		h.ahead++
		e.ahead = h.ahead
		h.wait(e)
	case "later":
		require.NoError(t, e.d.Requeue(ctx, workqueue.Requeue{Delay: 2 * time.Second}))
		h.delay(e, 2*time.Second)
	default:
		require.NoError(t, e.d.Nack(ctx, true))
		if h.config.Retry != nil {
			h.delay(e, min(time.Second<<(e.d.DeliveryCount-1), 3*time.Second))
			return
		}
		h.wait(e)
	}
}

// delay makes a message wait, but not beyond its time to live.
func (h *holding) delay(e *held, d time.Duration) {
	e.due = time.Now().Add(d)
	if !e.expires.IsZero() && e.expires.Before(e.due) {
		e.due = e.expires
	}
	h.delayed = append(h.delayed, e)
}

func (h *holding) advance(t *rapid.T) {
	time.Sleep(time.Duration(rapid.SampledFrom([]int{1, 500, 1000, 4000}).Draw(t, "ms")) * time.Millisecond)
}

func (h *holding) purge(t *rapid.T) {
	if !rapid.Bool().Draw(t, "really") {
		t.Skip("not that often")
	}
	n, err := queueOf(t, h.b, "q").Purge(pebblemq.WithDurability(bg, pebblemq.Sync))
	require.NoError(t, err)
	require.Equal(t, len(h.ready), n)
	h.ready = nil
}

func (h *holding) reopen(t *rapid.T) {
	require.NoError(t, h.db.Close())
	h.comeBack()
}

func (h *holding) crash(t *rapid.T) {
	require.NoError(t, h.b.Publish(bg, "", "dead", workqueue.Message{Body: []byte("synced")}))
	h.dead = append(h.dead, "synced")
	clone := h.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rapid.SampledFrom([]int{0, 50, 100}).Draw(t, "kept"), RNG: rand.New(rand.NewPCG(1, 2))})
	require.NoError(t, h.db.Close())
	h.fs, h.crashed = storetest.NewFS(clone), true
	h.comeBack()
}

func (h *holding) comeBack() {
	for _, e := range h.ready {
		e.ahead = 0
	}
	for _, e := range h.out {
		e.prime, e.d = true, nil
		h.wait(e)
	}
	h.out = nil
	h.sort()
	h.open()
}

func (h *holding) check(t *rapid.T) {
	storetest.Sound(t, h.db)
	synctest.Wait()
	h.pass()
	st, err := queueOf(t, h.b, "q").Stats(bg)
	require.NoError(t, err)
	require.Equal(t, []int{len(h.ready), len(h.out), len(h.delayed)}, []int{int(st.Ready), int(st.Unacked), int(st.Delayed)})
	st, err = queueOf(t, h.b, "dead").Stats(bg)
	require.NoError(t, err)
	require.Equal(t, len(h.dead), int(st.Ready))
	require.Equal(t, len(h.keys()), uniqueRecords(t, h.db))
	if rapid.IntRange(0, 9).Draw(t, "look") > 0 {
		return
	}
	var dead []string
	for range h.dead {
		d, ok, err := queueOf(t, h.b, "dead").Get(bg)
		require.NoError(t, err)
		require.True(t, ok)
		dead = append(dead, string(d.Body))
		require.NoError(t, d.Ack(pebblemq.WithDurability(bg, pebblemq.Sync)))
	}
	require.ElementsMatch(t, h.dead, dead)
	h.dead = nil
}
