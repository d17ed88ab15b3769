package visibility_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/visibility"
)

// shop is a queue in a store whose tables are damaged while it is closed.
type shop struct {
	storetest.Workbench
	config *visibility.QueueConfig
	ahead  atomic.Int64 // of the clock, nanoseconds
	q      *visibility.Queue
}

func newShop(t *testing.T, c *visibility.QueueConfig) *shop {
	s := &shop{config: c}
	clock := func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }
	s.Start(t, store.Options{Clock: clock}, func() { s.q = open(t, s.DB, "q", s.config) })
	return s
}

// fill sends messages with their numbers as IDs.
func (s *shop) fill(n int, change func(i int, m *visibility.Message)) {
	s.T.Helper()
	for i := range n {
		m := visibility.Message{ID: fmt.Sprint(i), Body: []byte(strings.Repeat(fmt.Sprint("x", i), 50))}
		if change != nil {
			change(i, &m)
		}
		_, err := s.q.Send(store.WithDurability(ctx, storetest.EachFifth(i)), m)
		require.NoError(s.T, err)
	}
}

func (s *shop) stats() visibility.Stats {
	s.T.Helper()
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	st, err := s.q.Stats(limited)
	require.NoError(s.T, err)
	return st
}

// drain receives and deletes all there is, and returns the IDs, and how often it was
// told that something cannot be read.
func (s *shop) drain() (ids []string, told int) {
	s.T.Helper()
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		messages, err := s.q.Receive(limited, &visibility.ReceiveOptions{Max: 7})
		if err != nil {
			require.True(s.T, errors.Is(err, pebblemq.ErrCorrupt) || errors.Is(err, pebblemq.ErrUnreadable), err)
			require.ErrorContains(s.T, err, `queue "q"`)
			told++
		}
		if len(messages) == 0 && err == nil {
			return ids, told
		}
		for _, m := range messages {
			ids = append(ids, m.ID)
			require.NoError(s.T, s.q.Delete(ctx, m.Receipt))
		}
	}
}

func inOrder(t *testing.T, ids []string) {
	t.Helper()
	last := -1
	for _, id := range ids {
		n, err := strconv.Atoi(id)
		require.NoError(t, err)
		require.Greater(t, n, last)
		last = n
	}
}

func TestADamagedBlockDoesNotHoldUpTheRestOfItsQueue(t *testing.T) {
	group := func(i int, m *visibility.Message) { m.Group = fmt.Sprint("g", i%50) }
	for name, c := range map[string]*visibility.QueueConfig{"standard": {}, "FIFO": {FIFO: true}, "priorities": {MaxPriority: 1}, "FIFO with priorities": {FIFO: true, MaxPriority: 1}} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, c)
			s.fill(500, group)
			s.Damage(store.KindVisMessage, 0, 0.5)
			_, err := s.q.Send(ctx, visibility.Message{ID: "500", Group: "another", Body: []byte("x")})
			require.NoError(t, err)
			ids, told := s.drain()
			if name == "standard" { // others wait for their group, or come first
				inOrder(t, ids)
			}
			require.Contains(t, ids, "499")
			require.Contains(t, ids, "500")
			require.Greater(t, len(ids), 300)
			require.Less(t, len(ids), 500)
			require.Equal(t, 1, told)
			st := s.stats()
			require.Equal(t, visibility.Stats{Bytes: st.Bytes, Unreadable: uint64(501 - len(ids))}, st)
			require.Len(t, s.Log.Lines("queue=q"), 2)
			n, err := s.q.Purge(ctx)
			require.NoError(t, err)
			require.Equal(t, 501-len(ids), n)
			require.Equal(t, visibility.Stats{}, s.stats())
		})
	}
}

func TestStatsAndPurgeDoNotWaitForWhatCannotBeRead(t *testing.T) {
	for name, kind := range map[string]store.Kind{"messages": store.KindVisMessage, "leases": store.KindVisState} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, nil)
			s.fill(500, nil)
			timeout := time.Hour
			messages, err := s.q.Receive(ctx, &visibility.ReceiveOptions{Max: 400, VisibilityTimeout: timeout})
			require.NoError(t, err)
			require.Len(t, messages, 400)
			s.Damage(kind, 0.2)
			st := s.stats()
			require.EqualValues(t, 500, st.Visible+st.InFlight+st.Unreadable)
			require.NotZero(t, st.InFlight)
			require.Less(t, st.InFlight, uint64(400))
			require.NotZero(t, st.Unreadable, "without its state nobody knows what of a segment was deleted")
			require.NotZero(t, st.OldestAge)
			refused := 0
			for _, m := range messages {
				if err := s.q.Delete(ctx, m.Receipt); err != nil {
					require.True(t, errors.Is(err, pebblemq.ErrCorrupt) || errors.Is(err, visibility.ErrStaleReceipt), err)
					refused++
				}
			}
			require.NotZero(t, refused)
			require.Less(t, refused, 400)
		})
	}
}

func TestReceiversGoOnBehindDamage(t *testing.T) {
	s := newShop(t, nil)
	s.fill(500, nil)
	s.Damage(store.KindVisMessage, 0, 0.5, 1)
	_, err := s.q.Send(ctx, visibility.Message{ID: "500", Body: []byte("x")})
	require.NoError(t, err)
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var ids []string
	require.NoError(t, s.q.Run(limited, func(_ context.Context, m *visibility.Received) error {
		if ids = append(ids, m.ID); m.ID == "500" {
			cancel()
		}
		return nil
	}, nil))
	require.Equal(t, "500", ids[len(ids)-1])
	inOrder(t, ids)
	require.EqualValues(t, 501-len(ids), s.stats().Unreadable)
}

