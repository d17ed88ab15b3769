package workqueue_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// overflowing publishes priorities 1, 2, 3 three times to a queue of length 4 and
// returns what is left, and what was refused.
func overflowing(t *testing.T, b *workqueue.Broker, o workqueue.Overflow, dead *workqueue.DeadLetter) (left []string, refused int) {
	declareWith(t, b, workqueue.QueueConfig{MaxPriority: 3, MaxLength: 4, Overflow: o, DeadLetter: dead})
	for range 3 {
		for p := range uint8(3) {
			err := b.Publish(bg, "", "q", workqueue.Message{Body: []byte{'1' + p}, Priority: 1 + p})
			if err != nil {
				require.ErrorIs(t, err, workqueue.ErrQueueFull)
				refused++
			}
			require.LessOrEqual(t, ready(t, b, "q"), 4)
		}
	}
	return drain(t, b), refused
}

func TestDropHeadDropsWhatWouldBeDeliveredNext(t *testing.T) {
	_, b := open(t)
	left, refused := overflowing(t, b, "", nil)
	require.Equal(t, []string{"2", "1", "1", "1"}, left)
	require.Zero(t, refused)
}

func TestRejectPublishRefusesWhatHasNoRoom(t *testing.T) {
	_, b := open(t)
	left, refused := overflowing(t, b, workqueue.RejectPublish, nil)
	require.Equal(t, []string{"3", "2", "1", "1"}, left)
	require.Equal(t, 5, refused)
}

func TestDropLowestDropsTheOldestOfTheLowestPriority(t *testing.T) {
	_, b := open(t)
	left, refused := overflowing(t, b, workqueue.DropLowest, nil)
	require.Equal(t, []string{"3", "3", "3", "2"}, left)
	require.Zero(t, refused)
}

func TestRejectDeadLetterSendsTheNewOneAway(t *testing.T) {
	_, b := open(t)
	declare(t, b, "dead")
	left, refused := overflowing(t, b, workqueue.RejectDeadLetter, toDead)
	require.Equal(t, []string{"3", "2", "1", "1"}, left)
	require.Zero(t, refused)
	for _, body := range []string{"2", "3", "1", "2", "3"} {
		d := get(t, b, "dead", body)
		require.Equal(t, workqueue.ReasonMaxLen, d.Deaths[0].Reason)
	}
}

func TestRejectDeadLetterWithoutAPlaceRefuses(t *testing.T) {
	_, b := open(t)
	_, refused := overflowing(t, b, workqueue.RejectDeadLetter, nil)
	require.Equal(t, 5, refused)
}

func TestWhatIsDroppedGoesToTheDeadLetterPlaceInOneCommit(t *testing.T) {
	_, b := open(t)
	declare(t, b, "dead")
	overflowing(t, b, workqueue.DropHead, toDead)
	require.Equal(t, 5, ready(t, b, "dead"))
}

// The queue overflows although its dead letters have nowhere to go: then the
// publisher hears of it, and nothing is lost.
func TestAFullQueueWhoseDeadLetterPlaceIsMissingRefuses(t *testing.T) {
	_, b := open(t)
	left, refused := overflowing(t, b, workqueue.DropHead, toDead)
	require.Equal(t, []string{"3", "2", "1", "1"}, left)
	require.Equal(t, 5, refused)
}

func TestMaxBytesIsExact(t *testing.T) {
	_, b := open(t)
	declareWith(t, b, workqueue.QueueConfig{})
	publishTTL(t, b, strings.Repeat("x", 100), 0)
	st, err := queueOf(t, b, "q").Stats(bg)
	require.NoError(t, err)
	one := int64(st.Bytes)
	for _, c := range []struct {
		max  int64
		want int
	}{{3 * one, 3}, {3*one - 1, 2}, {one - 1, 0}} {
		require.NoError(t, queueOf(t, b, "q").Alter(bg, &workqueue.QueueConfig{MaxBytes: c.max}))
		for range 5 {
			publishTTL(t, b, strings.Repeat("x", 100), 0)
		}
		require.Equal(t, c.want, ready(t, b, "q"), c.max)
	}
}

