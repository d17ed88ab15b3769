package queue

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// browsed is what a Browse finds, as text.
func browsed(t *testing.T, b *Browse) []string {
	t.Helper()
	list := []string{}
	for {
		found, err := b.Next(ctx)
		require.NoError(t, err)
		if len(found) == 0 {
			return list
		}
		for _, s := range found {
			list = append(list, fmt.Sprintf("%v %s", s.Position, s.Data))
		}
	}
}

type laneOp struct {
	q    *Queue
	lane byte
	data string
	due  time.Time
	m    *Message
	d    Delayed
}

func (o *laneOp) Run(t *store.Turn) error {
	if c := (Content{Data: []byte(o.data)}); o.due.IsZero() {
		o.m = o.q.Put(t, o.lane, c)
	} else {
		o.d = o.q.PutDelayed(t, o.lane, c, o.due)
	}
	return nil
}
func (o *laneOp) Undo() {}
func (o *laneOp) Visible(t *store.Turn) {
	if o.m != nil {
		o.q.Show(t, o.m)
	} else {
		o.q.ShowDelayed(t, o.d)
	}
}

func TestBrowseGoesByLanesThenByDueTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := store.OpenMemory(store.Options{})
		require.NoError(t, err)
		q, err := Open(ctx, s, layout, 1, 2, Options{Ready: func(*store.Turn) {}, ID: lastWord})
		require.NoError(t, err)
		later := time.Unix(2e9, 0)
		for _, o := range []laneOp{
			{lane: 0, data: "a x"}, {lane: 2, data: "b y"}, {lane: 0, data: "c y"}, {lane: 0, data: "e y", due: later.Add(1)},
			{lane: 0, data: "d x", due: later}, {lane: 2, data: "f x", due: later.Add(2)},
		} {
			o.q = q
			require.NoError(t, s.Do(ctx, &o, store.Sync))
		}
		all := Query{Alive: alive, Waiting: true, Delayed: true}
		want := []string{"2.0 b y", "0.0 a x", "0.1 c y", "2.0@2000000000000000002 f x", "0.1@2000000000000000000 d x", "0.0@2000000000000000001 e y"}
		require.Equal(t, want, browsed(t, q.Browse(all)))

		for i, text := range want { // each place to go on from
			var p string
			_, err := fmt.Sscan(text, &p)
			require.NoError(t, err)
			at, err := ParsePosition(p)
			require.NoError(t, err)
			from := all
			from.After = &at
			require.Equal(t, want[i+1:], browsed(t, q.Browse(from)))
			seen, err := q.Peek(ctx, alive, at)
			require.NoError(t, err)
			require.Equal(t, text, fmt.Sprintf("%v %s", seen.Position, seen.Data))
		}
		require.Equal(t, want[:3], browsed(t, q.Browse(Query{Alive: alive, Waiting: true})))
		require.Equal(t, want[3:], browsed(t, q.Browse(Query{Alive: alive, Delayed: true})))
		byID := all
		byID.ID = []byte("y")
		require.Equal(t, []string{want[0], want[2], want[5]}, browsed(t, q.Browse(byID)))
		found, err := q.Later(ctx, []byte("x"))
		require.NoError(t, err)
		require.Len(t, found, 2)
		for _, lane := range []byte{1, 9} {
			seen, err := q.Peek(ctx, alive, Position{Lane: lane})
			require.NoError(t, err)
			require.Nil(t, seen)
			var c *Cancelled
			under(t, s, store.NoSync, func(t *store.Turn) { c, err = q.Cancel(t, Position{Lane: lane, Due: 1}, nil) })
			require.NoError(t, err)
			require.Nil(t, c)
		}
		require.NoError(t, s.Close())
	})
}

// TestABrowseThatStandsStillPinsNothing closes the store in the middle of one, which
// would wait for an iterator.
func TestABrowseThatStandsStillPinsNothing(t *testing.T) {
	s, q := openOne(t)
	for i := range 3 {
		require.NoError(t, s.Do(ctx, &delayOp{q: q, data: fmt.Append(nil, i), due: time.Now().Add(time.Hour)}, store.Sync))
	}
	b := q.Browse(Query{Alive: alive, Waiting: true, Delayed: true})
	b.most = 1
	for range 2 {
		found, err := b.Next(ctx)
		require.NoError(t, err)
		require.Len(t, found, 1)
	}
	require.NoError(t, s.Close())
	_, err := b.Next(ctx)
	require.ErrorIs(t, err, store.ErrClosed)
	b.Close(ctx)
}

