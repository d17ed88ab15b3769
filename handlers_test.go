package pebblemq_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// handling is how a Run is asked for, of any queue.
type handling struct {
	concurrency int
	keyed       bool
	attempts    int
	handle      func(ctx context.Context, message string) error
}

// runner is a queue with messages, whose Run is under test. The key of a message stands before
// the colon of its body.
type runner struct {
	put  func(t *testing.T, db *pebblemq.DB, bodies []string)
	run  func(ctx context.Context, db *pebblemq.DB, h handling) error
	dead func(t *testing.T, db *pebblemq.DB) []string // the bodies, sorted
	left func(t *testing.T, db *pebblemq.DB) float64  // messages that are neither settled nor dead
}

// bodies returns those of all messages, sorted.
func bodies[M any](t *testing.T, all iter.Seq2[M, error], body func(M) []byte) (found []string) {
	t.Helper()
	for m, err := range all {
		require.NoError(t, err)
		found = append(found, string(body(m)))
	}
	slices.Sort(found)
	return found
}

func keyOf(body []byte) string { key, _, _ := strings.Cut(string(body), ":"); return key }

var backoff = pebblemq.Backoff{Min: time.Second, Max: time.Minute}

var runners = map[string]runner{
	"log": {
		put: func(t *testing.T, db *pebblemq.DB, bodies []string) {
			topic, err := log.OpenTopic(bg, db, "q", &log.TopicConfig{Partitions: 2})
			require.NoError(t, err)
			_, err = topic.OpenGroup(bg, "g", nil)
			require.NoError(t, err)
			for _, b := range bodies {
				_, err := topic.Append(bg, log.Record{Key: []byte(keyOf([]byte(b))), Value: []byte(b)})
				require.NoError(t, err)
			}
		},
		run: func(ctx context.Context, db *pebblemq.DB, h handling) error {
			topic, err := log.LookupTopic(bg, db, "q")
			if err != nil {
				return err
			}
			g, err := topic.LookupGroup(bg, "g")
			if err != nil {
				return err
			}
			o := &log.RunOptions{Concurrency: h.concurrency, MaxAttempts: h.attempts, Backoff: backoff, Timeout: time.Minute, DrainTimeout: time.Minute}
			if h.keyed {
				o.Key = func(r log.Record) string { return keyOf(r.Value) }
			}
			return g.Run(ctx, func(ctx context.Context, r log.Record) error { return h.handle(ctx, string(r.Value)) }, o)
		},
		dead: func(t *testing.T, db *pebblemq.DB) (found []string) {
			topic, err := log.LookupTopic(bg, db, "q.dead")
			if errors.Is(err, pebblemq.ErrNotFound) {
				return nil
			}
			require.NoError(t, err)
			for p := range topic.Partitions() {
				reader, err := topic.NewReader(p, log.Start())
				require.NoError(t, err)
				require.NoError(t, reader.Until(log.End()))
				found = append(found, bodies(t, reader.Records(bg), func(r log.Record) []byte { return r.Value })...)
			}
			slices.Sort(found)
			return found
		},
		left: func(t *testing.T, db *pebblemq.DB) float64 { return figure(t, db, "group", "q", "g", "lag") },
	},
	"workqueue": {
		put: func(t *testing.T, db *pebblemq.DB, bodies []string) {
			b, err := workqueue.OpenBroker(bg, db, "main")
			require.NoError(t, err)
			_, err = b.DeclareQueue(bg, "q", nil)
			require.NoError(t, err)
			for _, body := range bodies {
				require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{Body: []byte(body)}))
			}
		},
		run: func(ctx context.Context, db *pebblemq.DB, h handling) error {
			b, err := workqueue.OpenBroker(bg, db, "main")
			if err != nil {
				return err
			}
			q, err := b.Queue(bg, "q")
			if err != nil {
				return err
			}
			o := &workqueue.RunOptions{Concurrency: h.concurrency, MaxAttempts: h.attempts, Backoff: backoff, Timeout: time.Minute, DrainTimeout: time.Minute}
			if h.keyed {
				o.Key = func(d *workqueue.Delivery) string { return keyOf(d.Body) }
			}
			return q.Run(ctx, func(ctx context.Context, d *workqueue.Delivery) error { return h.handle(ctx, string(d.Body)) }, o)
		},
		dead: func(t *testing.T, db *pebblemq.DB) []string {
			b, err := workqueue.OpenBroker(bg, db, "main")
			require.NoError(t, err)
			q, err := b.Queue(bg, "q.dead")
			if errors.Is(err, pebblemq.ErrNotFound) {
				return nil
			}
			require.NoError(t, err)
			return bodies(t, q.Browse(bg, nil), func(m *workqueue.Browsed) []byte { return m.Body })
		},
		left: func(t *testing.T, db *pebblemq.DB) float64 {
			return figure(t, db, "work queue", "main", "q", "ready") + figure(t, db, "work queue", "main", "q", "unacked") +
				figure(t, db, "work queue", "main", "q", "delayed")
		},
	},
	"visibility": {
		put: func(t *testing.T, db *pebblemq.DB, bodies []string) {
			q, err := visibility.OpenQueue(bg, db, "q", nil)
			require.NoError(t, err)
			for _, body := range bodies {
				_, err := q.Send(bg, visibility.Message{Body: []byte(body)})
				require.NoError(t, err)
			}
		},
		run: func(ctx context.Context, db *pebblemq.DB, h handling) error {
			q, err := visibility.LookupQueue(bg, db, "q")
			if err != nil {
				return err
			}
			o := &visibility.RunOptions{Concurrency: h.concurrency, MaxAttempts: h.attempts, Backoff: backoff, Timeout: time.Minute, DrainTimeout: time.Minute}
			if h.keyed {
				o.Key = func(m *visibility.Received) string { return keyOf(m.Body) }
			}
			return q.Run(ctx, func(ctx context.Context, m *visibility.Received) error { return h.handle(ctx, string(m.Body)) }, o)
		},
		dead: func(t *testing.T, db *pebblemq.DB) []string {
			q, err := visibility.LookupQueue(bg, db, "q.dead")
			if errors.Is(err, pebblemq.ErrNotFound) {
				return nil
			}
			require.NoError(t, err)
			return bodies(t, q.Browse(bg, nil), func(m *visibility.Browsed) []byte { return m.Body })
		},
		left: func(t *testing.T, db *pebblemq.DB) float64 {
			return figure(t, db, "visibility queue", "", "q", "visible") + figure(t, db, "visibility queue", "", "q", "in_flight") +
				figure(t, db, "visibility queue", "", "q", "delayed")
		},
	},
}

