package workqueue_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// shop is a broker in a store whose tables are damaged while it is closed.
type shop struct {
	storetest.Workbench
	b *workqueue.Broker
}

func newShop(t *testing.T) *shop {
	s := &shop{}
	s.Start(t, store.Options{}, func() {
		var err error
		s.b, err = workqueue.OpenBroker(bg, s.DB, "main")
		require.NoError(t, err)
	})
	return s
}

// fill publishes messages to queue "q", with their numbers as message ids.
func (s *shop) fill(n int, change func(i int, m *workqueue.Message)) {
	s.T.Helper()
	for i := range n {
		m := workqueue.Message{MessageID: fmt.Sprint(i), Body: []byte(strings.Repeat(fmt.Sprint("x", i), 50))}
		if change != nil {
			change(i, &m)
		}
		require.NoError(s.T, s.b.Publish(store.WithDurability(bg, storetest.EachFifth(i)), "", "q", m))
	}
}

func (s *shop) stats() workqueue.QueueStats {
	s.T.Helper()
	st, err := queueOf(s.T, s.b, "q").Stats(bg)
	require.NoError(s.T, err)
	return st
}

// restart opens the store again. Earlier acknowledgements may meet the damage in a compaction
// then.
func (s *shop) restart() {
	s.T.Helper()
	require.NoError(s.T, s.DB.Close())
	s.Open()
}

// drain is get with an acknowledgement.
func (s *shop) drain() (ids []string, told int) { s.T.Helper(); return s.get(true) }

// get gets all there is, and returns the message ids, and how often it was told that
// something cannot be read.
func (s *shop) get(ack bool) (ids []string, told int) {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	for {
		d, ok, err := queueOf(s.T, s.b, "q").Get(ctx)
		if errors.Is(err, pebblemq.ErrCorrupt) || errors.Is(err, pebblemq.ErrUnreadable) {
			require.ErrorContains(s.T, err, `queue "q"`)
			told++
			continue
		}
		require.NoError(s.T, err)
		if !ok {
			return ids, told
		}
		if ids = append(ids, d.MessageID); ack {
			require.NoError(s.T, d.Ack(bg))
		}
	}
}

// inOrder checks that numbers rise.
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

// One bit is flipped in the table of a queue of 500 messages, of which six in seven are
// settled.
func TestADamagedBlockDoesNotHoldUpTheRestOfItsQueue(t *testing.T) {
	s := newShop(t)
	declare(t, s.b, "q")
	s.fill(500, nil)
	var kept []*workqueue.Delivery
	for i := range 500 {
		d, ok, err := queueOf(t, s.b, "q").Get(bg)
		require.NoError(t, err)
		require.True(t, ok)
		if i%7 == 0 {
			kept = append(kept, d)
			continue
		}
		require.NoError(t, d.Ack(bg))
	}
	for _, d := range kept {
		require.NoError(t, d.Nack(bg, true))
	}
	s.Damage(store.KindWorkMessage, 0.5)

	require.NoError(t, s.b.Publish(bg, "", "q", workqueue.Message{MessageID: "500"}))
	var lost uint64
	for life := range 3 {
		ids, told := s.get(life == 2)
		inOrder(t, ids)
		require.Contains(t, ids, "0")
		require.Contains(t, ids, "497")
		require.Contains(t, ids, "500")
		require.Less(t, len(ids), len(kept))
		require.Equal(t, 1, told)
		st := s.stats()
		lost = uint64(len(kept) + 1 - len(ids))
		require.Equal(t, workqueue.QueueStats{Unacked: st.Unacked, Bytes: st.Bytes, Unreadable: lost}, st)
		require.Len(t, s.Log.Lines(`queue=q`), life+1)
		if life < 2 { // what cannot be read stays
			s.restart()
		}
	}
	n, err := queueOf(t, s.b, "q").Purge(bg)
	require.NoError(t, err)
	require.EqualValues(t, lost, n)
	require.Equal(t, workqueue.QueueStats{}, s.stats())
}

func TestConsumersGoOnBehindDamage(t *testing.T) {
	s := newShop(t)
	declare(t, s.b, "q")
	s.fill(500, nil)
	s.Damage(store.KindWorkMessage, 0, 0.5, 1)
	require.NoError(t, s.b.Publish(bg, "", "q", workqueue.Message{MessageID: "500"}))
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	var ids []string
	require.NoError(t, queueOf(t, s.b, "q").Run(ctx, func(_ context.Context, d *workqueue.Delivery) error {
		if ids = append(ids, d.MessageID); d.MessageID == "500" {
			cancel()
		}
		return nil
	}, nil))
	require.Equal(t, "500", ids[len(ids)-1])
	inOrder(t, ids)
	require.Greater(t, len(ids), 200)
	require.EqualValues(t, 501-len(ids), s.stats().Unreadable)
}