// Max 1: one is out, another comes, the first returns: both are there.
func TestARequeueIsNeverRefused(t *testing.T) {
	for _, o := range []workqueue.Overflow{workqueue.DropHead, workqueue.DropLowest, workqueue.RejectPublish, workqueue.RejectDeadLetter} {
		t.Run(string(o), func(t *testing.T) {
			_, b := open(t)
			declareWith(t, b, workqueue.QueueConfig{MaxLength: 1, Overflow: o})
			publishTTL(t, b, "1", 0)
			d := get(t, b, "q", "1")
			publishTTL(t, b, "2", 0)
			require.NoError(t, d.Nack(bg, true))
			require.Equal(t, []string{"1", "2"}, drain(t, b))
		})
	}
}

func TestAFullQueueLeavesTheOthersUntouched(t *testing.T) {
	_, b := open(t)
	require.NoError(t, b.DeclareExchange(bg, "x", workqueue.Fanout, nil))
	declareWith(t, b, workqueue.QueueConfig{MaxLength: 1, Overflow: workqueue.RejectPublish})
	declare(t, b, "a", "z")
	for _, q := range []string{"a", "q", "z"} {
		require.NoError(t, b.Bind(bg, workqueue.Binding{Exchange: "x", Queue: q}))
	}
	require.NoError(t, b.Publish(bg, "x", "", workqueue.Message{Body: big('1')}))
	require.ErrorIs(t, b.Publish(bg, "x", "", workqueue.Message{Body: big('2')}), workqueue.ErrQueueFull)
	for _, q := range []string{"a", "q", "z"} {
		require.Equal(t, 1, ready(t, b, q))
		take(t, b, q, big('1'))
	}
}

// A batch or transaction that is refused leaves what it would have dropped.
func TestARefusedTransactionDropsNothing(t *testing.T) {
	db, b := open(t)
	declare(t, b, "dead")
	declareWith(t, b, workqueue.QueueConfig{MaxLength: 3, DeadLetter: toDead})
	for i := range 3 {
		publishTTL(t, b, fmt.Sprint(i), 0)
	}
	for range 2 {
		err := db.Update(bg, func(tx *pebblemq.Tx) error {
			for i := range 5 { // drops all, and two of its own
				if err := b.In(tx).Publish("", "q", body(fmt.Sprint("new ", i))); err != nil {
					return err
				}
			}
			return b.In(tx).Publish("", "nowhere", workqueue.Message{Mandatory: true})
		})
		require.ErrorIs(t, err, workqueue.ErrUnroutable)
		require.Equal(t, 3, ready(t, b, "q"))
		require.Zero(t, ready(t, b, "dead"))
	}
	d := get(t, b, "q", "0")
	require.NoError(t, d.Nack(bg, true))
	require.Equal(t, []string{"0", "1", "2"}, drain(t, b))
}

// More at once than the queue holds: only the last are left, whether they are
// shown yet or not.
func TestABatchLargerThanTheQueueLeavesItsEnd(t *testing.T) {
	_, b := open(t)
	declareWith(t, b, workqueue.QueueConfig{MaxLength: 3})
	var batch []workqueue.Publishing
	for i := range 10 {
		batch = append(batch, workqueue.Publishing{Key: "q", Message: body(fmt.Sprint(i))})
	}
	require.NoError(t, b.PublishBatch(bg, "", batch))
	require.Equal(t, 3, ready(t, b, "q"))
	require.NoError(t, b.PublishBatch(bg, "", batch[:1]))
	n, err := queueOf(t, b, "q").Purge(bg)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.NoError(t, b.PublishBatch(bg, "", batch[4:]))
	require.Equal(t, []string{"7", "8", "9"}, drain(t, b))
}