// figure returns one number of one object.
func figure(t *testing.T, db *pebblemq.DB, kind, parent, name, number string) float64 {
	t.Helper()
	d, err := db.Describe(bg)
	require.NoError(t, err)
	n, ok := figures(described(t, d, kind, parent, name))[number]
	require.True(t, ok, number)
	return n
}

var errBad = errors.New("bad")

// fate is what becomes of a message.
type fate int

const (
	settled fate = iota
	isDead
	stays
)

// endings are the ways in which a handler can end, by the number of the call of a message.
var endings = map[string]struct {
	end   func(ctx context.Context, call int) error
	calls int // of each message
	fate  fate
	err   error // of Run
}{
	"nil":             {func(context.Context, int) error { return nil }, 1, settled, nil},
	"error":           {func(context.Context, int) error { return errBad }, 3, isDead, nil},
	"error once":      {func(_ context.Context, n int) error { return []error{errBad, nil}[n-1] }, 2, settled, nil},
	"panic":           {func(context.Context, int) error { panic("oh") }, 3, isDead, nil},
	"Goexit":          {func(context.Context, int) error { runtime.Goexit(); return nil }, 3, isDead, nil},
	"never":           {func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }, 3, isDead, nil},
	"late, and well":  {func(ctx context.Context, _ int) error { <-ctx.Done(); return nil }, 1, settled, nil},
	"cancel":          {func(context.Context, int) error { return context.Canceled }, 3, isDead, nil},
	"Reject":          {func(context.Context, int) error { return pebblemq.Reject(errBad) }, 1, isDead, nil},
	"Release":         {func(_ context.Context, n int) error { return released(n < 30) }, 30, settled, nil},
	"Release for now": {func(_ context.Context, n int) error { return releasedNow(n < 30) }, 30, settled, nil},
	"Stop":            {func(context.Context, int) error { return pebblemq.Stop(errBad) }, 1, stays, errBad},
}

