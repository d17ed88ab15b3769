package workqueue_test

import (
	"context"
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

// verbs calls everything that changes or shows the topology.
func verbs(ctx context.Context, b *workqueue.Broker) map[string]error {
	to := workqueue.Binding{Exchange: "x", Queue: "q"}
	second := func(_ any, err error) error { return err }
	_, _, kind := b.Exchange(ctx, "x")
	var browse error
	for _, browse = range b.Browse(ctx, "q", nil) {
	}
	return map[string]error{
		"declare exchange":       b.DeclareExchange(ctx, "y", workqueue.Topic, nil),
		"declare queue":          b.DeclareQueue(ctx, "r", nil),
		"declare new queue":      second(b.DeclareNewQueue(ctx, nil)),
		"delete exchange":        b.DeleteExchange(ctx, "x"),
		"delete unused exchange": b.DeleteUnusedExchange(ctx, "x"),
		"delete queue":           b.DeleteQueue(ctx, "q"),
		"delete queue if":        b.DeleteQueueIf(ctx, "q", workqueue.DeleteIf{Empty: true}),
		"delete exclusive":       b.DeleteExclusive(ctx),
		"alter exchange":         b.AlterExchange(ctx, "x", &workqueue.ExchangeConfig{Internal: true}),
		"alter queue":            b.AlterQueue(ctx, "q", &workqueue.QueueConfig{AutoDelete: true}),
		"bind":                   b.Bind(ctx, to),
		"unbind":                 b.Unbind(ctx, to),
		"bindings":               second(b.Bindings(ctx)),
		"exchanges":              second(b.Exchanges(ctx)),
		"exchange":               kind,
		"queues":                 second(b.Queues(ctx)),
		"queue":                  second(b.Queue(ctx, "q")),
		"unrouted":               second(b.Unrouted(ctx)),
		"export":                 second(b.Export(ctx)),
		"import":                 b.Import(ctx, &workqueue.Topology{Queues: []workqueue.QueueDefinition{{Name: "r"}}}),
		"publish":                b.Publish(ctx, "x", "", workqueue.Message{}),
		"publish batch":          b.PublishBatch(ctx, "x", make([]workqueue.Publishing, 2)),
		"browse":                 browse,
		"peek":                   second(b.Peek(ctx, "q", "0.0")),
		"cancel":                 b.Cancel(ctx, "q", "m"),
		"cancel at":              b.CancelAt(ctx, "q", "0.0@1"),
		"redrive":                second(b.Redrive(ctx, "q", nil)),
		"publish async":          b.PublishAsync(ctx, "x", "", workqueue.Message{}).Err(),
	}
}

func small(t *testing.T) (*pebblemq.DB, *workqueue.Broker) {
	db, b := open(t)
	exchange(t, b, workqueue.Fanout, "x")
	declare(t, b, "q")
	return db, b
}

func TestTheTopologyAfterClose(t *testing.T) {
	db, b := small(t)
	require.NoError(t, db.Close())
	for verb, err := range verbs(bg, b) {
		require.ErrorIs(t, err, pebblemq.ErrClosed, verb)
	}
}

func TestTheTopologyWhenItsContextHasEnded(t *testing.T) {
	_, b := small(t)
	before := export(t, b)
	ctx, cancel := context.WithCancel(bg)
	cancel()
	for verb, err := range verbs(ctx, b) {
		require.ErrorIs(t, err, context.Canceled, verb)
	}
	require.Equal(t, before, export(t, b))
	require.Zero(t, ready(t, b, "q"))
}
