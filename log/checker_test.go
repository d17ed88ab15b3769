package log_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/logcheck"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

const (
	checkedTopic      = "checked"
	checkedPartitions = 3
)

// TestHistoriesOverCrashesAreSound lets producers, members and readers loose on a
// log, crashes or closes it in their midst, again and again, and has a checker
// look at what they saw.
func TestHistoriesOverCrashesAreSound(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	h := logcheck.New()
	fs := newCrashFS(t)
	const lives = 16
	for n := range lives + 1 {
		o := store.Options{MemoryBytes: store.MinMemoryBytes}
		if rng.IntN(3) > 0 {
			o.SyncInterval = time.Minute // a crash takes more of what is NoSync
		}
		db, err := storetest.OpenFS(fs, o)
		require.NoError(t, err)
		w := newWorkload(t, db, h.Begin(), n)
		w.readAll()
		if n == lives {
			require.NoError(t, db.Close())
			break
		}
		w.start(rng.Uint64(), 50+rng.IntN(400))
		<-w.reached
		if rng.IntN(4) == 0 {
			require.NoError(t, db.Close())
			w.wait()
			h.Close()
			continue
		}
		h.Crash(func() { fs = fs.crash(rng.Uint64(), 25*rng.IntN(5)) })
		require.NoError(t, db.Close())
		w.wait()
	}
	requireSound(t, h.Ops())
}

// requireSound fails with the first anomalies of a history.
func requireSound(t *testing.T, ops []logcheck.Op) {
	t.Helper()
	count := map[logcheck.Type]int{}
	read := 0
	for _, op := range ops {
		count[op.Type]++
		if op.Type == logcheck.PollOp {
			read += len(op.Records)
		}
	}
	t.Logf("%v, %d records polled", count, read)
	for _, typ := range []logcheck.Type{logcheck.AppendOp, logcheck.PollOp, logcheck.OKOp, logcheck.CommitOp, logcheck.SeekOp} {
		require.NotZero(t, count[typ], typ)
	}
	found := logcheck.Check(ops)
	for _, a := range found[:min(len(found), 10)] {
		t.Error(a)
	}
	require.Empty(t, len(found), "anomalies")
}

// workload uses a log in all its ways, and records it.
type workload struct {
	t     testing.TB
	db    *pebblemq.DB
	topic *log.Topic
	group *log.Group
	life  *logcheck.Life
	n     int

	refuser *log.Member   // owns no partition that is as long as it commits
	reached chan struct{} // so many calls are done
	calls   atomic.Int64
	wg      sync.WaitGroup
}

func newWorkload(t testing.TB, db *pebblemq.DB, life *logcheck.Life, n int) *workload {
	w := &workload{t: t, db: db, life: life, n: n, reached: make(chan struct{})}
	var err error
	w.topic, err = log.OpenTopic(ctx, db, checkedTopic, &log.TopicConfig{Partitions: checkedPartitions})
	require.NoError(t, err)
	w.group, err = w.topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	refusing, err := w.topic.OpenGroup(ctx, "refusing", nil)
	require.NoError(t, err)
	w.refuser, err = refusing.Join(ctx, nil)
	require.NoError(t, err)
	return w
}

// start starts everyone. They go on until the store is closed.
func (w *workload) start(seed uint64, calls int) {
	w.calls.Store(int64(calls))
	run := func(number int, f func(*actor)) {
		a := &actor{w, rand.New(rand.NewPCG(seed, uint64(number))), fmt.Sprintf("%d.%d", w.n, number), 0, nil}
		w.wg.Go(func() {
			for !a.over() {
				f(a)
			}
		})
	}
	for i := range 4 {
		run(i, (*actor).produce)
	}
	for i := range 3 {
		run(10+i, (*actor).consume)
	}
	run(20, (*actor).tail)
}

func (w *workload) wait() { w.wg.Wait() }

// done counts a call that has returned.
func (w *workload) done() {
	if w.calls.Add(-1) == 0 {
		close(w.reached)
	}
}

// readAll reads the log at rest.
func (w *workload) readAll() {
	for p := range checkedPartitions {
		r, err := w.topic.NewReader(p, log.Start())
		require.NoError(w.t, err)
		var all []logcheck.Record
		for {
			got, err := r.Fetch(ctx, 100, 1<<20)
			require.NoError(w.t, err)
			if len(got) == 0 {
				break
			}
			all = append(all, seen(got)...)
		}
		w.life.ReadAll(checkedTopic, p, all...)
	}
}

// actor is one goroutine of a workload.
type actor struct {
	*workload
	rng  *rand.Rand
	name string
	made int
	err  error // the store has been closed
}

func (a *actor) over() bool { return a.err != nil }

// batch makes records whose values say who they are, how long and from whom.
func (a *actor) batch(n int) ([]log.Record, []string) {
	records, names := make([]log.Record, n), make([]string, n)
	large := n == 20 || a.rng.IntN(50) == 0
	for i := range records {
		pad := a.rng.IntN(100)
		if large {
			pad = 20_000 // some make more than one stored batch
		}
		names[i] = fmt.Sprintf("%s.%d.%d", a.name, a.made, pad)
		records[i].Value = []byte(names[i] + "|" + strings.Repeat("x", pad))
		if a.rng.IntN(2) == 0 {
			records[i].Key = fmt.Append(nil, a.rng.IntN(8))
		}
		a.made++
	}
	return records, names
}

// nameOf is the name in a value that is as batch has made it; any other value is its own name,
// which was never appended.
func nameOf(value []byte) string {
	name, pad, ok := strings.Cut(string(value), "|")
	if i := strings.LastIndexByte(name, '.'); ok && name[i+1:] == fmt.Sprint(len(pad)) && strings.Trim(pad, "x") == "" {
		return name
	}
	return string(value)
}

func spotAt(partition int, offset int64) logcheck.Record {
	return logcheck.Record{Topic: checkedTopic, Partition: partition, Offset: offset}
}

func seen(records []log.Record) []logcheck.Record {
	list := make([]logcheck.Record, len(records))
	for i, r := range records {
		list[i] = spotAt(r.Partition, r.Offset)
		list[i].Value = nameOf(r.Value)
	}
	return list
}

func placed(names []string, at []log.Position) []logcheck.Record {
	list := make([]logcheck.Record, len(at))
	for i, p := range at {
		list[i] = spotAt(p.Partition, p.Offset)
		list[i].Value = names[i]
	}
	return list
}

var errAbort = errors.New("aborted by the test")

// settle records the outcome of a call, which error by error is as documented.
func (a *actor) settle(c logcheck.Call, err error, at ...logcheck.Record) {
	defer a.done()
	if errors.Is(err, pebblemq.ErrClosed) {
		a.err = err
	}
	if err == nil {
		c.OK(at...)
		return
	}
	if errors.Is(err, pebblemq.ErrUnknownOutcome) {
		c.Unknown()
		return
	}
	for _, refusal := range []error{
		errAbort, context.Canceled, pebblemq.ErrClosed, pebblemq.ErrTooLarge, log.ErrFenced, log.ErrOffsetOutOfRange,
	} {
		if errors.Is(err, refusal) {
			c.Fail()
			return
		}
	}
	a.t.Errorf("%s: %v", a.name, err)
	a.err = err
}

// durability chooses one.
func (a *actor) durability() (context.Context, bool) {
	if a.rng.IntN(3) == 0 {
		return noSync, false
	}
	return ctx, true
}
