package queue

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// settling has a pump remove what it moves.
func settling(q *Lane) *Pump {
	return &Pump{
		Browse: q.Browse(Query{Alive: alive, Waiting: true}),
		Select: func(*Seen) (Move, error) {
			return func(t *store.Turn, m *Message) (func(*store.Turn), error) {
				q.Settle(t, m)
				return func(t *store.Turn) { q.Settled(t, m) }, nil
			}, nil
		},
		Judge: JudgeStore, Report: func(Progress) {},
	}
}

// untouched is a lane with n messages, none of them in memory.
func untouched(t *testing.T, n int) (*store.Store, *Lane) {
	t.Helper()
	fs := storetest.NewFS(vfs.NewMem())
	open := func() (*store.Store, *Lane) {
		s, err := store.Open(store.Options{FS: fs, Dir: "data"})
		require.NoError(t, err)
		q, err := openLane(ctx, crowded(s), layout, 1, Options{Ready: func(*store.Turn) {}})
		require.NoError(t, err)
		return s, q
	}
	s, q := open()
	for range n {
		require.NoError(t, s.Do(ctx, &putOp{q: q, data: []byte("x")}, store.Sync))
	}
	require.NoError(t, s.Close())
	return open()
}

// TestWhatIsMovedWhileItIsLoadedIsNotThereTwice moves messages between the read and the
// Op of a load.
func TestWhatIsMovedWhileItIsLoadedIsNotThereTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := untouched(t, 3)
		p := plan{to: 3, messages: 9, bytes: 99}
		c, err := q.loader.read(ctx, p)
		require.NoError(t, err)
		require.Len(t, c.messages, 3)
		under(t, s, store.NoSync, func(*store.Turn) { q.loader.loading, q.loader.plan = true, p })
		done, err := settling(q).Run(ctx, Progress{})
		require.NoError(t, err)
		require.EqualValues(t, 3, done.Moved)
		require.NoError(t, s.Do(ctx, &install{q: q, c: c}, store.Sync))
		var m *Message
		var st Stats
		under(t, s, store.NoSync, func(t *store.Turn) { m, st = q.Take(t, time.Time{}), q.Stats() })
		require.Nil(t, m)
		require.Zero(t, st)
		require.NoError(t, s.Close())
	})
}

// TestWhatIsGoneWhenItsTurnComesIsNotMoved: a purge comes between the look at a message
// and its move, and another pump.
func TestWhatIsGoneWhenItsTurnComesIsNotMoved(t *testing.T) {
	for name, meanwhile := range map[string]func(*store.Store, *Lane) error{
		"purge": func(s *store.Store, q *Lane) error {
			return s.Do(ctx, store.OpFunc(func(t *store.Turn) error { q.Purge(t, false); return nil }), store.Sync)
		},
		"pump": func(_ *store.Store, q *Lane) error {
			_, err := settling(q).Run(ctx, Progress{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, q := untouched(t, 3)
			p := settling(q)
			choose, seen := p.Select, 0
			p.Select = func(m *Seen) (Move, error) {
				if seen++; seen == 3 {
					require.NoError(t, meanwhile(s, q))
				}
				return choose(m)
			}
			done, err := p.Run(ctx, Progress{})
			require.NoError(t, err)
			require.Equal(t, Progress{Skipped: 3}, done)
			var st Stats
			under(t, s, store.NoSync, func(*store.Turn) { st = q.Stats() })
			require.Zero(t, st)
			require.NoError(t, s.Close())
		})
	}
}

// TestAPumpNotesWhatIsLeft goes on from each note that another pump made.
func TestAPumpNotesWhatIsLeft(t *testing.T) {
	const n = 100
	var notes [][]Span
	var counts []Progress
	s, q := untouched(t, n)
	p := settling(q)
	p.Browse.most, p.Rate, p.Burst = 30, MaxRate, 7
	p.Note = func(_ *store.Turn, done Progress, left []Span) {
		notes, counts = append(notes, left), append(counts, done)
	}
	p.Select = func(*Seen) (Move, error) { return nil, nil }
	_, err := p.Run(ctx, Progress{})
	require.NoError(t, err)
	for i, left := range notes {
		rest := settling(q)
		rest.Browse = q.Browse(Query{Alive: alive, Spans: left})
		rest.Select = p.Select
		done, err := rest.Run(ctx, counts[i])
		require.NoError(t, err)
		require.EqualValues(t, n, done.Skipped)
	}
	require.Greater(t, len(notes), 3)
	require.NoError(t, s.Close())
}

func TestAPumpEndsAsItIsJudged(t *testing.T) {
	errBad := errors.New("bad")
	s, q := untouched(t, 3)
	defer s.Close()
	for verdict, want := range map[Verdict]Progress{LeaveIt: {Failed: 3, Reason: errBad}, GiveUp: {Remaining: 3}} {
		for _, early := range []bool{true, false} {
			p := settling(q)
			p.Judge = func(error) Verdict { return verdict }
			p.Select = func(*Seen) (Move, error) {
				if early {
					return nil, errBad
				}
				return func(*store.Turn, *Message) (func(*store.Turn), error) { return nil, errBad }, nil
			}
			done, err := p.Run(ctx, Progress{})
			if verdict == GiveUp {
				require.ErrorIs(t, err, errBad)
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, want, done)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err := settling(q).Run(ended, Progress{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestBoundsOfARate(t *testing.T) {
	for _, c := range []struct {
		rate  float64
		burst int
		good  bool
	}{
		{0, 0, true}, {MaxRate, MaxBurst, true}, {0.001, 1, true},
		{MaxRate + 1, 0, false}, {1, MaxBurst + 1, false}, {-0.1, 0, false}, {1, -1, false}, {0, 1, false},
		{math.NaN(), 0, false}, {math.Inf(1), 0, false},
	} {
		if err := CheckRate(c.rate, c.burst); c.good {
			require.NoError(t, err, "%+v", c)
		} else {
			require.ErrorIs(t, err, store.ErrInvalid, "%+v", c)
		}
	}
}
