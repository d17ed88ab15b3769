package workqueue_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// total fills a queue that may have three messages in all: one is out, "out", one is
// delayed by a minute, "later", and unless its place is taken one is ready, "ready".
func total(t *testing.T, b *workqueue.Broker, c workqueue.QueueConfig, withReady bool) *workqueue.Delivery {
	c.MaxLength, c.LimitTotal = 3, true
	declareWith(t, b, c)
	declare(t, b, "dead")
	publish(t, b, "q", "out")
	d := get(t, b, "q", "out")
	publishLater(t, b, "later", time.Minute)
	if withReady {
		publish(t, b, "q", "ready")
	} else {
		publishLater(t, b, "latest", 2*time.Minute)
	}
	return d
}

func publishLater(t *testing.T, b *workqueue.Broker, body string, delay time.Duration) {
	t.Helper()
	require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{Body: []byte(body), Delay: delay}))
}

func TestATotalLimitCountsWhatIsOutAndDelayedWithEachOverflow(t *testing.T) {
	for _, c := range []struct {
		name     string
		overflow workqueue.Overflow
		ready    bool // one was, before
		delay    time.Duration
		refused  bool
		left     string // in the order of delivery, once all delays are over
		dead     string
	}{
		{"drop-head, a ready one goes", workqueue.DropHead, true, 0, false, "new later", "ready"},
		{"drop-head, a ready one goes for a delayed one", workqueue.DropHead, true, time.Hour, false, "later new", "ready"},
		{"drop-head, it goes itself if none is ready", workqueue.DropHead, false, 0, false, "later latest", "new"},
		{"drop-head, it goes itself, delayed, if none is ready", workqueue.DropHead, false, time.Hour, false, "later latest", "new"},
		{"drop-lowest, a ready one goes", workqueue.DropLowest, true, 0, false, "new later", "ready"},
		{"drop-lowest, it goes itself, delayed, if none is ready", workqueue.DropLowest, false, time.Hour, false, "later latest", "new"},
		{"reject-publish", workqueue.RejectPublish, true, 0, true, "ready later", ""},
		{"reject-publish of a delayed one", workqueue.RejectPublish, true, time.Hour, true, "ready later", ""},
		{"reject-dead-letter", workqueue.RejectDeadLetter, true, 0, false, "ready later", "new"},
		{"reject-dead-letter of a delayed one", workqueue.RejectDeadLetter, true, time.Hour, false, "ready later", "new"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, b := open(t)
				out := total(t, b, workqueue.QueueConfig{Overflow: c.overflow, DeadLetter: toDead}, c.ready)
				before, err := queueOf(t, b, "q").Stats(bg)
				require.NoError(t, err)
				require.EqualValues(t, 3, before.Ready+before.Unacked+before.Delayed)

				err = b.Publish(bg, "", "q", workqueue.Message{Body: []byte("new"), Delay: c.delay})
				if c.refused {
					require.ErrorIs(t, err, workqueue.ErrQueueFull)
				} else {
					require.NoError(t, err)
				}
				st, err := queueOf(t, b, "q").Stats(bg)
				require.NoError(t, err)
				require.EqualValues(t, 3, st.Ready+st.Unacked+st.Delayed)

				require.NoError(t, out.Ack(bg))
				pass(2 * time.Hour)
				require.Equal(t, c.left, strings.Join(drain(t, b), " "))
				if c.dead != "" {
					require.Equal(t, workqueue.ReasonMaxLen, get(t, b, "dead", c.dead).Deaths[0].Reason)
				}
				require.Zero(t, ready(t, b, "dead"))
			})
		})
	}
}

func TestATotalLimitHasRoomAgainAfterAnAck(t *testing.T) {
	_, b := open(t)
	out := total(t, b, workqueue.QueueConfig{Overflow: workqueue.RejectPublish}, true)
	full := func() error { return b.Publish(bg, "", "q", workqueue.Message{Body: []byte("new")}) }
	require.ErrorIs(t, full(), workqueue.ErrQueueFull)
	require.NoError(t, out.Nack(bg, true), "a requeue is never refused")
	require.ErrorIs(t, full(), workqueue.ErrQueueFull)
	require.NoError(t, get(t, b, "q", "out").Ack(bg))
	require.NoError(t, full())
	require.ErrorIs(t, full(), workqueue.ErrQueueFull)
}

func TestATotalLimitOfBytesIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{})
		publishLater(t, b, "x", time.Hour)
		st, err := queueOf(t, b, "q").Stats(bg)
		require.NoError(t, err)
		one := int64(st.Bytes)
		limit := workqueue.QueueConfig{MaxBytes: 3 * one, LimitTotal: true, Overflow: workqueue.RejectPublish}
		require.NoError(t, queueOf(t, b, "q").Alter(bg, &limit))
		publish(t, b, "q", "x")
		get(t, b, "q", "x")
		publishLater(t, b, "x", time.Hour)
		require.ErrorIs(t, b.Publish(bg, "", "q", workqueue.Message{Body: []byte("x")}), workqueue.ErrQueueFull)
		limit.MaxBytes++
		require.NoError(t, queueOf(t, b, "q").Alter(bg, &limit))
		require.ErrorIs(t, b.Publish(bg, "", "q", workqueue.Message{Body: []byte("x")}), workqueue.ErrQueueFull)
		limit.MaxBytes = 4 * one
		require.NoError(t, queueOf(t, b, "q").Alter(bg, &limit))
		publish(t, b, "q", "x")
	})
}

// A place that is missing refuses the publishing, and nothing is gone.
func TestATotalLimitWhoseDeadLetterPlaceIsMissingRefusesADelayedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, b := open(t)
		total(t, b, workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Key: "nowhere"}}, false)
		later := workqueue.Message{MessageID: "id", UniqueKey: "key", Body: big('x'), Delay: time.Hour}
		require.ErrorIs(t, b.Publish(bg, "", "q", later), workqueue.ErrQueueFull)
		require.ErrorIs(t, queueOf(t, b, "q").Cancel(bg, "id"), workqueue.ErrUnknownMessage)

		// The same after others of its transaction, which are refused with it.
		err := db.Update(bg, func(tx *pebblemq.Tx) error {
			require.NoError(t, b.In(tx).Publish("", "dead", workqueue.Message{}))
			return b.In(tx).Publish("", "q", later)
		})
		require.ErrorIs(t, err, workqueue.ErrQueueFull)
		require.Zero(t, ready(t, b, "dead"))
		st, err := queueOf(t, b, "q").Stats(bg)
		require.NoError(t, err)
		require.Equal(t, [2]uint64{1, 2}, [2]uint64{st.Unacked, st.Delayed})
		require.NoError(t, queueOf(t, b, "q").Alter(bg, &workqueue.QueueConfig{}))
		require.NoError(t, b.Publish(bg, "", "q", later), "its unique key is free")
	})
}

// An eviction of a delayed message that is refused later in its transaction comes back.
func TestATotalLimitIsRolledBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, b := open(t)
		total(t, b, workqueue.QueueConfig{Overflow: workqueue.RejectDeadLetter, DeadLetter: toDead}, true)
		before, err := queueOf(t, b, "q").Stats(bg)
		require.NoError(t, err)
		err = db.Update(bg, func(tx *pebblemq.Tx) error {
			require.NoError(t, b.In(tx).Publish("", "q", workqueue.Message{Body: big('x'), Delay: time.Hour}))
			return b.In(tx).Publish("", "nowhere", workqueue.Message{Mandatory: true})
		})
		require.ErrorIs(t, err, workqueue.ErrUnroutable)
		after, err := queueOf(t, b, "q").Stats(bg)
		require.NoError(t, err)
		require.Equal(t, before, after)
		require.Zero(t, ready(t, b, "dead"))
	})
}

func TestATotalLimitIsStoredAndNeedsALimit(t *testing.T) {
	_, b := open(t)
	require.ErrorIs(t, errOf(b.DeclareQueue(bg, "none", &workqueue.QueueConfig{LimitTotal: true})), pebblemq.ErrInvalid)
	declareWith(t, b, workqueue.QueueConfig{MaxLength: 1, LimitTotal: true})
	_, err := b.DeclareQueue(bg, "q", &workqueue.QueueConfig{MaxLength: 1})
	require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
	require.ErrorContains(t, err, "LimitTotal")
	require.NoError(t, queueOf(t, b, "q").Alter(bg, &workqueue.QueueConfig{MaxLength: 1}))
	declareQueue(t, b, "q", &workqueue.QueueConfig{MaxLength: 1})
}
