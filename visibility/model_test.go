package visibility_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/visibility"
)

const (
	modelReceives  = 3
	modelRetention = 150 * time.Second
)

// TestModel drives a queue with a dead-letter queue, and a plain model of the
// two, with random operations, refused transactions, restarts and crashes.
func TestModel(t *testing.T) {
	for _, fifo := range []bool{false, true} {
		for _, highest := range []uint8{0, 2} {
			t.Run(fmt.Sprintf("FIFO=%v/MaxPriority=%d", fifo, highest), func(t *testing.T) { testModel(t, fifo, highest) })
		}
	}
}

func testModel(t *testing.T, fifo bool, highest uint8) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ testing.TB }{t}, func(t *rapid.T) { // hides Deadline, which a bubble forbids
			w := &world{t: t, fifo: fifo, highest: highest, buried: rapid.Bool().Draw(t, "expired are dead letters"), disk: newDisk(t), keep: modelRetention, holds: map[string]*entry{}}
			w.held = fifo && highest == 0 && rapid.Bool().Draw(t, "delays block groups")
			w.open()
			t.Repeat(map[string]func(*rapid.T){
				"send":    w.send,
				"receive": w.receive,
				"delete":  w.delete,
				"change":  w.change,
				"release": w.release,
				"refused": w.refused,
				"cancel":  w.cancel,
				"browse":  w.browse,
				"redrive": w.redrive,
				"advance": w.advance,
				"purge":   w.purge,
				"alter":   w.alter,
				"restart": w.restart,
				"":        w.check,
			})
		})
	})
}

// entry is a message of the model.
type entry struct {
	body     string
	group    string
	lane     uint8
	place    int
	count    int
	serial   int // of the receipt that counts
	inFlight bool
	until    time.Time
	due      time.Time // if it is delayed
	born     time.Time // if it is not
	gone     bool      // from q: deleted, or moved to dead
}

// given is a receipt and what the model knows of it.
type given struct {
	receipt visibility.Receipt
	e       *entry
	serial  int
	at      time.Time
}

type world struct {
	t        *rapid.T
	fifo     bool
	highest  uint8 // priority
	buried   bool  // what expires
	held     bool  // groups, by their delayed messages
	holds    map[string]*entry
	keep     time.Duration // retention
	disk     *disk
	q, dead  *visibility.Queue
	entries  []*entry
	places   int
	letters  []*entry // in dead
	receipts []given
	cold     bool // since the restart
	vague    bool // leases may have ended that are on disk only
}

func (w *world) open() {
	w.dead = w.disk.queue("dead", &visibility.QueueConfig{FIFO: w.fifo, MaxPriority: w.highest})
	w.q = w.disk.queue("q", w.config())
}

func (w *world) config() *visibility.QueueConfig {
	return &visibility.QueueConfig{
		FIFO: w.fifo, DelayBlocksGroup: w.held, MaxPriority: w.highest, DeadLetterQueue: "dead", MaxReceives: modelReceives, Retention: w.keep, DeadLetterExpired: w.buried,
	}
}

// alter changes the retention, which counts for what is there.
func (w *world) alter(t *rapid.T) {
	if w.vague {
		t.Skip("leases may have ended on disk only")
	}
	w.keep = time.Duration(rapid.IntRange(1, 300).Draw(t, "retention")) * time.Second
	require.NoError(t, alterQueue(w.disk.db, "q", w.config()))
	synctest.Wait()
	w.expire()
}

// expire ends in the model what is too old.
func (w *world) expire() {
	for _, e := range w.entries {
		if !e.gone && e.due.IsZero() && !e.born.Add(w.keep).After(time.Now()) {
			e.gone, e.inFlight = true, false
			if w.buried {
				w.letters = append(w.letters, e)
			}
		}
	}
}

