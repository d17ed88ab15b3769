package workqueue_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// contextVerbs returns every verb that takes a context, ready to be called once on db.
func contextVerbs(t testing.TB, db *pebblemq.DB) storetest.Verbs {
	t.Helper()
	b := openBroker(t, db)
	dying(t, b, "q")
	declare(t, b, "in", "copy", "out", "gone", "gone too", "replies", "browsed", "work")
	require.NoError(t, b.DeclareExchange(bg, "x", workqueue.Topic, nil))
	require.NoError(t, b.DeclareExchange(bg, "gone", workqueue.Fanout, nil))
	require.NoError(t, b.PutJob(bg, hourly))
	message := workqueue.Message{Body: []byte("x")}
	bury(t, b, "q", "dead")
	for _, id := range []string{"1", "2"} {
		require.NoError(t, b.Publish(bg, "", "browsed", workqueue.Message{MessageID: id, Delay: time.Hour}))
	}
	var at workqueue.Position
	for m, err := range b.Browse(bg, "browsed", nil) {
		require.NoError(t, err)
		at = m.Position
	}
	out := func() *workqueue.Delivery {
		require.NoError(t, b.Publish(bg, "", "out", workqueue.Message{ReplyTo: "replies"}))
		d, ok, err := b.Get(bg, "out")
		require.NoError(t, err)
		require.True(t, ok)
		return d
	}
	publish(t, b, "in", "1", "2")
	publish(t, b, "work", "1", "2")
	c, all := consume(t, b, "in", 1), consume(t, b, "in", 1)
	caller := newCaller(t, b)
	topology, err := b.Export(bg)
	require.NoError(t, err)
	binding := workqueue.Binding{Exchange: "x", Queue: "q", Key: "k"}
	publishAsync := func(ctx context.Context) error {
		c := b.PublishAsync(ctx, "", "q", message)
		select {
		case <-c.Done():
			return c.Err()
		default:
			return nil // the outcome has no context
		}
	}
	return storetest.Verbs{
		"Broker.AlterExchange":        {b.AlterExchange, "x", nil},
		"Broker.AlterQueue":           {b.AlterQueue, "q", nil},
		"Broker.Bind":                 {b.Bind, binding},
		"Broker.Bindings":             {b.Bindings},
		"Broker.Browse":               {b.Browse, "browsed", nil},
		"Broker.Cancel":               {b.Cancel, "browsed", "1"},
		"Broker.CancelAt":             {b.CancelAt, "browsed", at},
		"Broker.Consume":              {b.Consume, "q", nil},
		"Broker.DeclareExchange":      {b.DeclareExchange, "new", workqueue.Fanout, nil},
		"Broker.DeclareNewQueue":      {b.DeclareNewQueue, nil},
		"Broker.DeclareQueue":         {b.DeclareQueue, "new", nil},
		"Broker.DeleteExchange":       {b.DeleteExchange, "gone"},
		"Broker.DeleteExclusive":      {b.DeleteExclusive},
		"Broker.DeleteJob":            {b.DeleteJob, "report"},
		"Broker.DeleteQueue":          {b.DeleteQueue, "gone"},
		"Broker.DeleteQueueIf":        {b.DeleteQueueIf, "gone too", workqueue.DeleteIf{}},
		"Broker.DeleteUnusedExchange": {b.DeleteUnusedExchange, "gone"},
		"Broker.Exchange":             {b.Exchange, "x"},
		"Broker.Exchanges":            {b.Exchanges},
		"Broker.Export":               {b.Export},
		"Broker.Get":                  {b.Get, "dead"},
		"Broker.Import":               {b.Import, topology},
		"Broker.Jobs":                 {b.Jobs},
		"Broker.NewCaller":            {b.NewCaller},
		"Broker.PauseQueue":           {b.PauseQueue, "q"},
		"Broker.Peek":                 {b.Peek, "browsed", at},
		"Broker.Publish":              {b.Publish, "", "q", message},
		"Broker.PublishAsync":         {publishAsync},
		"Broker.PublishBatch":         {b.PublishBatch, "", []workqueue.Publishing{{Key: "q", Message: message}}},
		"Broker.Purge":                {b.Purge, "dead"},
		"Broker.PutJob":               {b.PutJob, scheduled(every(time.Hour))},
		"Broker.Queue":                {b.Queue, "q"},
		"Broker.QueueStats":           {b.QueueStats, "q"},
		"Broker.QueueTotals":          {b.QueueTotals, "q"},
		"Broker.Queues":               {b.Queues},
		"Broker.Redrive":              {b.Redrive, "dead", nil},
		"Broker.ResumeQueue":          {b.ResumeQueue, "q"},
		"Broker.Run":                  {b.Run, "work", workqueue.Handler(nop), nil},
		"Broker.Unbind":               {b.Unbind, binding},
		"Broker.Unrouted":             {b.Unrouted},
		"Caller.Call":                 {caller.Call, "", "q", message, nil},
		"Consumer.All":                {all.All},
		"Consumer.Next":               {c.Next},
		"Delivery.Ack":                {out().Ack},
		"Delivery.AckUpTo":            {out().AckUpTo},
		"Delivery.Extend":             {out().Extend},
		"Delivery.Nack":               {out().Nack, true},
		"Delivery.NackUpTo":           {out().NackUpTo, true},
		"Delivery.Reject":             {out().Reject},
		"Delivery.Reply":              {out().Reply, message},
		"Delivery.Report":             {out().Report, message},
		"Delivery.Requeue":            {out().Requeue, workqueue.Requeue{}},
		"Delivery.Return":             {out().Return},
	}
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
