package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// TestModel drives a lane and a plain model of one with random operations,
// undone ones, restarts and crashes.
func TestModel(t *testing.T) {
	for _, c := range []struct{ leases, groups, fair bool }{{}, {leases: true}, {leases: true, groups: true}, {leases: true, groups: true, fair: true}} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rapid.Check(struct{ testing.TB }{t}, func(t *rapid.T) { // hides Deadline, which a bubble forbids
					w := &world{t: t, leases: c.leases, groups: c.groups, fair: c.fair, line: rapid.SampledFrom([]int{0, 2, lookAhead}).Draw(t, "line"), fs: storetest.NewFS(vfs.NewCrashableMem()), model: map[uint64]*entry{}}
					w.open()
					defer func() { require.NoError(t, w.s.Close()) }()
					t.Repeat(map[string]func(*rapid.T){
						"put":     w.put,
						"bulk":    w.bulk,
						"delay":   w.delay,
						"take":    w.take,
						"settle":  w.settle,
						"lookup":  w.lookup,
						"browse":  w.browse,
						"peek":    w.peek,
						"cancel":  w.cancel,
						"pump":    w.pump,
						"return":  w.giveBack,
						"extend":  w.extend,
						"purge":   w.purge,
						"advance": w.advance,
						"reopen":  w.reopen,
						"crash":   w.crash,
						"":        w.check,
					})
				})
			})
		})
	}
}

// entry is a message of the model.
type entry struct {
	seq      uint64
	data     string
	share    string
	payload  store.Payload
	count    uint32
	taken    bool
	until    time.Time
	prime    bool
	unsynced bool // a take that a crash may take back
	round    int  // that took it last
}

type waiting struct {
	at      Position
	due     time.Time
	data    string
	share   string
	payload store.Payload
}

// world is a lane beside its model. The model is of what is certain: what is
// not, after a crash, it reads from the disk, having checked that it may be so.
type world struct {
	t       *rapid.T
	leases  bool
	groups  bool
	fair    bool       // tenants
	line    int        // that nobody passes
	random  *rand.Rand // for a bulk
	round   int
	fs      *storetest.FS
	s       *store.Store
	q       *Lane
	next    uint64
	puts    int
	checks  int
	model   map[uint64]*entry
	delayed []waiting // by due time
	wrong   string    // found under the baton

	look *Browse         // under way
	owed map[string]bool // was there when it began
	seen map[string]bool
}

var errRefused = errors.New("refused")

func (w *world) open() {
	var err error
	w.s, err = store.Open(store.Options{FS: w.fs, Dir: "data", MemoryBytes: store.MinMemoryBytes})
	require.NoError(w.t, err)
	w.look = nil
	o := Options{Ready: func(*store.Turn) {}, ID: lastWord}
	if w.leases {
		o.Leased = func(_ *store.Turn, m *Message) {
			if e := w.model[m.Seq]; e == nil || !e.taken || At(e.until) != m.Until {
				w.wrong = fmt.Sprintf("leased %d: %+v", m.Seq, e)
			}
		}
	}
	if w.groups {
		o.Group, o.Fair = groupOf, w.fair
	}
	w.q, err = openLane(ctx, crowded(w.s), layout, 1, o)
	require.NoError(w.t, err)
	if w.groups {
		w.q.groups.passing.backlog.most = 3
		w.q.groups.room = room{3, 8, 1 << 10, 5, paceMessages, w.line}
	}
	if w.leases {
		w.q.leanFrom = 0
	}
	under(w.t, w.s, store.NoSync, w.q.Start)
	synctest.Wait()
	w.promote()
}

// do runs an Op, or, now and then, has it undone first.
func (w *world) do(op store.Op) {
	if rapid.IntRange(0, 3).Draw(w.t, "undo first") == 0 {
		err := w.s.Do(ctx, store.OpFunc(func(t *store.Turn) error {
			if err := op.Run(t); err != nil {
				return err
			}
			op.Undo()
			return errRefused
		}), store.Sync)
		require.ErrorIs(w.t, err, errRefused)
		w.synced()
	}
	require.NoError(w.t, w.s.Do(ctx, op, store.Sync))
	w.synced()
}