func (w *world) send(t *rapid.T) {
	var batch []visibility.Message
	for range rapid.IntRange(1, 5).Draw(t, "n") {
		e := &entry{body: fmt.Sprint(len(w.entries))}
		if w.fifo {
			e.group = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "group")
		}
		m := visibility.Message{ID: e.body, Body: []byte(e.body), Group: e.group}
		if w.highest > 0 {
			m.Priority = uint8(rapid.IntRange(0, int(w.highest)).Draw(t, "priority"))
			e.lane = w.lane(e.group, m.Priority)
		}
		if d := time.Duration(rapid.IntRange(-100, 100).Draw(t, "delay")) * time.Second; d > 0 && !(w.fifo && w.highest > 0) {
			m.Delay, e.due = d, time.Now().Add(d)
		}
		switch last := w.holds[e.group]; {
		case last != nil: // it holds the group up even if it was cancelled
			e.due = slices.MaxFunc([]time.Time{e.due, last.due, time.Now()}, time.Time.Compare)
			w.holds[e.group] = e
		case e.due.IsZero():
			w.places++
			e.place, e.born = w.places, time.Now()
		case w.held:
			w.holds[e.group] = e
		}
		batch, w.entries = append(batch, m), append(w.entries, e)
	}
	results, err := w.q.SendBatch(ctx, batch, nil)
	require.NoError(t, err)
	for _, r := range results {
		require.NoError(t, r.Err)
	}
	w.sleep(0) // some may be due at once
}

// lane is the priority that a message of a group takes.
func (w *world) lane(group string, wanted uint8) uint8 {
	for _, e := range w.entries {
		if group != "" && e.group == group && !e.gone {
			return e.lane
		}
	}
	return wanted
}

func (w *world) receive(t *rapid.T) {
	max := rapid.IntRange(1, 5).Draw(t, "max")
	if w.cold && w.highest > 0 {
		max = 1 // fewer may come while a lower priority is being read from disk
	}
	vt := time.Duration(rapid.IntRange(0, 60).Draw(t, "timeout")) * time.Second
	asked := vt
	if vt == 0 {
		asked = visibility.NoVisibilityTimeout
	}
	got, err := w.q.Receive(ctx, &visibility.ReceiveOptions{Max: max, VisibilityTimeout: asked})
	require.NoError(t, err)
	w.vague = false
	w.cold = w.cold && len(got) > 0
	now := time.Now()
	n := 0
	blocked := w.blocked()
	for _, e := range w.visible() {
		if n == max {
			break
		}
		if first := blocked[e.group]; first > 0 && e.place > first {
			continue
		}
		if e.count == modelReceives {
			e.gone = true
			w.letters = append(w.letters, e)
			continue
		}
		require.Less(t, n, len(got), "%+v is visible", e)
		m := got[n]
		n++
		e.count++
		e.serial++
		require.Equal(t, e.body, string(m.Body))
		require.Equal(t, e.count, m.ReceiveCount)
		require.Equal(t, e.lane, m.Priority)
		e.inFlight, e.until = vt > 0, now.Add(vt)
		w.receipts = append(w.receipts, given{m.Receipt, e, e.serial, now})
	}
	require.Len(t, got, n)
}

// blocked returns the place of the first in flight of each group.
func (w *world) blocked() map[string]int {
	first := map[string]int{}
	for _, e := range w.entries {
		if w.fifo && e.inFlight && !e.gone && (first[e.group] == 0 || e.place < first[e.group]) {
			first[e.group] = e.place
		}
	}
	return first
}

// visible are the messages that can be received, in order.
func (w *world) visible() []*entry {
	var found []*entry
	for _, e := range w.entries {
		if !e.gone && !e.inFlight && e.due.IsZero() {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b *entry) int { return cmp.Or(int(b.lane)-int(a.lane), a.place-b.place) })
	return found
}

func (w *world) pick(t *rapid.T) given {
	if len(w.receipts) == 0 {
		t.Skip("no receipts")
	}
	return rapid.SampledFrom(w.receipts).Draw(t, "receipt")
}

// old reports that the retention of a message is over.
func (w *world) old(e *entry) bool { return !e.born.Add(w.keep).After(time.Now()) }

func (w *world) delete(t *rapid.T) {
	r := w.pick(t)
	err := w.q.Delete(ctx, r.receipt)
	if w.old(r.e) {
		require.ErrorIs(t, err, visibility.ErrExpired)
		return
	}
	if !r.e.gone && r.serial < r.e.serial {
		require.ErrorIs(t, err, visibility.ErrStaleReceipt)
		return
	}
	if w.fifo && !r.e.gone && !r.e.inFlight {
		require.ErrorIs(t, err, visibility.ErrNotInFlight)
		return
	}
	require.NoError(t, err)
	r.e.gone = true
}

