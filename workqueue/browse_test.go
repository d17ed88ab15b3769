package workqueue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// browse returns what is in queue q, each as "state body".
func browse(t testing.TB, b *workqueue.Broker, o *workqueue.BrowseOptions) (all []*workqueue.Browsed, texts []string) {
	t.Helper()
	texts = []string{}
	for m, err := range queueOf(t, b, "q").Browse(bg, o) {
		require.NoError(t, err)
		all = append(all, m)
		texts = append(texts, fmt.Sprintf("%s %s", m.State, m.Body))
	}
	return all, texts
}

func TestBrowseShowsWhatIsThereAndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "dead", "cc")
		declareWith(t, b, workqueue.QueueConfig{MaxPriority: 5, DeadLetter: toDead})
		now := time.Now()
		for _, m := range []workqueue.Message{
			{Body: []byte("low"), MessageID: "1", TTL: time.Hour},
			{Body: []byte("later"), MessageID: "2", Delay: 2 * time.Hour, TTL: time.Minute, Priority: 3},
			{Body: []byte("out"), MessageID: "3", Priority: 9, Headers: map[string]string{"h": "v"}, CC: []string{"cc"}},
			{Body: []byte("soon"), MessageID: "4", Delay: time.Hour, Priority: 3},
			{Body: []byte("high"), MessageID: "5", Priority: 4},
		} {
			require.NoError(t, b.Publish(bg, "", "q", m))
		}
		out := get(t, b, "q", "out")
		before, err := queueOf(t, b, "q").Stats(bg)
		require.NoError(t, err)

		all, texts := browse(t, b, nil)
		require.Equal(t, []string{"unacked out", "ready high", "ready low", "delayed soon", "delayed later"}, texts)
		require.Equal(t, 1, all[0].DeliveryCount)
		require.Equal(t, "v", all[0].Headers["h"])
		require.Equal(t, []string{"cc"}, all[0].CC)
		require.Equal(t, "q", all[0].RoutingKey)
		require.EqualValues(t, 9, all[0].Priority)
		require.True(t, now.Add(time.Hour).Equal(all[2].Expires))
		require.True(t, all[1].Expires.IsZero())
		require.True(t, now.Add(2*time.Hour).Equal(all[4].Due))
		require.True(t, now.Add(2*time.Hour+time.Minute).Equal(all[4].Expires))

		for state, want := range map[workqueue.MessageState][]string{
			workqueue.Ready: texts[1:3], workqueue.Unacked: texts[:1], workqueue.Delayed: texts[3:],
		} {
			_, got := browse(t, b, &workqueue.BrowseOptions{State: state})
			require.Equal(t, want, got)
		}
		for i, m := range all {
			_, rest := browse(t, b, &workqueue.BrowseOptions{After: m.Position})
			require.Equal(t, texts[i+1:], rest, "page by page")
			_, same := browse(t, b, &workqueue.BrowseOptions{MessageID: m.MessageID})
			require.Equal(t, texts[i:i+1], same, "by id")
			seen, err := queueOf(t, b, "q").Peek(bg, m.Position)
			require.NoError(t, err)
			require.Equal(t, m, seen)
			m.Body[0] = 'X' // which is ours
		}
		after, err := queueOf(t, b, "q").Stats(bg)
		require.NoError(t, err)
		require.Equal(t, before, after)

		require.NoError(t, out.Nack(bg, true))
		_, texts = browse(t, b, nil)
		require.Equal(t, "ready out", texts[0], "redelivered, at its place")
		d := get(t, b, "q", "out")
		require.Equal(t, 2, d.DeliveryCount, "looking is no delivery")
		require.NoError(t, d.Reject(bg))
		for m, err := range queueOf(t, b, "dead").Browse(bg, nil) {
			require.NoError(t, err)
			require.Equal(t, "q", m.Deaths[0].Queue)
			require.Equal(t, workqueue.ReasonRejected, m.Deaths[0].Reason)
		}
		_, err = queueOf(t, b, "q").Peek(bg, all[0].Position)
		require.ErrorIs(t, err, workqueue.ErrUnknownMessage, "it is gone")
	})
}