// ackUntil acknowledges what comes until the last, and returns the ids, and how often it
// was told that something cannot be read.
func ackUntil(t *testing.T, ctx context.Context, c *workqueue.Consumer, last string) (ids []string, told int) {
	t.Helper()
	for len(ids) == 0 || ids[len(ids)-1] != last {
		d, err := c.Next(ctx)
		if errors.Is(err, pebblemq.ErrCorrupt) {
			require.ErrorContains(t, err, "queue ")
			told++
			continue
		}
		require.NoError(t, err)
		ids = append(ids, d.MessageID)
		require.NoError(t, d.Ack(bg))
	}
	return ids, told
}

// One of the consumers is told, once, and all go on.
func TestNextTellsOfWhatCannotBeReadOnce(t *testing.T) {
	s := newShop(t)
	declare(t, s.b, "q")
	s.fill(500, nil)
	s.Damage(store.KindWorkMessage, 0.5)
	require.NoError(t, s.b.Publish(bg, "", "q", workqueue.Message{MessageID: "500"}))
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	c, err := queueOf(t, s.b, "q").Consume(ctx, nil)
	require.NoError(t, err)
	ids, told := ackUntil(t, ctx, c, "500")
	inOrder(t, ids)
	require.Equal(t, 1, told)
	require.Greater(t, len(ids), 200)
	require.Less(t, len(ids), 501)
	require.NoError(t, c.Close())
}

// A read that fails and works again a moment later is as if nothing had happened.
func TestReadsThatFailForAMomentAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		declare(t, s.b, "q")
		s.fill(500, nil)
		s.Close()
		s.Open()
		s.FailReads()
		time.AfterFunc(3*time.Second, func() { s.FS.SetReadHook(nil) })
		ids, told := s.drain()
		require.Len(t, ids, 500)
		inOrder(t, ids)
		require.Zero(t, told)
		require.Equal(t, workqueue.QueueStats{}, s.stats())
		require.Len(t, s.Log.Lines("queue=q"), 1, "not for each try")
	})
}

// When reads fail for longer, what can be had goes on, and the rest comes by itself.
func TestReadsThatFailForLongHoldUpNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		declare(t, s.b, "q")
		s.fill(500, nil)
		s.Close()
		s.Open()
		s.FailReads()
		short, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		_, _, err := queueOf(t, s.b, "q").Get(short)
		require.ErrorIs(t, err, context.DeadlineExceeded, "no longer than its context")

		require.NoError(t, s.b.Publish(bg, "", "q", workqueue.Message{MessageID: "new"}))
		ids, told := s.drain()
		require.Equal(t, []string{"new"}, ids)
		require.Equal(t, 1, told)
		require.EqualValues(t, 500, s.stats().Unreadable)
		require.Zero(t, s.stats().Ready)
		time.Sleep(time.Hour)
		require.EqualValues(t, 500, s.stats().Unreadable)
		require.LessOrEqual(t, len(s.Log.Lines("queue=q")), 2, "the first error, and the messages")

		s.FS.SetReadHook(nil)
		time.Sleep(10 * time.Minute)
		require.EqualValues(t, 500, s.stats().Ready)
		ids, told = s.drain()
		require.Len(t, ids, 500)
		inOrder(t, ids)
		require.Zero(t, told)
		require.Equal(t, workqueue.QueueStats{}, s.stats())
	})
}

func TestDelayedMessagesComeAroundDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		declare(t, s.b, "q")
		s.fill(500, func(i int, m *workqueue.Message) { m.Delay = time.Hour + time.Duration(i)*time.Second })
		s.Damage(store.KindWorkDelay, 0.5, 1)
		require.EqualValues(t, 500, s.stats().Delayed)
		time.Sleep(2 * time.Hour)
		ids, _ := s.drain()
		inOrder(t, ids)
		require.Contains(t, ids, "0")
		require.Greater(t, len(ids), 300)
		require.EqualValues(t, 500-len(ids), s.stats().Unreadable)
		require.Zero(t, s.stats().Delayed)
		require.Len(t, s.Log.Lines("queue=q", "delayed"), 2)

		require.NoError(t, s.b.Publish(bg, "", "q", workqueue.Message{MessageID: "new", Delay: time.Minute}))
		require.EqualValues(t, 1, s.stats().Delayed)
		time.Sleep(time.Minute)
		again, _ := s.drain()
		require.Equal(t, []string{"new"}, again)
	})
}

