package workqueue_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// router is a broker in plain memory that asks every binding. Everything is
// synced, so that a crash takes nothing back.
type router struct {
	db        *pebblemq.DB
	b         *workqueue.Broker
	fs        *vfs.MemFS
	exchanges map[string]workqueue.ExchangeDefinition
	bindings  []workqueue.Binding
	queues    map[string]int // to their messages
	unrouted  uint64
	known     map[string]int // by exchange or queue and message id: the outcome
}

var (
	someExchange = rapid.SampledFrom([]string{"e0", "e1", "e2", "e3"})
	someQueue    = rapid.SampledFrom([]string{"q0", "q1", "q2", "q3"})
	somePattern  = rapid.SampledFrom([]string{"", "a", "a.b", "#", "*", "a.#", "#.b", "*.b", "a.*.#", "q0"})
	someKey      = rapid.SampledFrom([]string{"", "a", "b", "a.b", "a.b.b", ".", "q0", "q1"})
	someHeaders  = rapid.SampledFrom([]map[string]string{nil, {"h": "1"}, {"h": "2"}, {"i": "1"}, {"h": "1", "i": "1"}})
	someArgument = rapid.SampledFrom([]workqueue.Arguments{nil, {"h": "1"}, {"h": nil}, {"x-match": "any", "h": "1", "i": nil}})
	someKind     = rapid.SampledFrom([]workqueue.ExchangeKind{workqueue.Direct, workqueue.Fanout, workqueue.Topic, workqueue.Headers})
)

func (r *router) open(t *rapid.T) {
	var err error
	r.db, err = storetest.OpenFS(r.fs, store.Options{})
	require.NoError(t, err)
	r.b, err = workqueue.OpenBroker(bg, r.db, "main")
	require.NoError(t, err)
	r.unrouted = 0
}

func (r *router) declare(t *rapid.T) {
	d := workqueue.ExchangeDefinition{Name: someExchange.Draw(t, "exchange"), Kind: someKind.Draw(t, "kind")}
	d.Alternate = rapid.SampledFrom([]string{"", "", "e0", "e3"}).Draw(t, "alternate")
	d.Internal = rapid.IntRange(0, 7).Draw(t, "internal") == 0
	d.AutoDelete = rapid.IntRange(0, 3).Draw(t, "auto delete") == 0
	if rapid.IntRange(0, 3).Draw(t, "deduplicates") == 0 {
		d.DedupeWindow = time.Hour
	}
	err := r.b.DeclareExchange(bg, d.Name, d.Kind, &d.ExchangeConfig)
	if old, there := r.exchanges[d.Name]; there && old != d {
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		return
	}
	_, same := r.exchanges[d.Name]
	_, alternate := r.exchanges[d.Alternate]
	switch {
	case same || d.Alternate == "":
	case d.Alternate == d.Name:
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		return
	case !alternate:
		require.ErrorIs(t, err, workqueue.ErrUnknownExchange)
		return
	}
	require.NoError(t, err)
	r.exchanges[d.Name] = d
}

func (r *router) declareQueue(t *rapid.T) {
	q := someQueue.Draw(t, "queue")
	declareQueue(t, r.b, q, &workqueue.QueueConfig{DedupeWindow: map[string]time.Duration{"q0": time.Hour}[q]})
	r.queues[q] += 0
}

func (r *router) deleteExchange(t *rapid.T) {
	x := someExchange.Draw(t, "exchange")
	_, known := r.exchanges[x]
	found(t, known, r.b.DeleteExchange(bg, x))
	r.dropExchange(x)
}

// found checks the error of a verb that removes what exists.
func found(t *rapid.T, known bool, err error) {
	if known {
		require.NoError(t, err)
		return
	}
	require.ErrorIs(t, err, pebblemq.ErrNotFound)
}

func (r *router) dropExchange(x string) {
	delete(r.exchanges, x)
	r.forget(x)
	r.cut(func(b workqueue.Binding) bool { return b.Exchange == x || b.ToExchange == x })
}

func (r *router) deleteQueue(t *rapid.T) {
	q := someQueue.Draw(t, "queue")
	_, known := r.queues[q]
	handle, err := r.b.Queue(bg, q)
	if found(t, known, err); known {
		require.NoError(t, handle.Delete(bg))
	}
	delete(r.queues, q)
	r.forget(q)
	r.cut(func(b workqueue.Binding) bool { return b.Queue == q })
}

