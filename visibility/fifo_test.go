package visibility_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

var fifo = &visibility.QueueConfig{FIFO: true}

// sendTo sends messages whose group is what stands before the first digit.
func sendTo(t testing.TB, q *visibility.Queue, bodies ...string) {
	t.Helper()
	for _, b := range bodies {
		_, err := q.Send(ctx, visibility.Message{Body: []byte(b), Group: strings.TrimRight(b, "0123456789")})
		require.NoError(t, err)
	}
}

func remove(t testing.TB, q *visibility.Queue, ms ...*visibility.Received) {
	t.Helper()
	for _, m := range ms {
		require.NoError(t, q.Delete(ctx, m.Receipt))
	}
	synctest.Wait()
}

func release(t testing.TB, q *visibility.Queue, ms ...*visibility.Received) {
	t.Helper()
	for _, m := range ms {
		require.NoError(t, q.ChangeVisibility(ctx, m.Receipt, 0))
	}
	synctest.Wait()
}

func TestFIFOWhileOneOfAGroupIsInFlightThoseBehindItWaitAndOtherGroupsDoNot(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", fifo)
		sendTo(t, q, "a1", "a2", "b1", "a3", "c1", "b2")
		a1 := one(t, q)
		require.Equal(t, "a1", string(a1.Body))
		require.Equal(t, "a", a1.Group)
		require.Equal(t, []string{"b1", "c1", "b2"}, bodies(receive(t, q, 10)))
		none(t, q)
		counts(t, q, 2, 4, 0)
		remove(t, q, a1)
		require.Equal(t, []string{"a2", "a3"}, bodies(receive(t, q, 10)))
	})
}

func TestFIFOAReceiveTakesSeveralOfAGroupInOrderAndThenOthers(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", fifo)
		sendTo(t, q, "a1", "b1", "a2", "a3", "b2", "c1")
		first := receive(t, q, 4)
		require.Equal(t, []string{"a1", "b1", "a2", "a3"}, bodies(first))
		require.Equal(t, []string{"c1"}, bodies(receive(t, q, 10)))
		for i := 1; i < len(first); i++ {
			require.Greater(t, first[i].Sequence, first[i-1].Sequence)
		}
		remove(t, q, first[1])
		require.Equal(t, []string{"b2"}, bodies(receive(t, q, 10)))
	})
}

func TestFIFOADeletionOfTheHeadMakesTheNextAvailableAndWakes(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", fifo)
		sendTo(t, q, "a1", "a2")
		head := one(t, q)
		woken := make(chan []*visibility.Received, 1)
		go func() {
			got, _ := q.Receive(ctx, &visibility.ReceiveOptions{Max: 10, Wait: time.Hour, VisibilityTimeout: time.Minute})
			woken <- got
		}()
		synctest.Wait()
		require.Empty(t, woken)
		before := time.Now()
		remove(t, q, head)
		require.Equal(t, []string{"a2"}, bodies(<-woken))
		require.Equal(t, before, time.Now())
	})
}

func TestFIFOWhatEndsIsAvailableOnlyIfNothingEarlierIsHidden(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", fifo)
		sendTo(t, q, "a1", "a2", "a3", "a4")
		got := receive(t, q, 3)
		release(t, q, got[1])
		none(t, q)
		release(t, q, got[0])
		again := receive(t, q, 10)
		require.Equal(t, []string{"a1", "a2"}, bodies(again), "the ordered prefix before a3")
		remove(t, q, again...)
		none(t, q)
		remove(t, q, got[2])
		require.Equal(t, []string{"a4"}, bodies(receive(t, q, 10)))
	})
}

func TestFIFOOrderAfterExpiryIsUnchanged(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", fifo)
		sendTo(t, q, "a1", "a2", "a3", "b1")
		got := receive(t, q, 3)
		require.NoError(t, q.ChangeVisibility(ctx, got[0].Receipt, time.Minute)) // the others end before
		<-time.After(31 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{"b1"}, bodies(receive(t, q, 10)))
		<-time.After(30 * time.Second)
		synctest.Wait()
		all := receive(t, q, 10)
		require.Equal(t, []string{"a1", "a2", "a3", "b1"}, bodies(all))
		require.Equal(t, 2, all[1].ReceiveCount)
	})
}

func TestFIFOADelayedMessageDoesNotBlockItsGroup(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", fifo)
		_, err := q.Send(ctx, visibility.Message{Body: []byte("late"), Group: "a", Delay: time.Minute})
		require.NoError(t, err)
		sendTo(t, q, "a1")
		head := one(t, q)
		require.Equal(t, "a1", string(head.Body))
		require.NoError(t, q.ChangeVisibility(ctx, head.Receipt, time.Hour))
		<-time.After(time.Minute)
		synctest.Wait()
		none(t, q)
		remove(t, q, head)
		require.Equal(t, "late", string(one(t, q).Body))
	})
}