func (w *world) synced() {
	for _, e := range w.model {
		e.unsynced = false
	}
}

func (w *world) payload() string {
	w.puts++
	if w.groups {
		return fmt.Sprintf("%s message %d", w.group(), w.puts)
	}
	return fmt.Sprintf("message %d", w.puts)
}

// shared is a payload for a message, or none.
func (w *world) shared() string {
	if !rapid.Bool().Draw(w.t, "shared") {
		return ""
	}
	return fmt.Sprintf("payload %d", w.puts)
}

func (w *world) add(data, share string, p store.Payload) {
	w.model[w.next] = &entry{seq: w.next, data: data, share: share, payload: p}
	w.next++
}

func (w *world) put(*rapid.T) {
	op := &putOp{q: w.q, data: []byte(w.payload()), share: w.shared()}
	w.do(op)
	w.add(string(op.data), op.share, op.p)
}

func (w *world) bulk(t *rapid.T) {
	if len(w.model) > windowMessages || rapid.IntRange(0, 9).Draw(t, "rarely") > 0 {
		t.Skip("enough")
	}
	w.random = rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "seed")))
	defer func() { w.random = nil }()
	for range rapid.IntRange(1, windowMessages).Draw(t, "n") {
		data := w.payload()
		require.NoError(t, w.s.Do(ctx, &putOp{q: w.q, data: []byte(data)}, store.NoSync))
		w.add(data, "", store.Payload{})
	}
	w.put(t)
}

func (w *world) delay(t *rapid.T) {
	due := time.Now().Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "s")) * time.Second)
	op := &delayOp{q: w.q, data: []byte(w.payload()), share: w.shared(), due: due}
	w.do(op)
	d := waiting{op.d.Position, due, string(op.data), op.share, op.p}
	i, _ := slices.BinarySearchFunc(w.delayed, d, func(a, b waiting) int {
		if a.due.After(b.due) {
			return 1
		}
		return -1
	})
	w.delayed = slices.Insert(w.delayed, i, d)
}

// promote moves what is due in the model.
func (w *world) promote() {
	for len(w.delayed) > 0 && !w.delayed[0].due.After(time.Now()) {
		w.add(w.delayed[0].data, w.delayed[0].share, w.delayed[0].payload)
		w.delayed = w.delayed[1:]
	}
}

func (w *world) take(t *rapid.T) {
	switch {
	case w.fair:
		w.takeFair(t)
		return
	case w.groups:
		w.takeRound(t)
		return
	}
	for range rapid.IntRange(1, 20).Draw(t, "n") {
		w.takeOne(t)
	}
}

func (w *world) takeOne(t *rapid.T) {
	var until time.Time
	if w.leases {
		until = time.Now().Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "lease")) * time.Second)
	}
	var m *Message
	solo, busy := false, true
	for tries := 0; m == nil && busy; tries++ {
		require.Less(t, tries, 20, "busy for ever")
		synctest.Wait()
		under(t, w.s, store.NoSync, func(t *store.Turn) {
			m = w.q.Take(t, until)
			busy = w.q.Busy()
			solo = w.q.solo != nil && w.q.solo != m
		})
	}
	first := w.first()
	if m == nil {
		for _, e := range w.model {
			require.True(t, e.taken || e.prime && solo, "%+v is ready", e)
		}
		return
	}
	e := w.model[m.Seq]
	require.NotNil(t, e, "%d is gone", m.Seq)
	require.False(t, e.taken)
	require.True(t, e.prime || e == first, "%d before %+v", m.Seq, first)
	require.False(t, e.prime && solo, "two prime suspects at a time")
	require.Equal(t, e.data, string(m.Data))
	require.Equal(t, e.count+1, m.Count)
	under(w.t, w.s, store.NoSync, func(*store.Turn) { w.q.Lean(m, noPrint) })
	e.taken, e.count, e.until, e.prime, e.unsynced = true, m.Count, until, false, true
	if m.Suspect {
		w.synced()
	}
}