func (r *router) forget(name string) {
	maps.DeleteFunc(r.known, func(id string, _ int) bool { return strings.HasPrefix(id, name+" ") })
}

// cut removes bindings, and the exchanges that go with their last one.
func (r *router) cut(which func(workqueue.Binding) bool) {
	lost := make(map[string]bool)
	r.bindings = slices.DeleteFunc(r.bindings, func(b workqueue.Binding) bool {
		lost[b.Exchange] = lost[b.Exchange] || which(b)
		return which(b)
	})
	for x := range lost {
		left := slices.ContainsFunc(r.bindings, func(b workqueue.Binding) bool { return b.Exchange == x })
		if lost[x] && !left && r.exchanges[x].AutoDelete {
			r.dropExchange(x)
		}
	}
}

func (r *router) draw(t *rapid.T) workqueue.Binding {
	b := workqueue.Binding{
		Exchange: someExchange.Draw(t, "from"), Key: somePattern.Draw(t, "pattern"), Arguments: someArgument.Draw(t, "arguments"),
	}
	if rapid.Bool().Draw(t, "to a queue") {
		b.Queue = someQueue.Draw(t, "to")
	} else {
		b.ToExchange = someExchange.Draw(t, "to")
	}
	return b
}

func same(a workqueue.Binding) func(workqueue.Binding) bool {
	return func(b workqueue.Binding) bool { return fmt.Sprint(a) == fmt.Sprint(b) }
}

func (r *router) bind(t *rapid.T) {
	b := r.draw(t)
	err := r.b.Bind(bg, b)
	_, from := r.exchanges[b.Exchange]
	_, queue := r.queues[b.Queue]
	_, exchange := r.exchanges[b.ToExchange]
	if !from || !queue && !exchange {
		require.Error(t, err)
		return
	}
	require.NoError(t, err)
	if !slices.ContainsFunc(r.bindings, same(b)) {
		r.bindings = append(r.bindings, b)
	}
}

func (r *router) unbind(t *rapid.T) {
	b := r.draw(t)
	if len(r.bindings) > 0 && rapid.IntRange(0, 4).Draw(t, "known") > 0 {
		b = rapid.SampledFrom(r.bindings).Draw(t, "binding")
	}
	found(t, slices.ContainsFunc(r.bindings, same(b)), r.b.Unbind(bg, b))
	r.cut(same(b))
}

// topicMatches is the definition of a topic pattern.
func topicMatches(pattern, key []string) bool {
	switch {
	case len(pattern) == 0:
		return len(key) == 0
	case pattern[0] == "#":
		return topicMatches(pattern[1:], key) || len(key) > 0 && topicMatches(pattern, key[1:])
	}
	return len(key) > 0 && (pattern[0] == "*" || pattern[0] == key[0]) && topicMatches(pattern[1:], key[1:])
}

func splitWords(key string) []string {
	if key == "" {
		return nil
	}
	return strings.Split(key, ".")
}

func (r *router) matches(b workqueue.Binding, keys []string, headers map[string]string) bool {
	switch r.exchanges[b.Exchange].Kind {
	case workqueue.Fanout:
		return true
	case workqueue.Headers:
		return holds(b.Arguments, headers)
	case workqueue.Topic:
		return slices.ContainsFunc(keys, func(key string) bool { return topicMatches(splitWords(b.Key), splitWords(key)) })
	}
	return slices.Contains(keys, b.Key)
}

// route is what RabbitMQ's documentation says.
func (r *router) route(first string, keys []string, headers map[string]string) map[string]bool {
	found := make(map[string]bool)
	if first == "" {
		for _, key := range keys {
			if _, there := r.queues[key]; there {
				found[key] = true
			}
		}
		return found
	}
	seen, next := map[string]bool{}, []string{first}
	for len(next) > 0 {
		x := next[0]
		if next = next[1:]; seen[x] {
			continue
		}
		seen[x] = true
		matched := false
		for _, b := range r.bindings {
			if b.Exchange != x || !r.matches(b, keys, headers) {
				continue
			}
			if matched = true; b.Queue != "" {
				found[b.Queue] = true
			} else {
				next = append(next, b.ToExchange)
			}
		}
		if alternate := r.exchanges[x].Alternate; !matched && alternate != "" {
			if _, there := r.exchanges[alternate]; there {
				next = append(next, alternate)
			}
		}
	}
	return found
}

