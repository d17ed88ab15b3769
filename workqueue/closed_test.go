package workqueue_test

import (
	"context"
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

// verbs calls everything that changes or shows the topology.
func verbs(ctx context.Context, b *workqueue.Broker, q *workqueue.Queue) map[string]error {
	to := workqueue.Binding{Exchange: "x", Queue: "q"}
	var browse error
	for _, browse = range q.Browse(ctx, nil) {
	}
	return map[string]error{
		"declare exchange":       b.DeclareExchange(ctx, "y", workqueue.Topic, nil),
		"declare queue":          errOf(b.DeclareQueue(ctx, "r", nil)),
		"declare new queue":      errOf(b.DeclareNewQueue(ctx, nil)),
		"delete exchange":        b.DeleteExchange(ctx, "x"),
		"delete unused exchange": b.DeleteUnusedExchange(ctx, "x"),
		"delete queue":           q.Delete(ctx),
		"delete queue if":        q.DeleteIf(ctx, workqueue.DeleteIf{Empty: true}),
		"delete exclusive":       b.DeleteExclusive(ctx),
		"alter exchange":         b.AlterExchange(ctx, "x", &workqueue.ExchangeConfig{Internal: true}),
		"alter queue":            q.Alter(ctx, &workqueue.QueueConfig{AutoDelete: true}),
		"bind":                   b.Bind(ctx, to),
		"unbind":                 b.Unbind(ctx, to),
		"bindings":               errOf(b.Bindings(ctx)),
		"exchanges":              errOf(b.Exchanges(ctx)),
		"exchange":               errOf(b.Exchange(ctx, "x")),
		"queues":                 errOf(b.Queues(ctx)),
		"queue":                  errOf(b.Queue(ctx, "q")),
		"info":                   errOf(b.Info(ctx)),
		"info of a queue":        errOf(q.Info(ctx)),
		"stats":                  errOf(q.Stats(ctx)),
		"export":                 errOf(b.Export(ctx)),
		"apply":                  errOf(b.Apply(ctx, &workqueue.Topology{Queues: []workqueue.QueueDefinition{{Name: "r"}}}, nil)),
		"publish":                b.Publish(ctx, "x", "", workqueue.Message{}),
		"publish batch":          b.PublishBatch(ctx, "x", make([]workqueue.Publishing, 2)),
		"browse":                 browse,
		"peek":                   errOf(q.Peek(ctx, "0.0")),
		"cancel":                 q.Cancel(ctx, "m"),
		"cancel at":              q.CancelAt(ctx, "0.0@1"),
		"redrive":                errOf(q.Redrive(ctx, nil)),
		"publish async":          errOf(b.PublishAsync(ctx, "x", "", workqueue.Message{}).Wait(bg)),
	}
}

func small(t *testing.T) (*pebblemq.DB, *workqueue.Broker, *workqueue.Queue) {
	db, b := open(t)
	exchange(t, b, workqueue.Fanout, "x")
	return db, b, declareQueue(t, b, "q", nil)
}

func TestTheTopologyAfterClose(t *testing.T) {
	db, b, q := small(t)
	require.NoError(t, db.Close())
	for verb, err := range verbs(bg, b, q) {
		require.ErrorIs(t, err, pebblemq.ErrClosed, verb)
	}
}

func TestTheTopologyWhenItsContextHasEnded(t *testing.T) {
	_, b, q := small(t)
	before := export(t, b)
	ctx, cancel := context.WithCancel(bg)
	cancel()
	for verb, err := range verbs(ctx, b, q) {
		require.ErrorIs(t, err, context.Canceled, verb)
	}
	require.Equal(t, before, export(t, b))
	require.Zero(t, ready(t, b, "q"))
}
