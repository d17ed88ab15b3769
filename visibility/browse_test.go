package visibility_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

// browse returns what is in a queue, each as "state body".
func browse(t require.TestingT, q *visibility.Queue, o *visibility.BrowseOptions) (all []*visibility.Browsed, texts []string) {
	texts = []string{}
	for m, err := range q.Browse(ctx, o) {
		require.NoError(t, err)
		all = append(all, m)
		texts = append(texts, fmt.Sprintf("%s %s", m.State, m.Body))
	}
	return all, texts
}

func TestBrowseShowsWhatIsThereAndReceivesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		now := time.Now()
		for i, m := range []visibility.Message{
			{ID: "1", Body: []byte("out"), Attributes: map[string]visibility.Attribute{"a": visibility.StringAttribute("v")}},
			{ID: "2", Body: []byte("later"), Delay: 2 * time.Hour},
			{ID: "3", Body: []byte("waits"), Group: "g"},
			{ID: "4", Body: []byte("soon"), Delay: time.Hour},
		} {
			_, err := q.Send(ctx, m)
			require.NoError(t, err, i)
		}
		out := one(t, q)
		before := stats(t, q)
		all, texts := browse(t, q, nil)
		require.Equal(t, []string{"in flight out", "visible waits", "delayed soon", "delayed later"}, texts)
		require.Equal(t, 1, all[0].ReceiveCount)
		require.Equal(t, "v", string(all[0].Attributes["a"].Value))
		require.Equal(t, out.Sequence, all[0].Sequence)
		require.True(t, out.VisibleAt.Equal(all[0].VisibleAt))
		require.True(t, out.FirstReceivedAt.Equal(all[0].FirstReceivedAt))
		require.True(t, out.SentAt.Equal(all[0].SentAt))
		require.Equal(t, "g", all[1].Group)
		require.True(t, all[1].VisibleAt.IsZero() && all[1].FirstReceivedAt.IsZero())
		require.True(t, now.Add(2*time.Hour).Equal(all[3].VisibleAt))

		for state, want := range map[visibility.MessageState][]string{
			visibility.InFlight: texts[:1], visibility.Visible: texts[1:2], visibility.Delayed: texts[2:],
		} {
			_, got := browse(t, q, &visibility.BrowseOptions{State: state})
			require.Equal(t, want, got)
		}
		for i, m := range all {
			_, rest := browse(t, q, &visibility.BrowseOptions{After: m.Position})
			require.Equal(t, texts[i+1:], rest, "page by page")
			seen, err := q.Peek(ctx, m.Position)
			require.NoError(t, err)
			require.Equal(t, m, seen)
			seen, err = q.Find(ctx, m.ID)
			require.NoError(t, err)
			require.Equal(t, m, seen)
		}
		require.Equal(t, before, stats(t, q))
		<-time.After(time.Minute)
		synctest.Wait()
		_, texts = browse(t, q, nil)
		require.Equal(t, "visible out", texts[0])
		again := one(t, q)
		require.Equal(t, 2, again.ReceiveCount, "looking is no receive")
		require.NoError(t, q.Delete(ctx, again.Receipt))
		_, err := q.Peek(ctx, all[0].Position)
		require.ErrorIs(t, err, visibility.ErrUnknownMessage)
		_, err = q.Find(ctx, "1")
		require.ErrorIs(t, err, visibility.ErrUnknownMessage)
	})
}

// TestBrowseOfAFIFOQueue has messages step aside, to memory and to the disk, because
// their group is blocked.
func TestBrowseOfAFIFOQueue(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		const n = 3000
		q := open(t, db, "q", &visibility.QueueConfig{FIFO: true})
		batch := make([]visibility.Message, n)
		for i := range batch {
			batch[i] = visibility.Message{Body: fmt.Append(nil, i), Group: "a", DedupeID: fmt.Sprint(i)}
		}
		batch[n-1].Group = "b"
		_, err := q.SendBatch(ctx, batch, nil)
		require.NoError(t, err)
		require.Equal(t, []string{"0"}, bodies(receive(t, q, 1)))
		require.Equal(t, []string{fmt.Sprint(n - 1)}, bodies(receive(t, q, 1)), "the rest has stepped aside")
		_, texts := browse(t, q, nil)
		require.Len(t, texts, n)
		for i, text := range texts {
			state := visibility.Visible
			if i == 0 || i == n-1 {
				state = visibility.InFlight
			}
			require.Equal(t, fmt.Sprintf("%s %d", state, i), text)
		}
	})
}

func TestBrowseAfterARestartKnowsWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		q := d.queue("q", nil)
		send(t, q, "a", "b", "c")
		receive(t, q, 2)
		d.reopen()
		q = d.queue("q", nil)
		_, texts := browse(t, q, nil)
		require.Equal(t, []string{"in flight a", "in flight b", "visible c"}, texts)
		d.reopen()
		<-time.After(time.Minute)
		q = d.queue("q", nil)
		_, texts = browse(t, q, nil)
		require.Equal(t, []string{"visible a", "visible b", "visible c"}, texts)
	})
}

func TestADelayedMessageIsCancelled(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		delayed := func(id string) string {
			id, err := q.Send(ctx, visibility.Message{ID: id, Body: []byte("x"), Delay: time.Hour})
			require.NoError(t, err)
			return id
		}
		made, named, other := delayed(""), delayed("reminder"), delayed("other")
		require.NoError(t, q.Cancel(ctx, made))
		require.ErrorIs(t, q.Cancel(ctx, made), visibility.ErrUnknownMessage)
		require.ErrorIs(t, q.Cancel(ctx, ""), pebblemq.ErrInvalid)
		require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
			require.NoError(t, q.In(tx).Cancel(named))
			return q.In(tx).Cancel(made)
		}), visibility.ErrUnknownMessage)
		counts(t, q, 0, 0, 2)
		require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) error { return q.In(tx).Cancel(named) }))
		counts(t, q, 0, 0, 1)
		<-time.After(time.Hour)
		synctest.Wait()
		require.ErrorIs(t, q.Cancel(ctx, other), visibility.ErrUnknownMessage, "it is due")
		require.Equal(t, other, one(t, q).ID)
	})
}

func TestBrowseRefusesWhatIsBad(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "a")
		for name, o := range map[string]*visibility.BrowseOptions{"state": {State: "lost"}, "position": {After: "7"}} {
			for m, err := range q.Browse(ctx, o) {
				require.Nil(t, m)
				require.ErrorIs(t, err, pebblemq.ErrInvalid, name)
			}
		}
		_, err := q.Peek(ctx, "x")
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		_, err = q.Find(ctx, "")
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		ended, cancel := context.WithCancel(ctx)
		cancel()
		for _, err := range q.Browse(ended, nil) {
			require.ErrorIs(t, err, context.Canceled)
		}
		require.NoError(t, deleteQueue(db, "q"))
		for _, err := range q.Browse(ctx, nil) {
			require.ErrorIs(t, err, visibility.ErrQueueDeleted)
		}
		_, err = q.Peek(ctx, "0.0")
		require.ErrorIs(t, err, visibility.ErrQueueDeleted)
		require.ErrorIs(t, q.Cancel(ctx, "a"), visibility.ErrQueueDeleted)
	})
}