func TestDelayedMessagesThatCannotBeReadAreNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		declare(t, s.b, "q")
		s.fill(20, func(_ int, m *workqueue.Message) { m.Delay = time.Hour })
		s.Damage(store.KindWorkDelay, 0.5)
		time.Sleep(2 * time.Hour)
		lost := s.stats().Unreadable
		require.NotZero(t, lost)
		s.restart()
		time.Sleep(time.Minute)
		require.Equal(t, lost, s.stats().Unreadable)
	})
}

func TestDelayedMessagesComeWhenReadsWorkAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		declare(t, s.b, "q")
		s.fill(100, func(i int, m *workqueue.Message) { m.Delay = time.Hour + time.Duration(i)*time.Second })
		s.Close()
		s.Open()
		s.FailReads()
		time.Sleep(3 * time.Hour)
		require.EqualValues(t, 100, s.stats().Unreadable)
		require.NoError(t, s.b.Publish(bg, "", "q", workqueue.Message{MessageID: "new", Delay: time.Minute}))
		time.Sleep(2 * time.Minute)
		ids, _ := s.drain()
		require.Equal(t, []string{"new"}, ids)
		s.FS.SetReadHook(nil)
		time.Sleep(10 * time.Minute)
		ids, _ = s.drain()
		require.Len(t, ids, 100)
		inOrder(t, ids)
		require.Equal(t, workqueue.QueueStats{}, s.stats())
	})
}

func TestMessagesExpireAroundDamage(t *testing.T) {
	for name, kind := range map[string]store.Kind{"messages": store.KindWorkMessage, "index": store.KindWorkExpiry} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t)
				declare(t, s.b, "q")
				s.fill(1000, func(i int, m *workqueue.Message) { m.TTL = time.Hour + time.Duration(i)*time.Second })
				s.Damage(kind, 0.5)
				time.Sleep(3 * time.Hour)
				require.NoError(t, s.b.Publish(bg, "", "q", workqueue.Message{MessageID: "new"}))
				ids, _ := s.drain()
				require.Equal(t, []string{"new"}, ids, "what has expired is not delivered")
				st := s.stats()
				require.Equal(t, workqueue.QueueStats{Bytes: st.Bytes, Unreadable: st.Unreadable}, st)
				require.Equal(t, kind == store.KindWorkMessage, st.Unreadable > 0)
				require.Len(t, s.Log.Lines("queue=q"), 1)
			})
		})
	}
}

// Nobody knows then which of them were acknowledged, and one that was must not come again.
func TestMessagesWhoseStateCannotBeReadAreKeptAndPassed(t *testing.T) {
	s := newShop(t)
	declare(t, s.b, "q")
	s.fill(2000, nil)
	acked := make(map[string]bool)
	for i := range 2000 {
		d, ok, err := queueOf(t, s.b, "q").Get(bg)
		require.NoError(t, err)
		require.True(t, ok)
		if i%5 != 2 {
			acked[d.MessageID] = true
			require.NoError(t, d.Ack(bg))
		}
	}
	s.Damage(store.KindWorkState, 0.5)
	ids, told := s.drain()
	for _, id := range ids {
		require.False(t, acked[id], id)
	}
	require.NotEmpty(t, ids)
	require.Less(t, len(ids), 400)
	require.Equal(t, 1, told)
	require.EqualValues(t, 400-len(ids), s.stats().Unreadable)
}

// sharedBodies binds queues "q" and "other" to an exchange and publishes n messages
// whose bodies they share.
func (s *shop) sharedBodies(n int) {
	s.T.Helper()
	declare(s.T, s.b, "q", "other")
	require.NoError(s.T, s.b.DeclareExchange(bg, "all", workqueue.Fanout, nil))
	for _, name := range []string{"q", "other"} {
		require.NoError(s.T, s.b.Bind(bg, workqueue.Binding{Exchange: "all", Queue: name}))
	}
	for i := range n {
		m := workqueue.Message{MessageID: fmt.Sprint(i), Body: []byte(strings.Repeat(fmt.Sprint("x", i), 500))}
		require.NoError(s.T, s.b.Publish(bg, "all", "", m))
	}
}