// first is the next one to be had, prime suspects aside.
func (w *world) first() *entry {
	var first *entry
	for _, e := range w.model {
		if !e.taken && !e.prime && (first == nil || e.seq < first.seq) {
			first = e
		}
	}
	return first
}

// pick chooses a message.
func (w *world) pick(t *rapid.T, taken bool) *entry {
	var found []uint64
	for seq, e := range w.model {
		if e.taken == taken {
			found = append(found, seq)
		}
	}
	if len(found) == 0 {
		t.Skip("there is none")
	}
	slices.Sort(found)
	return w.model[rapid.SampledFrom(found).Draw(t, "seq")]
}

func (w *world) taken(t *rapid.T) (*entry, *Message) {
	e := w.pick(t, true)
	var m *Message
	var err error
	under(t, w.s, store.NoSync, func(turn *store.Turn) { m, err = w.q.Find(turn, e.seq) })
	require.NoError(t, err)
	require.NotNil(t, m, "%+v", e)
	require.True(t, m.Taken())
	w.sameData(t, e, m)
	require.Equal(t, e.count, m.Count)
	require.Equal(t, At(e.until), m.Until)
	return e, m
}

// sameData compares the data, if m has it.
func (w *world) sameData(t *rapid.T, e *entry, m *Message) {
	if m.lean > 0 {
		require.Empty(t, m.Data)
		require.Len(t, e.data, int(m.lean))
		return
	}
	require.Equal(t, e.data, string(m.Data))
}

func (w *world) settle(t *rapid.T) {
	e, m := w.taken(t)
	w.do(&settleOp{w.q, m})
	delete(w.model, e.seq)
}

// lookup settles a message that waits.
func (w *world) lookup(t *rapid.T) {
	e := w.pick(t, false)
	var m *Message
	var err error
	under(t, w.s, store.NoSync, func(turn *store.Turn) { m, err = w.q.Lookup(turn, e.seq) })
	require.NoError(t, err)
	require.NotNil(t, m)
	w.sameData(t, e, m)
	require.Equal(t, e.count, m.Count)
	w.do(&settleOp{w.q, m})
	delete(w.model, e.seq)
}

// messages returns what the model holds, by data.
func (w *world) messages() map[string]*entry {
	all := make(map[string]*entry, len(w.model)+len(w.delayed))
	for _, e := range w.model {
		all[e.data] = e
	}
	for _, d := range w.delayed {
		all[d.data] = nil
	}
	return all
}

// browse reads a chunk of a Browse, which spans other operations.
func (w *world) browse(t *rapid.T) {
	now := w.messages()
	if w.look == nil {
		w.look = w.q.Browse(Query{Alive: alive, Waiting: true, Delayed: true})
		w.look.most = rapid.SampledFrom([]int{1, 3, 300}).Draw(t, "chunk")
		w.owed, w.seen = map[string]bool{}, map[string]bool{}
		for data := range now {
			w.owed[data] = true
		}
	}
	for range rapid.IntRange(1, 20).Draw(t, "chunks") {
		found, err := w.look.Next(ctx)
		require.NoError(t, err)
		for _, s := range found {
			require.False(t, w.seen[string(s.Data)], "%q is seen twice", s.Data)
			w.seen[string(s.Data)] = true
			w.same(t, &s)
		}
		if len(found) > 0 {
			continue
		}
		for data := range now {
			require.True(t, w.seen[data] || !w.owed[data], "%q is not seen", data)
		}
		w.look = nil
		under(t, w.s, store.NoSync, func(*store.Turn) { require.Empty(t, w.q.delays.watches) })
		return
	}
	if rapid.IntRange(0, 9).Draw(t, "break off") == 0 {
		w.look.Close(ctx)
		w.look = nil
	}
}