func TestFIFOADelayedMessageBlocksItsGroupIfAskedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		c := &visibility.QueueConfig{FIFO: true, DelayBlocksGroup: true}
		q := d.queue("q", c)
		later := func(body string, delay time.Duration) {
			_, err := q.Send(ctx, visibility.Message{ID: body, Body: []byte(body), Group: body[:1], Delay: delay})
			require.NoError(t, err)
		}
		later("a1", time.Minute)
		sendTo(t, q, "a2", "b1")
		later("a3", 2*time.Minute)
		later("a4", time.Second)
		counts(t, q, 1, 0, 4)
		got := receive(t, q, 9)
		require.Equal(t, []string{"b1"}, bodies(got))
		remove(t, q, got...)
		d.reopen()
		q = d.queue("q", c)
		<-time.After(time.Minute)
		sendTo(t, q, "a5") // before the kernel has looked at the clock, perhaps
		synctest.Wait()
		got = receive(t, q, 9)
		require.Equal(t, []string{"a1", "a2"}, bodies(got))
		remove(t, q, got...)
		none(t, q)
		pass(time.Minute)
		got = receive(t, q, 9)
		require.Equal(t, []string{"a3", "a4", "a5"}, bodies(got[len(got)-3:]))
		remove(t, q, got...)
		sendTo(t, q, "a6")
		require.Equal(t, []string{"a6"}, bodies(receive(t, q, 9)), "nothing holds the group up any more")

		later("c1", time.Minute)
		require.NoError(t, q.Cancel(ctx, "c1"))
		sendTo(t, q, "c2")
		pass(time.Minute)
		require.Contains(t, bodies(receive(t, q, 9)), "c2")
		sendTo(t, q, "c3")
		_, err := q.Purge(ctx)
		require.NoError(t, err)
		later("d1", time.Minute)
		_, err = q.Purge(ctx)
		require.NoError(t, err)
		sendTo(t, q, "d2")
		require.Contains(t, bodies(receive(t, q, 9)), "d2")
	})
}

func TestFIFODelayBlocksGroupIsForFIFOQueuesAndStays(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		_, err := visibility.OpenQueue(ctx, db, "q", &visibility.QueueConfig{DelayBlocksGroup: true})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		open(t, db, "q", fifo)
		err = alterQueue(db, "q", &visibility.QueueConfig{FIFO: true, DelayBlocksGroup: true})
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
	})
}

func TestFIFOAReceiptWhoseTimeIsOverIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", fifo)
		sendTo(t, q, "a1")
		m := one(t, q)
		<-time.After(30 * time.Second)
		require.ErrorIs(t, q.Delete(ctx, m.Receipt), visibility.ErrNotInFlight)
		errs, err := q.DeleteBatch(ctx, []visibility.Receipt{m.Receipt}, nil)
		require.NoError(t, err)
		require.ErrorIs(t, errs[0], visibility.ErrNotInFlight)
		synctest.Wait()
		again := one(t, q)
		require.ErrorIs(t, q.Delete(ctx, m.Receipt), visibility.ErrStaleReceipt)
		require.NoError(t, q.Delete(ctx, again.Receipt))
		require.NoError(t, q.Delete(ctx, again.Receipt), "again")
	})
}

func TestFIFODeadLetteringLetsTheGroupGoOn(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", fifo)
		q := open(t, db, "q", &visibility.QueueConfig{FIFO: true, DeadLetterQueue: "dead", MaxReceives: 1})
		sendTo(t, q, "a1", "a2", "b1")
		a1 := one(t, q)
		release(t, q, a1)
		require.Equal(t, []string{"a2", "b1"}, bodies(receive(t, q, 10)), "in the receive that moves a1")
		got := one(t, dead)
		require.Equal(t, "a1", string(got.Body))
		require.Equal(t, "a", got.Group)
		require.Equal(t, a1.ID, got.ID)
		require.Equal(t, "q", got.DeadLetter.Queue)
	})
}

func TestFIFOVisibilityTimeoutOfZeroKeepsTheOrder(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", fifo)
		sendTo(t, q, "a1", "a2", "b1")
		for i := 1; i < 4; i++ {
			got, err := q.Receive(ctx, &visibility.ReceiveOptions{Max: 10, VisibilityTimeout: visibility.NoVisibilityTimeout})
			require.NoError(t, err)
			require.Equal(t, []string{"a1", "a2", "b1"}, bodies(got))
			require.Equal(t, i, got[2].ReceiveCount)
			synctest.Wait()
		}
	})
}

func TestFIFONeedsAGroupAndADeadLetterQueueOfItsKind(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", fifo)
		for _, group := range []string{"", "a\x00", "\xff"} {
			_, err := q.Send(ctx, visibility.Message{Group: group})
			require.ErrorIs(t, err, pebblemq.ErrInvalid, "%q", group)
		}
		_, err := q.Send(ctx, visibility.Message{Group: strings.Repeat("x", 257)})
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		_, err = q.Send(ctx, visibility.Message{Group: strings.Repeat("x", 256)})
		require.NoError(t, err)
		results, err := q.SendBatch(ctx, []visibility.Message{{Group: "a"}, {}}, nil)
		require.NoError(t, err)
		require.NoError(t, results[0].Err)
		require.ErrorIs(t, results[1].Err, pebblemq.ErrInvalid)

		_, err = visibility.OpenQueue(ctx, db, "q", &visibility.QueueConfig{})
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		require.ErrorContains(t, err, "FIFO")
		_, err = visibility.OpenQueue(ctx, db, "other", &visibility.QueueConfig{DeadLetterQueue: "q", MaxReceives: 1})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
	})
}

func TestFIFOManyGroupsComeInTheOrderOfTheQueue(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", fifo)
		const n = 5000
		batch := make([]visibility.Message, n)
		for i := range batch {
			batch[i] = visibility.Message{Group: fmt.Sprint("g", i%(n/2)), Body: fmt.Append(nil, i)}
		}
		_, err := q.SendBatch(ctx, batch, nil)
		require.NoError(t, err)
		for i := 0; i < n; {
			got := receive(t, q, 500)
			require.NotEmpty(t, got)
			for _, m := range got {
				require.Equal(t, fmt.Sprint(i), string(m.Body))
				i++
			}
			remove(t, q, got...)
		}
	})
}