func TestMessagesComeWhenReadsWorkAgain(t *testing.T) {
	for name, c := range map[string]*visibility.QueueConfig{"standard": {}, "FIFO": {FIFO: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t, c)
				s.fill(300, func(i int, m *visibility.Message) { m.Group = fmt.Sprint("g", i%50) })
				s.Close()
				s.Open()
				s.FailReads()
				short, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				_, err := s.q.Receive(short, nil)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				ids, told := s.drain()
				require.Empty(t, ids)
				require.Equal(t, 1, told)
				require.EqualValues(t, 300, s.stats().Unreadable)
				_, err = s.q.Send(ctx, visibility.Message{ID: "new", Group: "another", Body: []byte("x")})
				require.NoError(t, err)
				ids, _ = s.drain()
				require.Equal(t, []string{"new"}, ids)
				s.FS.SetReadHook(nil)
				time.Sleep(10 * time.Minute)
				ids, told = s.drain()
				require.Len(t, ids, 300)
				require.Zero(t, told)
				require.Equal(t, visibility.Stats{}, s.stats())
			})
		})
	}
}

// Messages past their retention go, also behind unreadable ones, which stay.
func TestRetentionEndsAroundDamage(t *testing.T) {
	for name, c := range map[string]struct {
		kind  store.Kind
		moved bool
	}{"dropped": {store.KindVisMessage, false}, "moved": {store.KindVisMessage, true}, "strays": {store.KindVisExpiry, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := &visibility.QueueConfig{Retention: time.Hour}
				s := newShop(t, config)
				open(t, s.DB, "dead", nil)
				if c.moved {
					config.DeadLetterQueue, config.MaxReceives, config.DeadLetterExpired = "dead", 9, true
					require.NoError(t, alterQueue(s.DB, "q", config))
				}
				if c.kind == store.KindVisExpiry {
					s.ahead.Store(int64(30 * time.Minute))
					s.fill(1, nil) // the others are older
					s.ahead.Store(0)
				}
				s.fill(500, nil)
				s.Damage(c.kind, 0, 0.5)
				time.Sleep(2 * time.Hour)
				_, err := s.q.Send(ctx, visibility.Message{ID: "new", Body: []byte("x")})
				require.NoError(t, err)
				ids, _ := s.drain()
				require.Equal(t, []string{"new"}, ids)
				st := s.stats()
				require.Equal(t, visibility.Stats{Bytes: st.Bytes, Expired: st.Expired, Unreadable: st.Unreadable}, st)
				if c.kind == store.KindVisMessage {
					require.NotZero(t, st.Unreadable)
					require.Less(t, st.Unreadable, uint64(200))
				}
				if c.moved {
					dead := open(t, s.DB, "dead", nil)
					deadStats, err := dead.Stats(ctx)
					require.NoError(t, err)
					require.EqualValues(t, 500, deadStats.Visible+st.Unreadable)
				}
				seen := 0
				for _, err := range s.q.Browse(ctx, nil) {
					require.ErrorIs(t, err, pebblemq.ErrCorrupt, "nothing was deleted that cannot be read")
					seen++
				}
				require.Equal(t, c.kind == store.KindVisMessage, seen > 0)
			})
		})
	}
}

func TestSendsGoOnBesideDamagedGroups(t *testing.T) {
	s := newShop(t, &visibility.QueueConfig{FIFO: true, MaxPriority: 1})
	s.fill(2000, func(i int, m *visibility.Message) { m.Group = fmt.Sprintf("group %04d", i) })
	s.Damage(store.KindVisPin, 0.5)
	refused := 0
	for i := range 2000 {
		_, err := s.q.Send(store.WithDurability(ctx, store.NoSync), visibility.Message{Group: fmt.Sprintf("group %04d", i), Body: []byte("y")})
		if err != nil {
			require.ErrorIs(t, err, pebblemq.ErrCorrupt)
			require.ErrorContains(t, err, `queue "q"`)
			refused++
		}
	}
	require.NotZero(t, refused)
	require.Less(t, refused, 500)
	ids, told := s.drain()
	require.Len(t, ids, 4000-refused)
	require.Zero(t, told)
}

func TestIDsThatCannotBeReadRefuseTheirMessagesAlone(t *testing.T) {
	s := newShop(t, &visibility.QueueConfig{DedupeWindow: time.Hour})
	s.fill(1000, func(i int, m *visibility.Message) { m.DedupeID = fmt.Sprint(i) })
	s.Damage(store.KindVisWindow, 1)
	refused := 0
	for i := range 1000 {
		_, err := s.q.Send(ctx, visibility.Message{DedupeID: fmt.Sprint(i), Body: []byte("x")})
		if err != nil {
			require.ErrorIs(t, err, pebblemq.ErrCorrupt)
			require.ErrorContains(t, err, `queue "q"`)
			refused++
		}
	}
	require.NotZero(t, refused)
	require.Less(t, refused, 300)
	require.EqualValues(t, 1000, s.stats().Visible)
}