func TestABrowseEndsWithItsQueue(t *testing.T) {
	s, q := openOne(t)
	defer s.Close()
	dropped := errors.New("dropped")
	b := q.Browse(Query{Alive: func() error { return dropped }, Waiting: true})
	_, err := b.Next(ctx)
	require.ErrorIs(t, err, dropped)
	_, err = q.Peek(ctx, func() error { return dropped }, Position{})
	require.ErrorIs(t, err, dropped)
}

// TestADamagedMessageIsSeenAsSuch has one whose value has lost its end.
func TestADamagedMessageIsSeenAsSuch(t *testing.T) {
	s, q := openOne(t)
	defer s.Close()
	d := delayOp{q: q, data: []byte("later"), due: time.Now().Add(time.Hour)}
	require.NoError(t, s.Do(ctx, &d, store.Sync))
	require.NoError(t, s.Do(ctx, &putOp{q: q, data: []byte("good")}, store.Sync))
	under(t, s, store.Sync, func(t *store.Turn) {
		t.Set(seqKey(layout.Segment, q.place, 0), []byte{version})
		t.Set(dueKey(layout.Delayed, q.place, d.d.Due, d.d.Seq), []byte{version})
	})
	var wrong, good int
	b := q.Browse(Query{Alive: alive, Waiting: true, Delayed: true})
	for found, err := b.Next(ctx); len(found) > 0; found, err = b.Next(ctx) {
		require.NoError(t, err)
		for _, m := range found {
			if m.Err == nil {
				good++
				continue
			}
			wrong++
			require.ErrorIs(t, m.Err, store.ErrCorrupt)
			seen, err := q.Peek(ctx, alive, m.Position)
			require.NoError(t, err)
			require.ErrorIs(t, seen.Err, store.ErrCorrupt)
		}
	}
	require.Equal(t, 2, wrong)
	require.Equal(t, 1, good)
}

// TestWatchesFindWhatBecameDueUnread lets messages become due between the reads.
func TestWatchesFindWhatBecameDueUnread(t *testing.T) {
	at := func(n int) Position { return Position{Due: int64(n)} }
	w := &watch{next: at(1)}
	w.becameDue(at(1), 100) // before the first read is looked at
	require.False(t, w.still(at(1)))
	require.True(t, w.still(at(2)))
	w.advance(at(4), 101) // 2 and 3 were read
	w.becameDue(at(2), 101)
	w.becameDue(at(3), 103)
	require.Equal(t, []span{{100, 101}}, w.late)
	w.becameDue(at(4), 104)
	w.becameDue(at(5), 105)
	w.advance(at(9), 107)
	w.becameDue(at(8), 108)
	require.Equal(t, []span{{100, 101}, {104, 107}}, w.late)
}

// TestWhatIsCancelledWhileItIsLoadedIsNotPut cancels a message between the read and
// the Op of a load.
func TestWhatIsCancelledWhileItIsLoadedIsNotPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := openOne(t)
		d := delayOp{q: q, data: []byte("x"), due: time.Now().Add(time.Hour)}
		require.NoError(t, s.Do(ctx, &d, store.Sync))
		p := plan{now: d.due, due: true, messages: 9, bytes: 9}
		c, err := q.loader.read(ctx, p)
		require.NoError(t, err)
		require.Len(t, c.delayed, 1)
		under(t, s, store.NoSync, func(*store.Turn) { q.loader.loading, q.loader.plan = true, p })
		require.NoError(t, s.Do(ctx, &cancelOp{q: q, at: d.d.Position}, store.Sync))
		require.NoError(t, s.Do(ctx, &install{q: q, c: c}, store.Sync))
		var st Stats
		under(t, s, store.NoSync, func(*store.Turn) { st = q.Stats() })
		require.Equal(t, Stats{Ready: 1, Bytes: 1, ReadyBytes: 1}, st)
		require.NoError(t, s.Close())
	})
}