func TestAConsumerGoesOnBehindBodiesThatCannotBeRead(t *testing.T) {
	s := newShop(t)
	s.sharedBodies(100)
	s.Damage(store.KindPayload, 0.5)
	c, err := queueOf(t, s.b, "other").Consume(bg, &workqueue.ConsumeOptions{Prefetch: 1})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	_, told := ackUntil(t, ctx, c, "99")
	require.Equal(t, 1, told)
	require.NoError(t, c.Close())
	ids, told := s.drain()
	inOrder(t, ids)
	require.Equal(t, 1, told)
	require.Greater(t, len(ids), 50)
	require.Less(t, len(ids), 100)
	require.Equal(t, workqueue.QueueStats{Bytes: s.stats().Bytes, Unreadable: uint64(100 - len(ids))}, s.stats())
	require.Len(t, s.Log.Lines("queue=q"), 1)
}

func TestBodiesComeWhenReadsWorkAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		s.sharedBodies(100)
		s.Close()
		s.Open()
		d, _, err := queueOf(t, s.b, "q").Get(bg) // brings the messages into memory, and a few bodies
		require.NoError(t, err)
		require.NoError(t, d.Nack(bg, true))
		s.FailReads()
		ids, told := s.drain()
		require.Equal(t, 1, told)
		require.Less(t, len(ids), 50)
		require.EqualValues(t, 100-len(ids), s.stats().Unreadable)
		s.FS.SetReadHook(nil)
		time.Sleep(10 * time.Minute)
		more, _ := s.drain()
		inOrder(t, more)
		require.Len(t, more, 100-len(ids))
		require.Equal(t, workqueue.QueueStats{}, s.stats())
	})
}

func TestAPriorityDoesNotWaitForDamageInAHigherOne(t *testing.T) {
	s := newShop(t)
	declareQueue(t, s.b, "q", &workqueue.QueueConfig{MaxPriority: 1})
	s.fill(100, func(_ int, m *workqueue.Message) { m.Priority = 1 })
	s.Damage(store.KindWorkMessage, 0, 0.5, 1)
	require.NoError(t, s.b.Publish(bg, "", "q", workqueue.Message{MessageID: "low"}))
	ids, told := s.drain()
	require.Equal(t, "low", ids[len(ids)-1])
	require.Equal(t, 1, told)
	require.EqualValues(t, 101-len(ids), s.stats().Unreadable)
}

func TestAPublisherDoesNotWaitForRoomThatCannotBeRead(t *testing.T) {
	s := newShop(t)
	declareQueue(t, s.b, "q", &workqueue.QueueConfig{MaxLength: 400})
	s.fill(400, nil)
	s.Damage(store.KindWorkMessage, 0)
	for i := range 50 {
		require.NoError(t, s.b.Publish(bg, "", "q", workqueue.Message{MessageID: fmt.Sprint(1000 + i)}))
	}
	ids, _ := s.drain()
	inOrder(t, ids)
	require.Equal(t, "1049", ids[len(ids)-1])
	require.NotContains(t, ids, "40", "the oldest that can be read went")
	require.NotZero(t, s.stats().Unreadable)
}

// refusesSome publishes a thousand messages that are in the queue already. Those whose
// record cannot be read are refused, and no other gets in twice.
func (s *shop) refusesSome(message func(i int) workqueue.Message) {
	s.T.Helper()
	refused := 0
	for i := range 1000 {
		if err := s.b.Publish(bg, "", "q", message(i)); err != nil {
			require.ErrorIs(s.T, err, pebblemq.ErrCorrupt)
			require.ErrorContains(s.T, err, `queue "q"`)
			refused++
		}
	}
	require.NotZero(s.T, refused)
	require.Less(s.T, refused, 300)
	require.EqualValues(s.T, 1000, s.stats().Ready, "none got in twice")
}

func TestUniqueKeysThatCannotBeReadRefuseTheirMessagesAlone(t *testing.T) {
	s := newShop(t)
	declare(t, s.b, "q")
	s.fill(1000, func(i int, m *workqueue.Message) { m.UniqueKey = fmt.Sprint("key", i) })
	s.Damage(store.KindWorkUnique, 0.5)
	s.refusesSome(func(i int) workqueue.Message { return workqueue.Message{UniqueKey: fmt.Sprint("key", i)} })
	require.NoError(t, s.b.Publish(bg, "", "q", workqueue.Message{UniqueKey: "another"}))
}

func TestMessageIDsThatCannotBeReadRefuseTheirMessagesAlone(t *testing.T) {
	for _, part := range []float64{0, 0.5, 1} {
		s := newShop(t)
		declareQueue(t, s.b, "q", &workqueue.QueueConfig{DedupeWindow: time.Hour})
		s.fill(1000, nil)
		s.Damage(store.KindWorkWindow, part)
		s.refusesSome(func(i int) workqueue.Message { return workqueue.Message{MessageID: fmt.Sprint(i)} })
		require.NoError(t, s.b.Publish(bg, "", "q", workqueue.Message{MessageID: "another"}))
	}
}