func (r *router) publish(t *rapid.T) {
	x := rapid.OneOf(someExchange, rapid.Just("")).Draw(t, "exchange")
	keys := rapid.SliceOfN(someKey, 1, 3).Draw(t, "keys")
	m := workqueue.Message{Headers: someHeaders.Draw(t, "headers"), Mandatory: rapid.Bool().Draw(t, "mandatory")}
	m.CC, m.BCC = keys[1:min(2, len(keys))], keys[min(2, len(keys)):]
	m.MessageID = rapid.SampledFrom([]string{"", "1", "2", "3"}).Draw(t, "id")
	c := r.b.PublishAsync(bg, x, keys[0], m)
	d, there := r.exchanges[x]
	found := r.route(x, keys, m.Headers)
	before, repeated := r.known[x+" "+m.MessageID]
	switch {
	case x != "" && !there:
		require.ErrorIs(t, errOf(c.Wait(bg)), workqueue.ErrUnknownExchange)
	case d.Internal:
		require.ErrorIs(t, errOf(c.Wait(bg)), workqueue.ErrInUse)
	case x == "" && slices.ContainsFunc(keys, func(key string) bool { _, there := r.queues[key]; return !there }):
		require.ErrorIs(t, errOf(c.Wait(bg)), workqueue.ErrUnknownQueue)
	case repeated && (before > 0 || !m.Mandatory):
		require.NoError(t, errOf(c.Wait(bg)))
		require.Equal(t, before, published(c).Routed)
	case (len(found) == 0 || repeated) && m.Mandatory:
		require.ErrorIs(t, errOf(c.Wait(bg)), workqueue.ErrUnroutable)
	default:
		require.NoError(t, errOf(c.Wait(bg)))
		require.Equal(t, len(found), published(c).Routed, "%v", slices.Collect(maps.Keys(found)))
		r.put(d, found, m.MessageID)
	}
}

func (r *router) put(d workqueue.ExchangeDefinition, found map[string]bool, id string) {
	for q := range found {
		if _, repeated := r.known[q+" "+id]; !repeated {
			r.queues[q]++
		}
		if q == "q0" && id != "" {
			r.known[q+" "+id] = 0
		}
	}
	if len(found) == 0 {
		r.unrouted++
	}
	if d.DedupeWindow > 0 && id != "" {
		r.known[d.Name+" "+id] = len(found)
	}
}

func (r *router) reopen(t *rapid.T) {
	require.NoError(t, r.db.Close())
	r.open(t)
}

func (r *router) crash(t *rapid.T) {
	clone := r.fs.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, r.db.Close())
	r.fs = clone
	r.open(t)
}

func (r *router) check(t *rapid.T) {
	x, err := r.b.Export(bg)
	require.NoError(t, err)
	require.Len(t, x.Exchanges, len(r.exchanges))
	for _, d := range x.Exchanges {
		require.Equal(t, r.exchanges[d.Name], d)
	}
	require.Len(t, x.Bindings, len(r.bindings))
	for _, b := range r.bindings {
		require.True(t, slices.ContainsFunc(x.Bindings, same(b)), "%v", b)
	}
	require.Len(t, x.Queues, len(r.queues))
	for q, n := range r.queues {
		st, err := queueOf(t, r.b, q).Stats(bg)
		require.NoError(t, err)
		require.EqualValues(t, n, st.Ready, q)
	}
	n := unrouted(t, r.b)
	require.Equal(t, r.unrouted, n)
}

func TestRoutingBehavesLikeItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &router{fs: vfs.NewCrashableMem(), known: make(map[string]int), exchanges: make(map[string]workqueue.ExchangeDefinition), queues: make(map[string]int)}
		r.open(t)
		defer func() { require.NoError(t, r.db.Close()) }()
		for range 6 {
			r.declare(t)
			r.declareQueue(t)
		}
		for range 10 {
			r.bind(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"declare": r.declare, "declare queue": r.declareQueue, "declare another": r.declare,
			"delete exchange": r.deleteExchange, "delete queue": r.deleteQueue,
			"bind": r.bind, "bind more": r.bind, "bind yet more": r.bind, "unbind": r.unbind,
			"publish": r.publish, "publish more": r.publish, "publish yet more": r.publish,
			"reopen": r.reopen, "crash": r.crash, "": r.check,
		})
	})
}