func released(again bool) error {
	if again {
		return pebblemq.Release(time.Minute)
	}
	return nil
}

func releasedNow(again bool) error {
	if again {
		return pebblemq.Release(0)
	}
	return nil
}

// The same ways in which a handler can end have the same outcome in all three queues, whatever
// the number of handlers, with and without keys.
func TestAHandlerEndsAlikeInAllQueues(t *testing.T) {
	for kind, r := range runners {
		for name, e := range endings {
			for _, concurrency := range []int{1, 8} {
				for _, keyed := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s, %s, %d at a time, keys %v", kind, name, concurrency, keyed), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							testEnding(t, r, handling{concurrency: concurrency, keyed: keyed, attempts: 3}, e.end, e.calls, e.fate, e.err)
						})
					})
				}
			}
		}
	}
}

func testEnding(t *testing.T, r runner, h handling, end func(context.Context, int) error, calls int, becomes fate, stopped error) {
	db, err := pebblemq.OpenMemory(&pebblemq.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	var bodies []string
	for i := range 6 {
		bodies = append(bodies, fmt.Sprintf("k%d:%d", i%2, i))
	}
	r.put(t, db, bodies)

	var mu sync.Mutex
	counts, running := make(map[string]int), make(map[string]int)
	h.handle = func(ctx context.Context, body string) error {
		mu.Lock()
		counts[body]++
		n, key := counts[body], keyOf([]byte(body))
		running[key]++
		double := running[key] > 1
		mu.Unlock()
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			running[key]--
		}()
		if h.keyed && double {
			t.Errorf("two calls of key %s at a time", key)
		}
		return end(ctx, n)
	}
	ctx, cancel := context.WithTimeout(bg, 10*time.Hour)
	defer cancel()
	err = r.run(ctx, db, h)
	if stopped != nil {
		require.ErrorIs(t, err, stopped)
	} else {
		require.NoError(t, err)
		require.Error(t, ctx.Err(), "Run ended before its context")
	}
	dead, left := r.dead(t, db), r.left(t, db)
	switch becomes {
	case settled:
		require.Empty(t, dead)
		require.Zero(t, left)
	case isDead:
		require.Equal(t, slices.Sorted(slices.Values(bodies)), dead)
		require.Zero(t, left)
	case stays:
		require.Empty(t, dead)
		require.Equal(t, float64(len(bodies)), left)
		return
	}
	for _, b := range bodies {
		require.Equal(t, calls, counts[b], b)
	}
}

// The options that the three Runs have in common have one name and one type.
func TestTheOptionsOfTheRunsAgree(t *testing.T) {
	common := []string{
		"Concurrency", "MaxAttempts", "Backoff", "Timeout", "DrainTimeout", "Rate", "Key",
		"BatchSize", "BatchWait", "Middleware", "OnError",
	}
	types := []reflect.Type{reflect.TypeFor[log.RunOptions](), reflect.TypeFor[workqueue.RunOptions](), reflect.TypeFor[visibility.RunOptions]()}
	for _, name := range common {
		want, _ := types[0].FieldByName(name)
		for _, o := range types {
			f, has := o.FieldByName(name)
			require.True(t, has, "%v has no %s", o, name)
			require.Equal(t, want.Type.Kind(), f.Type.Kind(), "%v.%s", o, name)
			if name != "Key" && name != "Middleware" && name != "OnError" { // these name the message
				require.Equal(t, want.Type, f.Type, "%v.%s", o, name)
			}
		}
	}
}