func TestBrowseShowsWhatCannotBeReadAndTheRest(t *testing.T) {
	s := newShop(t)
	declare(t, s.b, "q")
	s.fill(500, nil)
	s.fill(500, func(i int, m *workqueue.Message) { m.Delay = time.Hour + time.Duration(i)*time.Second })
	s.Close()
	storetest.DamageTables(t, s.FS.FS, store.KindWorkDelay, 0.5)
	storetest.DamageTables(t, s.FS.FS, store.KindWorkMessage, 0, 0.5)
	s.Open()
	seen, damaged := 0, 0
	for m, err := range queueOf(t, s.b, "q").Browse(bg, nil) {
		if err != nil {
			require.ErrorIs(t, err, pebblemq.ErrCorrupt)
			require.ErrorContains(t, err, `queue "q"`)
			damaged++
			continue
		}
		seen++
		_, err := queueOf(t, s.b, "q").Peek(bg, m.Position)
		require.NoError(t, err)
	}
	require.Equal(t, 3, damaged)
	require.Greater(t, seen, 700)
	require.Less(t, seen, 1000)
}

func TestARedriveMovesWhatCanBeRead(t *testing.T) {
	s := newShop(t)
	declare(t, s.b, "q", "to")
	s.fill(500, nil)
	s.Damage(store.KindWorkMessage, 0, 0.5)
	p, err := waited(queueOf(t, s.b, "q").Redrive(bg, &workqueue.RedriveOptions{To: &workqueue.RedriveTo{Key: "to"}}))
	require.NoError(t, err)
	require.NotZero(t, p.Failed)
	require.Contains(t, p.Reason, pebblemq.ErrCorrupt.Error())
	require.Equal(t, int(p.Moved), ready(t, s.b, "to"))
	ids, _ := s.drain()
	require.Empty(t, ids)
	require.EqualValues(t, 500-p.Moved, s.stats().Unreadable)
}

// The record of a queue is damaged: the queue refuses, and the others of the broker go
// on.
func TestAQueueWhoseRecordIsDamagedRefusesAlone(t *testing.T) {
	s := newShop(t)
	declare(t, s.b, "q")
	s.fill(1, nil)
	for i := range 200 {
		declare(t, s.b, fmt.Sprint("q", i))
		require.NoError(t, s.b.Publish(store.WithDurability(bg, store.NoSync), "", fmt.Sprint("q", i), body("x")))
	}
	s.Damage(store.KindWorkMeta, 0)
	_, err := queueOf(t, s.b, "q").Stats(bg)
	require.ErrorIs(t, err, pebblemq.ErrCorrupt)
	require.ErrorContains(t, err, `queue "q"`)
	require.ErrorIs(t, s.b.Publish(bg, "", "q", body("y")), pebblemq.ErrCorrupt)
	_, _, err = queueOf(t, s.b, "q").Get(bg)
	require.ErrorIs(t, err, pebblemq.ErrCorrupt)
	require.Len(t, s.Log.Lines("queue=q "), 1)
	d, ok, err := queueOf(t, s.b, "q199").Get(bg)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "x", string(d.Body))
	require.NoError(t, queueOf(t, s.b, "q").Delete(bg))
	declare(t, s.b, "q")
	require.NoError(t, s.b.Publish(bg, "", "q", body("y")))
	ids, _ := s.drain()
	require.Len(t, ids, 1)
}

func TestAQueueWhoseRecordCouldNotBeReadComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		declare(t, s.b, "q")
		s.fill(1, nil)
		s.Close()
		var err error
		s.DB, err = storetest.OpenFS(s.FS, store.Options{Logger: s.Log.Logger(), NoCompactions: true})
		require.NoError(t, err)
		s.FS.SetReadHook(func(c storetest.Call) error {
			if c.Class == storetest.ClassTable {
				return syscall.EIO
			}
			return nil
		})
		s.b, err = workqueue.OpenBroker(bg, s.DB, "main")
		require.NoError(t, err)
		_, err = queueOf(t, s.b, "q").Stats(bg)
		require.ErrorIs(t, err, pebblemq.ErrUnreadable)
		s.FS.SetReadHook(nil)
		time.Sleep(time.Minute)
		ids, _ := s.drain()
		require.Len(t, ids, 1)
	})
}