// same compares a message that was seen with the model.
func (w *world) same(t *rapid.T, s *Seen) {
	require.NoError(t, s.Err)
	if s.Delayed() {
		i := slices.IndexFunc(w.delayed, func(d waiting) bool { return d.at == s.Position })
		require.GreaterOrEqual(t, i, 0, "%+v", s)
		require.Equal(t, w.delayed[i].data, string(s.Data))
		require.Equal(t, w.delayed[i].payload, s.Payload)
		return
	}
	e := w.model[s.Seq]
	require.NotNil(t, e, "%+v", s)
	require.Equal(t, e.data, string(s.Data))
	require.Equal(t, e.payload, s.Payload)
	require.Equal(t, e.count, s.Count)
	require.Equal(t, e.taken, s.Taken, "%+v", e)
	if e.taken {
		require.Equal(t, At(e.until), s.Until)
	}
}

// peek looks at one message, or at one that is gone.
func (w *world) peek(t *rapid.T) {
	at := Position{Seq: uint64(rapid.IntRange(0, int(w.next)).Draw(t, "seq"))}
	if len(w.delayed) > 0 && rapid.Bool().Draw(t, "delayed") {
		at = rapid.SampledFrom(w.delayed).Draw(t, "which").at
	}
	s, err := w.q.Peek(ctx, alive, at)
	require.NoError(t, err)
	if s == nil {
		require.False(t, at.Delayed())
		require.Nil(t, w.model[at.Seq])
		return
	}
	require.Equal(t, at, s.Position)
	w.same(t, s)
}

// pump moves some of what waits to the end of the queue. Others cannot be moved, which
// shows when they are settled already.
func (w *world) pump(t *rapid.T) {
	var ready []*entry
	for _, e := range w.model {
		if !e.taken {
			ready = append(ready, e)
		}
	}
	slices.SortFunc(ready, func(a, b *entry) int { return int(a.seq) - int(b.seq) })
	p := &Pump{
		Browse: w.q.Browse(Query{Alive: alive, Waiting: true}),
		Select: func(s *Seen) (Move, error) {
			if len(s.Data)%3 == 0 {
				return nil, nil
			}
			return w.moveToTheEnd, nil
		},
		Judge:  func(error) Verdict { return LeaveIt },
		Report: func(Progress) {},
	}
	done, err := p.Run(ctx, Progress{})
	require.NoError(t, err)
	if done.Moved > 0 {
		w.synced()
	}
	var want Progress
	for _, e := range ready {
		switch {
		case len(e.data)%3 == 0:
			want.Skipped++
		case unmovable([]byte(e.data)):
			want.Failed++
		default:
			want.Moved++
			delete(w.model, e.seq)
			w.add(e.data, e.share, e.payload)
		}
	}
	want.Skipped += uint64(len(w.model) - len(ready)) // what is out
	done.Reason = nil
	require.Equal(t, want, done)
	if w.look != nil { // which would find again what was moved
		w.look.Close(ctx)
		w.look = nil
	}
}

func unmovable(data []byte) bool { return data[len(data)-1]%2 == 0 }

func (w *world) moveToTheEnd(t *store.Turn, m *Message) (func(*store.Turn), error) {
	c := Content{Data: m.Data, Payload: m.Payload}
	w.q.Settle(t, m)
	put := w.q.Put(t, c)
	if unmovable(c.Data) {
		w.q.UndoPut(put)
		w.q.UndoSettle(m)
		return nil, errRefused
	}
	return func(t *store.Turn) {
		w.q.Settled(t, m)
		w.q.Show(t, put)
	}, nil
}