func (w *world) change(t *rapid.T) {
	r := w.pick(t)
	d := time.Duration(rapid.IntRange(0, 60).Draw(t, "s")) * time.Second
	err := w.q.ChangeVisibility(ctx, r.receipt, d)
	switch {
	case w.old(r.e):
		require.ErrorIs(t, err, visibility.ErrExpired)
	case r.e.gone:
		require.ErrorIs(t, err, visibility.ErrNotInFlight)
	case r.serial < r.e.serial:
		require.ErrorIs(t, err, visibility.ErrStaleReceipt)
	case !r.e.inFlight:
		require.ErrorIs(t, err, visibility.ErrNotInFlight)
	default:
		require.NoError(t, err)
		r.e.inFlight, r.e.until = d > 0, time.Now().Add(d)
	}
}

// release gives a message back as if it had not been received. Its receipt is used up.
func (w *world) release(t *rapid.T) {
	r := w.pick(t)
	d := time.Duration(rapid.IntRange(0, 60).Draw(t, "s")) * time.Second
	err := w.q.Release(ctx, r.receipt, d)
	switch {
	case w.old(r.e):
		require.ErrorIs(t, err, visibility.ErrExpired)
	case r.e.gone:
		require.ErrorIs(t, err, visibility.ErrNotInFlight)
	case r.serial < r.e.serial:
		require.ErrorIs(t, err, visibility.ErrStaleReceipt)
	case !r.e.inFlight:
		require.ErrorIs(t, err, visibility.ErrNotInFlight)
	default:
		require.NoError(t, err)
		r.e.inFlight, r.e.until = d > 0, time.Now().Add(d)
		r.e.count--
		r.e.serial++
	}
}

// cancel calls a delayed message back, or fails to if it is another.
func (w *world) cancel(t *rapid.T) {
	if len(w.entries) == 0 {
		t.Skip("no messages")
	}
	e := rapid.SampledFrom(w.entries).Draw(t, "message")
	err := w.q.Cancel(ctx, e.body)
	if e.gone || e.due.IsZero() {
		require.ErrorIs(t, err, visibility.ErrUnknownMessage)
		return
	}
	require.NoError(t, err)
	e.gone = true
}

// redrive moves some of the dead letters back, to the end of the queue.
func (w *world) redrive(t *rapid.T) {
	digit := rapid.StringMatching("[0-9]").Draw(t, "last digit")
	wanted := func(body string) bool { return !strings.HasSuffix(body, digit) }
	letters, _ := browse(t, w.dead, nil)
	require.Len(t, letters, len(w.letters))
	var left []*entry
	for _, m := range letters {
		i := slices.IndexFunc(w.letters, func(e *entry) bool { return e.body == string(m.Body) })
		require.GreaterOrEqual(t, i, 0)
		e := w.letters[i]
		if !wanted(e.body) {
			left = append(left, e)
			continue
		}
		w.places++
		back := &entry{body: e.body, group: e.group, lane: w.lane(e.group, m.Priority), born: e.born, place: w.places}
		if w.old(back) {
			back.born = time.Now()
		}
		w.entries = append(w.entries, back)
	}
	r, err := w.dead.Redrive(ctx, &visibility.RedriveOptions{Filter: func(m *visibility.Browsed) bool { return wanted(string(m.Body)) }})
	require.NoError(t, err)
	info, err := r.Wait(ctx)
	require.NoError(t, err)
	require.EqualValues(t, len(w.letters)-len(left), info.Moved)
	require.EqualValues(t, len(left), info.Skipped)
	w.letters = left
	synctest.Wait()
	w.expire() // what is too old by now
}

// browse looks at all that is there.
func (w *world) browse(t *rapid.T) {
	var here []*entry
	for _, e := range w.entries {
		if !e.gone {
			here = append(here, e)
		}
	}
	slices.SortStableFunc(here, func(a, b *entry) int {
		if a.due.IsZero() != b.due.IsZero() {
			return a.due.Compare(b.due) // a zero due comes first
		}
		return cmp.Or(int(b.lane)-int(a.lane), a.due.Compare(b.due), a.place-b.place)
	})
	all, _ := browse(t, w.q, nil)
	require.Len(t, all, len(here))
	for i, e := range here {
		m := all[i]
		require.Equal(t, e.body, string(m.Body))
		require.Equal(t, e.count, m.ReceiveCount)
		switch {
		case !e.due.IsZero():
			require.Equal(t, visibility.Delayed, m.State)
			require.True(t, e.due.Equal(m.VisibleAt))
		case e.inFlight:
			require.Equal(t, visibility.InFlight, m.State)
			require.True(t, e.until.Equal(m.VisibleAt))
		default:
			require.Equal(t, visibility.Visible, m.State)
		}
	}
}

