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
	for m, err := range queueOf(t, b, "browsed").Browse(bg, nil) {
		require.NoError(t, err)
		at = m.Position
	}
	out := func() *workqueue.Delivery {
		require.NoError(t, b.Publish(bg, "", "out", workqueue.Message{ReplyTo: "replies"}))
		d, ok, err := queueOf(t, b, "out").Get(bg)
		require.NoError(t, err)
		require.True(t, ok)
		return d
	}
	publish(t, b, "in", "1", "2", "3")
	publish(t, b, "work", "1", "2")
	c, all, fetched := consume(t, b, "in", 1), consume(t, b, "in", 1), consume(t, b, "in", 1)
	caller := newCaller(t, b)
	topology, err := b.Export(bg)
	require.NoError(t, err)
	binding := workqueue.Binding{Exchange: "x", Queue: "q", Key: "k"}
	publishAsync := func(ctx context.Context) error {
		c := b.PublishAsync(ctx, "", "q", message)
		select {
		case <-c.Done():
			return errOf(c.Wait(bg))
		default:
			return nil // the outcome has no context
		}
	}
	old, err := queueOf(t, b, "copy").Redrive(bg, nil)
	require.NoError(t, err)
	return storetest.Verbs{
		"Brokers":                     {workqueue.Brokers, db},
		"LookupBroker":                {workqueue.LookupBroker, db, "main"},
		"OpenBroker":                  {workqueue.OpenBroker, db, "new"},
		"Broker.AlterExchange":        {b.AlterExchange, "x", nil},
		"Broker.Bind":                 {b.Bind, binding},
		"Broker.Bindings":             {b.Bindings},
		"Broker.DeclareExchange":      {b.DeclareExchange, "new", workqueue.Fanout, nil},
		"Broker.DeclareNewQueue":      {b.DeclareNewQueue, nil},
		"Broker.DeclareQueue":         {b.DeclareQueue, "new", nil},
		"Broker.EnsureQueue":          {b.EnsureQueue, "ensured", nil},
		"Broker.EnsureExchange":       {b.EnsureExchange, "ensured", workqueue.Fanout, nil},
		"Broker.DeleteExchange":       {b.DeleteExchange, "gone"},
		"Broker.DeleteExclusive":      {b.DeleteExclusive},
		"Broker.DeleteJob":            {b.DeleteJob, "report"},
		"Broker.DeleteUnusedExchange": {b.DeleteUnusedExchange, "gone"},
		"Broker.Exchange":             {b.Exchange, "x"},
		"Broker.Exchanges":            {b.Exchanges},
		"Broker.Export":               {b.Export},
		"Broker.Apply":                {b.Apply, topology, nil},
		"Broker.Jobs":                 {b.Jobs},
		"Broker.NewCaller":            {b.NewCaller},
		"Broker.Publish":              {b.Publish, "", "q", message},
		"Broker.PublishAsync":         {publishAsync},
		"Broker.PublishBatch":         {b.PublishBatch, "", []workqueue.Publishing{{Key: "q", Message: message}}},
		"Broker.PutJob":               {b.PutJob, scheduled(every(time.Hour))},
		"Broker.Queue":                {b.Queue, "q"},
		"Broker.Queues":               {b.Queues},
		"Broker.Unbind":               {b.Unbind, binding},
		"Broker.Info":                 {b.Info},
		"Caller.Call":                 {caller.Call, "", "q", message, nil},
		"Consumer.Deliveries":         {all.Deliveries},
		"Consumer.Fetch":              {fetched.Fetch, 10},
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
		"Delivery.Release":            {out().Release, time.Duration(0)},
		"Queue.Alter":                 {queueOf(t, b, "q").Alter, nil},
		"Queue.Browse":                {queueOf(t, b, "browsed").Browse, nil},
		"Queue.Cancel":                {queueOf(t, b, "browsed").Cancel, "1"},
		"Queue.CancelAt":              {queueOf(t, b, "browsed").CancelAt, at},
		"Queue.Consume":               {queueOf(t, b, "q").Consume, nil},
		"Queue.Delete":                {queueOf(t, b, "gone").Delete},
		"Queue.DeleteIf":              {queueOf(t, b, "gone too").DeleteIf, workqueue.DeleteIf{}},
		"Queue.Find":                  {queueOf(t, b, "browsed").Find, "2"},
		"Queue.Get":                   {queueOf(t, b, "dead").Get},
		"Queue.Pause":                 {queueOf(t, b, "q").Pause},
		"Queue.Peek":                  {queueOf(t, b, "browsed").Peek, at},
		"Queue.Purge":                 {queueOf(t, b, "dead").Purge},
		"Queue.Stats":                 {queueOf(t, b, "q").Stats},
		"Queue.Info":                  {queueOf(t, b, "q").Info},
		"Queue.Redrive":               {queueOf(t, b, "dead").Redrive, nil},
		"Queue.Redrives":              {queueOf(t, b, "dead").Redrives},
		"Redrive.Cancel":              {old.Cancel},
		"Redrive.Wait":                {old.Wait},
		"Queue.Resume":                {queueOf(t, b, "q").Resume},
		"Queue.Run":                   {queueOf(t, b, "work").Run, workqueue.Handler(nop), nil},
		"Queue.RunBatch":              {queueOf(t, b, "work").RunBatch, workqueue.BatchHandler(func(context.Context, []*workqueue.Delivery) error { return nil }), nil},
		"TypedConsumer.Deliveries":    {typedConsumer(t, b).Deliveries},
		"TypedConsumer.Fetch":         {typedConsumer(t, b).Fetch, 1},
		"TypedConsumer.Next":          {typedConsumer(t, b).Next},
		"TypedQueue.Consume":          {typedOf(t, b).Consume, nil},
		"TypedQueue.Get":              {typedOf(t, b).Get},
		"TypedQueue.Publish":          {typedOf(t, b).Publish, order{}, nil},
		"TypedQueue.Run":              {typedOf(t, b).Run, nopTyped, nil},
		"TypedQueue.RunBatch":         {typedOf(t, b).RunBatch, func(context.Context, []order, []*workqueue.Delivery) error { return nil }, nil},
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