func TestBrowseReadsSharedBodies(t *testing.T) {
	_, b := open(t)
	fanOut(t, b, 3)
	require.NoError(t, b.Publish(bg, "all", "", workqueue.Message{Body: big('a')}))
	require.NoError(t, b.Publish(bg, "all", "", workqueue.Message{Body: big('b'), Delay: time.Hour}))
	var bodies [][]byte
	for m, err := range queueOf(t, b, "1").Browse(bg, nil) {
		require.NoError(t, err)
		bodies = append(bodies, m.Body)
		if len(bodies) == 1 {
			_, err := queueOf(t, b, "1").Purge(bg)
			require.NoError(t, err)
		}
	}
	require.Equal(t, [][]byte{big('a'), big('b')}, bodies)
}

// TestBrowseOfAQueueInUse has consumers at work on a queue that is longer than what is
// in memory: each message is seen at most once, and those that stay are seen.
func TestBrowseOfAQueueInUse(t *testing.T) {
	const n = 6000
	_, b := open(t)
	declare(t, b, "q")
	batch := make([]workqueue.Publishing, n)
	for i := range batch {
		batch[i] = workqueue.Publishing{Key: "q", Message: body(fmt.Sprint(i))}
	}
	require.NoError(t, b.PublishBatch(bg, "", batch))
	ctx, stop := context.WithCancel(bg)
	done := make(chan error, 1)
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			d, ok, err := queueOf(t, b, "q").Get(bg)
			if err == nil && ok {
				err = errors.Join(d.Ack(bg), b.Publish(bg, "", "q", body(fmt.Sprint("new", i))))
			}
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	seen := map[string]bool{}
	for m, err := range queueOf(t, b, "q").Browse(bg, nil) {
		require.NoError(t, err)
		require.False(t, seen[string(m.Body)], "%s twice", m.Body)
		seen[string(m.Body)] = true
	}
	stop()
	require.NoError(t, <-done)
	_, left := browse(t, b, nil)
	for _, text := range left {
		if body := strings.Fields(text)[1]; !strings.HasPrefix(body, "new") {
			require.True(t, seen[body], "%s is there and was not seen", body)
		}
	}
}

func TestBrowseRefusesWhatIsBad(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	for name, o := range map[string]*workqueue.BrowseOptions{"state": {State: "lost"}, "position": {After: "7"}} {
		for m, err := range queueOf(t, b, "q").Browse(bg, o) {
			require.Nil(t, m)
			require.ErrorIs(t, err, pebblemq.ErrInvalid, name)
		}
	}
	_, err := queueOf(t, b, "q").Peek(bg, "x")
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	_, err = queueOf(t, b, "q").Peek(bg, "9.0")
	require.ErrorIs(t, err, workqueue.ErrUnknownMessage)

	for i := range 600 { // more than a chunk
		publish(t, b, "q", fmt.Sprint(i))
	}
	var last error
	n := 0
	q := queueOf(t, b, "q")
	for _, err := range q.Browse(bg, nil) {
		if n++; n == 1 {
			require.NoError(t, q.Delete(bg))
		}
		last = err
	}
	require.ErrorIs(t, last, workqueue.ErrQueueDeleted)
	ctx, cancel := context.WithCancel(bg)
	cancel()
	for _, err := range q.Browse(ctx, nil) {
		require.ErrorIs(t, err, context.Canceled)
	}
}