// The head is far away on disk; it goes all the same, and after a crash the rest
// is there.
func TestTheHeadOfABacklogIsDroppedFromDisk(t *testing.T) {
	const n = 6000
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(storetest.NewFS(fs), store.Options{})
	require.NoError(t, err)
	b := openBroker(t, db)
	declareWith(t, b, workqueue.QueueConfig{MaxLength: n})
	publishMany := func(from int) {
		var batch []workqueue.Publishing
		for i := range n {
			batch = append(batch, workqueue.Publishing{Key: "q", Message: body(fmt.Sprint(from + i))})
		}
		require.NoError(t, b.PublishBatch(bg, "", batch))
		require.Equal(t, n, ready(t, b, "q"))
	}
	publishMany(0)
	storetest.Close(t, db)
	db, err = storetest.OpenFS(storetest.NewFS(fs), store.Options{}) // nothing is in memory
	require.NoError(t, err)
	b = openBroker(t, db)
	publishTTL(t, b, fmt.Sprint(n), 0)
	d := get(t, b, "q", "1")
	publishMany(n + 1)
	require.NoError(t, d.Nack(bg, true))
	require.NoError(t, b.Publish(bg, "", "q", body("last")))
	after := fs.CrashClone(vfs.CrashCloneCfg{})
	storetest.Close(t, db)

	db, err = storetest.OpenFS(storetest.NewFS(after), store.Options{})
	require.NoError(t, err)
	defer storetest.Close(t, db)
	got := drain(t, openBroker(t, db))
	require.Len(t, got, n)
	require.Equal(t, []string{fmt.Sprint(n + 2), "last"}, []string{got[0], got[n-1]})
}

func TestADelayedMessageMakesRoomWhenItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{MaxLength: 1})
		require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{Body: []byte("due"), Delay: time.Second}))
		publishTTL(t, b, "old", 0)
		pass(time.Second)
		require.Equal(t, []string{"due"}, drain(t, b))
	})
}

// Two full queues that are one another's dead letter place push no more than a few
// messages round, and then refuse.
func TestFullQueuesThatPushIntoOneAnother(t *testing.T) {
	_, b := open(t)
	declareWith(t, b, workqueue.QueueConfig{MaxLength: 20, DeadLetter: &workqueue.DeadLetter{Key: "other"}})
	declareQueue(t, b, "other", &workqueue.QueueConfig{MaxLength: 20, DeadLetter: &workqueue.DeadLetter{Key: "q"}})
	for i := range 40 {
		queue := []string{"q", "other"}[i%2]
		require.NoError(t, b.Publish(bg, "", queue, body(fmt.Sprint(i))))
	}
	require.ErrorIs(t, b.Publish(bg, "", "q", body("one more")), workqueue.ErrQueueFull)
	require.Equal(t, 20, ready(t, b, "q"))
	require.Equal(t, 20, ready(t, b, "other"))
	require.Len(t, drain(t, b), 20)
}

func TestBadLimitsAreRefused(t *testing.T) {
	_, b := open(t)
	for _, c := range []workqueue.QueueConfig{
		{MaxLength: -1}, {MaxLength: workqueue.MaxMaxLength + 1}, {MaxBytes: -1}, {Overflow: "drop-tail"},
	} {
		require.ErrorIs(t, errOf(b.DeclareQueue(bg, "q", &c)), pebblemq.ErrInvalid, "%+v", c)
	}
	declareWith(t, b, workqueue.QueueConfig{MaxLength: workqueue.MaxMaxLength, Overflow: workqueue.DropHead})
	declareWith(t, b, workqueue.QueueConfig{MaxLength: workqueue.MaxMaxLength})
	for _, c := range []workqueue.QueueConfig{
		{}, {MaxLength: 1}, {MaxLength: workqueue.MaxMaxLength, MaxBytes: 1}, {MaxLength: workqueue.MaxMaxLength, Overflow: workqueue.DropLowest},
	} {
		require.ErrorIs(t, errOf(b.DeclareQueue(bg, "q", &c)), pebblemq.ErrConfigMismatch, "%+v", c)
	}
}