// refused has everything done in a transaction that comes to nothing.
func (w *world) refused(t *rapid.T) {
	r := w.pick(t)
	require.Error(t, w.disk.db.Update(ctx, func(tx *pebblemq.Tx) error {
		v := w.q.In(tx)
		_, err := v.Send(visibility.Message{Group: "a"})
		require.NoError(t, err)
		if !w.fifo || w.highest == 0 {
			_, err = v.Send(visibility.Message{Group: "b", Delay: time.Second})
			require.NoError(t, err)
		}
		require.NoError(t, v.ChangeVisibility(r.receipt, time.Second))
		require.NoError(t, v.Delete(r.receipt))
		return v.ChangeVisibility(r.receipt, 0) // of a deleted one
	}))
	require.Error(t, w.disk.db.Update(ctx, func(tx *pebblemq.Tx) error {
		require.NoError(t, w.q.In(tx).ChangeVisibility(r.receipt, 0))
		return w.q.In(tx).ChangeVisibility(r.receipt, 0) // of a released one
	}))
	require.Error(t, w.disk.db.Update(ctx, func(tx *pebblemq.Tx) error {
		require.NoError(t, w.q.In(tx).Delete(r.receipt))
		return w.q.In(tx).ChangeVisibility(r.receipt, 0)
	}))
}

func (w *world) advance(t *rapid.T) {
	w.sleep(time.Duration(rapid.IntRange(1, 60).Draw(t, "s")) * time.Second)
}

func (w *world) sleep(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
	var due []*entry
	for _, e := range w.entries {
		if e.inFlight && !e.until.After(time.Now()) {
			e.inFlight = false
		}
		if !e.gone && !e.due.IsZero() && !e.due.After(time.Now()) {
			due = append(due, e)
		}
	}
	slices.SortStableFunc(due, func(a, b *entry) int { return a.due.Compare(b.due) })
	for _, e := range due {
		w.places++
		e.place, e.born, e.due = w.places, e.due, time.Time{}
		if w.holds[e.group] == e {
			delete(w.holds, e.group)
		}
	}
	w.expire()
}

func (w *world) purge(t *rapid.T) {
	if w.vague || rapid.IntRange(0, 4).Draw(t, "rarely") > 0 {
		t.Skip("not now")
	}
	purged := 0
	for _, e := range w.entries {
		if !e.gone && !e.inFlight {
			e.gone = true
			purged++
		}
	}
	clear(w.holds)
	n, err := w.q.Purge(ctx)
	require.NoError(t, err)
	require.Equal(t, purged, n)
}

// hidden reports whether a message was released with a delay that is not over. No receipt
// makes it visible.
func (w *world) hidden() bool {
	last := make(map[*entry]int)
	for _, r := range w.receipts {
		last[r.e] = r.serial
	}
	return slices.ContainsFunc(w.entries, func(e *entry) bool { return e.inFlight && !e.gone && last[e] < e.serial })
}

// restart closes the store, or has it crash a second after the last change and
// with nothing in flight: what else a crash may do is in the queue core's model.
func (w *world) restart(t *rapid.T) {
	if !rapid.Bool().Draw(t, "crash") || w.vague || w.hidden() {
		w.disk.reopen()
	} else {
		for _, r := range w.receipts {
			if r.e.inFlight && r.serial == r.e.serial && !r.e.gone {
				require.NoError(t, w.q.ChangeVisibility(ctx, r.receipt, 0))
				r.e.inFlight = false
			}
		}
		w.sleep(time.Second)
		w.disk.crash(rapid.SampledFrom([]int{0, 50, 100}).Draw(t, "kept"))
	}
	w.open()
	w.vague, w.cold = true, true
}

func (w *world) check(t *rapid.T) {
	storetest.Sound(t, w.disk.db)
	synctest.Wait()
	var visible, inFlight, delayed uint64
	for _, e := range w.entries {
		switch {
		case e.gone:
		case e.inFlight:
			inFlight++
		case !e.due.IsZero():
			delayed++
		default:
			visible++
		}
	}
	st, err := w.q.Stats(ctx)
	require.NoError(t, err)
	require.Equal(t, visible+inFlight, st.Visible+st.InFlight)
	require.Equal(t, delayed, st.Delayed)
	if !w.vague {
		require.Equal(t, inFlight, st.InFlight)
	}
	st, err = w.dead.Stats(ctx)
	require.NoError(t, err)
	require.EqualValues(t, len(w.letters), st.Visible)
}