// cancel removes a delayed message that is found by its id.
func (w *world) cancel(t *rapid.T) {
	if len(w.delayed) == 0 {
		t.Skip("there is none")
	}
	i := rapid.IntRange(0, len(w.delayed)-1).Draw(t, "which")
	d := w.delayed[i]
	id := lastWord([]byte(d.data))
	found, err := w.q.delays.later(ctx, id)
	require.NoError(t, err)
	require.Equal(t, []Position{d.at}, found)
	op := &cancelOp{q: w.q, at: d.at, id: []byte("another")}
	w.do(op)
	require.Nil(t, op.done)
	op.id = id
	w.do(op)
	require.NotNil(t, op.done)
	w.delayed = slices.Delete(w.delayed, i, i+1)
	found, err = w.q.delays.later(ctx, id)
	require.NoError(t, err)
	require.Empty(t, found)
}

func (w *world) giveBack(t *rapid.T) {
	e, m := w.taken(t)
	forgive := rapid.Bool().Draw(t, "forgive")
	w.do(&returnOp{q: w.q, m: m, forgive: forgive})
	if w.isBack(e, m); forgive {
		e.count--
	}
}

func (w *world) isBack(e *entry, m *Message) {
	e.taken, e.until, e.prime = false, time.Time{}, m.prime
}

func (w *world) extend(t *rapid.T) {
	if !w.leases {
		t.Skip("without leases")
	}
	e, m := w.taken(t)
	until := time.Now().Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "s")) * time.Second)
	w.do(&extendOp{q: w.q, m: m, to: until})
	e.until = until
}

func (w *world) purge(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "rarely") > 0 {
		t.Skip("not now")
	}
	delayedToo := rapid.Bool().Draw(t, "delayed too")
	n := 0
	require.NoError(t, w.s.Do(ctx, store.OpFunc(func(turn *store.Turn) error {
		n = w.q.Purge(turn, delayedToo)
		maps.DeleteFunc(w.model, func(seq uint64, e *entry) bool {
			if m := w.q.order.inMemory(seq); m != nil && m.Taken() {
				return false
			}
			n--
			return true
		})
		return nil
	}), store.Sync))
	w.synced()
	if delayedToo {
		n -= len(w.delayed)
		w.delayed = nil
	}
	require.Zero(t, n)
}

// advance lets time pass, and ends the leases that it ends, as a layer would.
func (w *world) advance(t *rapid.T) {
	<-time.After(time.Duration(rapid.IntRange(1, 100).Draw(t, "s")) * time.Second)
	synctest.Wait()
	w.synced()
	w.promote()
	w.expire()
}

func (w *world) expire() {
	if !w.leases {
		return
	}
	now := time.Now()
	for _, e := range w.model {
		if !e.taken || e.until.After(now) {
			continue
		}
		var m *Message
		under(w.t, w.s, store.NoSync, func(*store.Turn) { m = w.q.order.inMemory(e.seq) })
		if m != nil {
			require.NoError(w.t, w.s.Do(ctx, &returnOp{q: w.q, m: m}, store.Sync))
			w.isBack(e, m)
			continue
		}
		e.taken, e.until = false, time.Time{} // on disk only
	}
}

func (w *world) reopen(*rapid.T) {
	require.NoError(w.t, w.s.Close())
	w.synced()
	w.restart(false)
}

func (w *world) crash(t *rapid.T) {
	clone := w.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rapid.SampledFrom([]int{0, 50, 100}).Draw(t, "kept"), RNG: rand.New(rand.NewPCG(1, 2))})
	require.NoError(t, w.s.Close())
	w.fs = storetest.NewFS(clone)
	w.restart(true)
}

func (w *world) restart(unclean bool) {
	now := time.Now()
	s, err := store.Open(store.Options{FS: w.fs, Dir: "data", MemoryBytes: store.MinMemoryBytes})
	require.NoError(w.t, err)
	for _, e := range w.model {
		w.settleDoubt(s, e, unclean, now)
	}
	if unclean { // without a good end again
		clone := w.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 2))})
		require.NoError(w.t, s.Close())
		w.fs = storetest.NewFS(clone)
	} else {
		require.NoError(w.t, s.Close())
	}
	w.open()
}

