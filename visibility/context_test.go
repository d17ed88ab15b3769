package visibility_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/visibility"
)

// contextVerbs returns every verb that takes a context, ready to be called once on db.
func contextVerbs(t testing.TB, db *pebblemq.DB) storetest.Verbs {
	t.Helper()
	open(t, db, "to", nil)
	gone := open(t, db, "gone", nil)
	q := open(t, db, "q", nil)
	message := visibility.Message{Body: []byte("x")}
	later := message
	later.ID, later.Delay = "later", time.Hour
	_, err := q.Send(ctx, later)
	require.NoError(t, err)
	send(t, q, "1", "2", "3", "4", "5")
	out := receive(t, q, 5)
	_, err = q.Send(ctx, visibility.Message{ID: "here", Body: []byte("x")})
	require.NoError(t, err)
	redrive, err := open(t, db, "moved", nil).Redrive(ctx, &visibility.RedriveOptions{To: "to"})
	require.NoError(t, err)
	_, err = redrive.Wait(ctx)
	require.NoError(t, err)
	handle := func(context.Context, *visibility.Received) error { return nil }
	handleAll := func(context.Context, []*visibility.Received) error { return nil }
	sendAsync := func(ctx context.Context) error {
		f := q.SendAsync(ctx, message)
		select {
		case <-f.Done():
			_, err := f.Wait(ctx)
			return err
		default:
			return nil // the wait has a context of its own
		}
	}
	typed := visibility.Typed(q, pebblemq.JSON[order]())
	handleTyped := func(context.Context, order, *visibility.Received) error { return nil }
	handleAllTyped := func(context.Context, []order, []*visibility.Received) error { return nil }
	return storetest.Verbs{
		"EnsureQueue":                 {visibility.EnsureQueue, db, "ensured", nil},
		"LookupQueue":                 {visibility.LookupQueue, db, "q"},
		"OpenQueue":                   {visibility.OpenQueue, db, "opened", nil},
		"Queues":                      {visibility.Queues, db},
		"Queue.Alter":                 {q.Alter, nil},
		"Queue.DeleteQueue":           {gone.DeleteQueue},
		"Queue.Browse":                {q.Browse, nil},
		"Queue.Cancel":                {q.Cancel, "later"},
		"Queue.ChangeVisibility":      {q.ChangeVisibility, out[0].Receipt, time.Second},
		"Queue.ChangeVisibilityBatch": {q.ChangeVisibilityBatch, []visibility.VisibilityChange{{Receipt: out[1].Receipt}}, nil},
		"Queue.Delete":                {q.Delete, out[2].Receipt},
		"Queue.DeleteBatch":           {q.DeleteBatch, []visibility.Receipt{out[3].Receipt}, nil},
		"Queue.Find":                  {q.Find, "here"},
		"Queue.Info":                  {q.Info},
		"Queue.Peek":                  {q.Peek, position(t, q)},
		"Queue.Purge":                 {q.Purge},
		"Queue.Receive":               {q.Receive, nil},
		"Queue.Redrive":               {q.Redrive, &visibility.RedriveOptions{To: "to"}},
		"Queue.Redrives":              {q.Redrives},
		"Queue.Release":               {q.Release, out[4].Receipt, time.Minute},
		"Queue.Run":                   {q.Run, visibility.Handler(handle), nil},
		"Queue.RunBatch":              {q.RunBatch, handleAll, nil},
		"Queue.Send":                  {q.Send, message},
		"Queue.SendAsync":             {sendAsync},
		"Queue.SendBatch":             {q.SendBatch, []visibility.Message{message}, nil},
		"Queue.Stats":                 {q.Stats},
		"Redrive.Cancel":              {redrive.Cancel},
		"Redrive.Wait":                {redrive.Wait},
		"TypedQueue.Receive":          {typed.Receive, nil},
		"TypedQueue.Run":              {typed.Run, handleTyped, nil},
		"TypedQueue.RunBatch":         {typed.RunBatch, handleAllTyped, nil},
		"TypedQueue.Send":             {typed.Send, order{}, nil},
	}
}

// position returns where the first message of a queue stands.
func position(t testing.TB, q *visibility.Queue) visibility.Position {
	t.Helper()
	for m, err := range q.Browse(ctx, nil) {
		require.NoError(t, err)
		return m.Position
	}
	t.Fatal("the queue is empty")
	return ""
}

func TestEveryVerbRefusesANilContext(t *testing.T) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	contextVerbs(t, db).RefuseNilContext(t)
	require.NoError(t, db.Close(), "nothing was left open")
}

func TestEveryVerbEndsWithItsContextOnAFrozenDisk(t *testing.T) {
	storetest.RequireEnd(t, contextVerbs)
}