func TestADelayedMessageIsCancelledByID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, b := open(t)
		declare(t, b, "q")
		for _, id := range []string{"a", "b", "", "b", "c"} {
			require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{MessageID: id, Body: []byte(id + "!"), Delay: time.Hour}))
		}
		require.ErrorIs(t, queueOf(t, b, "q").Cancel(bg, "x"), workqueue.ErrUnknownMessage)
		require.ErrorIs(t, queueOf(t, b, "q").Cancel(bg, ""), pebblemq.ErrInvalid)
		require.NoError(t, queueOf(t, b, "q").Cancel(bg, "b"))
		require.ErrorIs(t, queueOf(t, b, "q").Cancel(bg, "b"), workqueue.ErrUnknownMessage)
		all, texts := browse(t, b, nil)
		require.Equal(t, []string{"delayed a!", "delayed !", "delayed c!"}, texts)

		require.NoError(t, queueOf(t, b, "q").CancelAt(bg, all[1].Position), "which has no id")
		require.ErrorIs(t, queueOf(t, b, "q").CancelAt(bg, all[1].Position), workqueue.ErrUnknownMessage)
		require.ErrorIs(t, queueOf(t, b, "q").CancelAt(bg, "?"), pebblemq.ErrInvalid)

		// Along with the application's state, or not at all.
		require.ErrorIs(t, db.Update(bg, func(tx *pebblemq.Tx) error {
			require.NoError(t, queueOf(t, b, "q").In(tx).Cancel("a"))
			return queueOf(t, b, "q").In(tx).CancelAt(all[1].Position)
		}), workqueue.ErrUnknownMessage)
		require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error {
			require.NoError(t, tx.Set([]byte("a"), []byte("cancelled")))
			return queueOf(t, b, "q").In(tx).Cancel("a")
		}))
		_, texts = browse(t, b, nil)
		require.Equal(t, []string{"delayed c!"}, texts)
		pass(time.Hour)
		require.ErrorIs(t, queueOf(t, b, "q").Cancel(bg, "c"), workqueue.ErrUnknownMessage, "it is due")
		require.NoError(t, get(t, b, "q", "c!").Ack(bg))
		st, err := queueOf(t, b, "q").Stats(bg)
		require.NoError(t, err)
		require.Equal(t, workqueue.QueueStats{}, st)
	})
}

func TestCancellingFreesASharedBody(t *testing.T) {
	db, b := open(t)
	fanOut(t, b, 2)
	m := workqueue.Message{MessageID: "m", Body: big('a'), Delay: time.Hour}
	require.NoError(t, b.Publish(bg, "all", "", m))
	require.Equal(t, 1, payloads(t, db))
	require.ErrorIs(t, db.Update(bg, func(tx *pebblemq.Tx) error { // undone
		require.NoError(t, queueOf(t, b, "0").In(tx).Cancel("m"))
		return queueOf(t, b, "0").In(tx).Cancel("another")
	}), workqueue.ErrUnknownMessage)
	require.NoError(t, queueOf(t, b, "0").Cancel(bg, "m"))
	for m, err := range queueOf(t, b, "1").Browse(bg, nil) {
		require.NoError(t, err)
		require.Equal(t, big('a'), m.Body, "the other copy")
	}
	require.NoError(t, queueOf(t, b, "1").Cancel(bg, "m"))
	for _, q := range []string{"0", "1"} {
		st, err := queueOf(t, b, q).Stats(bg)
		require.NoError(t, err)
		require.Zero(t, st.Delayed+st.Bytes)
	}
}

// TestCancelOfMoreThanATurnTakes has one id repeated.
func TestCancelOfMoreThanATurnTakes(t *testing.T) {
	db, b := open(t)
	declare(t, b, "q")
	for _, n := range []int{1023, 1024, 1025} {
		batch := make([]workqueue.Publishing, n)
		for i := range batch {
			batch[i] = workqueue.Publishing{Key: "q", Message: workqueue.Message{MessageID: "m", Delay: time.Hour}}
		}
		require.NoError(t, b.PublishBatch(bg, "", batch))
		err := db.Update(bg, func(tx *pebblemq.Tx) error { return queueOf(t, b, "q").In(tx).Cancel("m") })
		if n == 1023 {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, pebblemq.ErrTooLarge)
			require.NoError(t, queueOf(t, b, "q").Cancel(bg, "m"))
		}
		_, left := browse(t, b, nil)
		require.Empty(t, left)
	}
}

func TestAMessageIsFoundByItsID(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	q := queueOf(t, b, "q")
	for id, delay := range map[string]time.Duration{"now": 0, "later": time.Hour} {
		require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{MessageID: id, Delay: delay}))
	}
	for id, state := range map[string]workqueue.MessageState{"now": workqueue.Ready, "later": workqueue.Delayed} {
		m, err := q.Find(bg, id)
		require.NoError(t, err)
		require.Equal(t, id, m.MessageID)
		require.Equal(t, state, m.State)
	}
	_, err := q.Find(bg, "never")
	require.ErrorIs(t, err, workqueue.ErrUnknownMessage)
	require.ErrorContains(t, err, `queue "q"`)
	_, err = q.Find(bg, "")
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
}