// settleDoubt takes over what the disk says of a message, if it may say so.
func (w *world) settleDoubt(s *store.Store, e *entry, unclean bool, now time.Time) {
	mk := storedMessage(w.t, s, e.seq).mark
	wasTaken := e.taken
	if e.unsynced && mk.count == e.count-1 {
		wasTaken, e.until = false, time.Time{}
		e.count--
	}
	require.Equal(w.t, e.count, mk.count, "%+v", e)
	if wasTaken {
		require.True(w.t, mk.out, "%+v", e)
		require.Equal(w.t, int64(At(e.until)), mk.until)
	}
	e.unsynced = false
	e.prime = unclean && (mk.out || mk.accused)
	if e.taken = wasTaken && w.leases && e.until.After(now); !e.taken {
		e.until = time.Time{}
	}
}

func (w *world) check(t *rapid.T) {
	under(w.t, w.s, store.NoSync, func(*store.Turn) { require.NoError(w.t, sound(w.q)) })
	synctest.Wait()
	var st Stats
	var unloaded, low uint64
	var onDisk tally
	window := 0
	under(t, w.s, store.NoSync, func(*store.Turn) {
		st, unloaded, low, window = w.q.Stats(), w.q.crash.unloaded, w.q.meta.low, w.q.line.window.len()
		onDisk = w.q.bad.onDisk
		for seq, e := range w.model {
			if seq >= w.q.loaded && w.q.order.inMemory(seq) == nil {
				onDisk.less(tally{1, uint64(len(e.data) + len(e.share))})
			}
		}
	})
	require.Zero(t, onDisk)
	require.Zero(t, st.Unreadable)
	require.Empty(t, w.wrong)
	require.EqualValues(t, len(w.delayed), st.Delayed)
	require.EqualValues(t, len(w.model), st.Ready+st.Taken)
	taken, bytes := 0, 0
	for seq, e := range w.model {
		require.LessOrEqual(t, low, seq)
		bytes += len(e.data) + len(e.share)
		if e.taken {
			taken++
		}
	}
	for _, d := range w.delayed {
		bytes += len(d.data) + len(d.share)
	}
	require.EqualValues(t, bytes, st.Bytes)
	require.LessOrEqual(t, uint64(taken), st.Taken)
	if unloaded == 0 {
		require.EqualValues(t, taken, st.Taken)
	}
	require.LessOrEqual(t, window, windowMessages+chunkMessages)
	if w.checks++; w.checks%8 == 0 { // it takes its time
		w.checkPayloads(t)
	}
}

// checkPayloads looks on the disk that what is shared is held, and nothing else.
func (w *world) checkPayloads(t *rapid.T) {
	want, got := map[string]uint64{}, map[string]uint64{}
	count := func(slot uint16, share string, p store.Payload) {
		if share == "" {
			return
		}
		v, err := w.s.Payload(p)
		require.NoError(t, err)
		require.Equal(t, share, string(v))
		want[fmt.Sprint(slot, " ", p.Generation)]++
	}
	for _, e := range w.model {
		count(slotEntries, e.share, e.payload)
	}
	for _, d := range w.delayed {
		count(slotDelayed, d.share, d.payload)
	}
	lo, hi := store.Span(store.KindHolding, 1)
	it, err := w.s.Iter(ctx, lo, hi)
	require.NoError(t, err)
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		require.NoError(t, err)
		got[fmt.Sprint(binary.BigEndian.Uint16(it.Key()[5:]), " ", binary.BigEndian.Uint32(it.Key()[7:]))] = binary.BigEndian.Uint64(v[1:])
	}
	require.NoError(t, it.Close())
	require.Equal(t, want, got)
}
