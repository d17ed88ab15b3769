package workqueue_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

func TestBadInput(t *testing.T) {
	db, b := open(t)
	declare(t, b, "q")
	require.NoError(t, b.DeclareExchange(bg, "x", workqueue.Topic, nil))
	long := strings.Repeat("n", 256)
	send := func(change func(*workqueue.Message)) error {
		m := body("m")
		change(&m)
		return b.Publish(bg, "", "q", m)
	}
	headers := func(n, size int) map[string]string {
		h := map[string]string{}
		for i := range n {
			h[fmt.Sprintf("%03d", i)] = strings.Repeat("v", size)
		}
		return h
	}
	consume := func(queue string, o *workqueue.ConsumeOptions) error {
		_, err := queueOf(t, b, queue).Consume(bg, o)
		return err
	}
	openErr := func(name string) error { _, err := workqueue.OpenBroker(bg, db, name); return err }

	for name, c := range map[string]struct {
		err  error
		want error
		says string
	}{
		"broker without a name":     {openErr(""), pebblemq.ErrInvalid, "broker name is empty"},
		"broker name too long":      {openErr(long), pebblemq.ErrTooLarge, "256, limit 255"},
		"queue without a name":      {errOf(b.DeclareQueue(bg, "", nil)), pebblemq.ErrInvalid, "queue name is empty"},
		"queue name too long":       {errOf(b.DeclareQueue(bg, long, nil)), pebblemq.ErrTooLarge, "limit 255"},
		"queue name not UTF-8":      {errOf(b.DeclareQueue(bg, "\xff", nil)), pebblemq.ErrInvalid, "UTF-8"},
		"queue name with a control": {errOf(b.DeclareQueue(bg, "a\nb", nil)), pebblemq.ErrInvalid, "control"},
		"reserved queue name":       {errOf(b.DeclareQueue(bg, "amq.q", nil)), workqueue.ErrInUse, "reserved"},
		"reserved exchange name":    {b.DeclareExchange(bg, "amq.x", workqueue.Direct, nil), workqueue.ErrInUse, "reserved"},
		"default exchange declared": {b.DeclareExchange(bg, "", workqueue.Direct, nil), pebblemq.ErrInvalid, "exchange name is empty"},
		"unknown kind of exchange":  {b.DeclareExchange(bg, "y", "ring", nil), pebblemq.ErrInvalid, `"ring"`},
		"another kind of exchange":  {b.DeclareExchange(bg, "x", workqueue.Fanout, nil), pebblemq.ErrConfigMismatch, `Kind "topic", not "fanout"`},
		"another delivery limit":    {errOf(b.DeclareQueue(bg, "q", &workqueue.QueueConfig{DeliveryLimit: 3})), pebblemq.ErrConfigMismatch, "DeliveryLimit 20, not 3"},
		"another dead letter":       {errOf(b.DeclareQueue(bg, "q", &workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{}})), pebblemq.ErrConfigMismatch, "DeadLetter none"},
		"no room for NAME.dead":     {errOf(b.DeclareQueue(bg, long[5:], nil)), pebblemq.ErrInvalid, "more than 250 bytes"},
		"dropped and kept":          {errOf(b.DeclareQueue(bg, "n", &workqueue.QueueConfig{DropDead: true, DeadLetter: toDead})), pebblemq.ErrInvalid, "DropDead"},
		"negative delivery limit":   {errOf(b.DeclareQueue(bg, "n", &workqueue.QueueConfig{DeliveryLimit: -2})), pebblemq.ErrInvalid, "DeliveryLimit -2"},
		"absurd delivery limit":     {errOf(b.DeclareQueue(bg, "n", &workqueue.QueueConfig{DeliveryLimit: workqueue.MaxDeliveryLimit + 1})), pebblemq.ErrInvalid, "DeliveryLimit"},
		"binding to no exchange":    {b.Bind(bg, workqueue.Binding{Exchange: "none", Queue: "q", Key: "k"}), workqueue.ErrUnknownExchange, `"none"`},
		"binding of no queue":       {b.Bind(bg, workqueue.Binding{Exchange: "x", Queue: "none", Key: "k"}), workqueue.ErrUnknownQueue, `"none"`},
		"binding key too long":      {b.Bind(bg, workqueue.Binding{Exchange: "x", Queue: "q", Key: long}), pebblemq.ErrTooLarge, "binding key"},
		"binding of no topic":       {b.Bind(bg, workqueue.Binding{Exchange: "x", Topic: "none"}), workqueue.ErrUnknownDestination, `topic "none"`},
		"binding to nothing":        {b.Bind(bg, workqueue.Binding{Exchange: "x"}), pebblemq.ErrInvalid, "0 destinations"},
		"binding to two":            {b.Bind(bg, workqueue.Binding{Exchange: "x", Queue: "q", Topic: "t"}), pebblemq.ErrInvalid, "2 destinations"},
		"publish to no exchange":    {b.Publish(bg, "none", "k", body("m")), workqueue.ErrUnknownExchange, `"none"`},
		"routing key too long":      {b.Publish(bg, "x", long, body("m")), pebblemq.ErrTooLarge, "routing key"},
		"body too large":            {send(func(m *workqueue.Message) { m.Body = make([]byte, workqueue.MaxBodyBytes+1) }), pebblemq.ErrTooLarge, "1048577, limit 1048576"},
		"too many headers":          {send(func(m *workqueue.Message) { m.Headers = headers(workqueue.MaxHeaders+1, 0) }), pebblemq.ErrTooLarge, "headers is 65, limit 64"},
		"headers too large":         {send(func(m *workqueue.Message) { m.Headers = headers(1, workqueue.MaxHeaderBytes-2) }), pebblemq.ErrTooLarge, "32769, limit 32768"},
		"header without a name":     {send(func(m *workqueue.Message) { m.Headers = map[string]string{"": ""} }), pebblemq.ErrInvalid, "header has no name"},
		"property too long":         {send(func(m *workqueue.Message) { m.ReplyTo = long }), pebblemq.ErrTooLarge, "ReplyTo"},
		"negative delay":            {send(func(m *workqueue.Message) { m.Delay = -1 }), pebblemq.ErrInvalid, "Delay -1ns"},
		"absurd delay":              {send(func(m *workqueue.Message) { m.Delay = workqueue.MaxDelay + 1 }), pebblemq.ErrInvalid, "Delay"},
		"empty batch":               {b.PublishBatch(bg, "x", nil), pebblemq.ErrInvalid, "empty batch"},
		"batch too large":           {b.PublishBatch(bg, "x", make([]workqueue.Publishing, workqueue.MaxBatch+1)), pebblemq.ErrTooLarge, "10001, limit 10000"},
		"negative prefetch":         {consume("q", &workqueue.ConsumeOptions{Prefetch: -2}), pebblemq.ErrInvalid, "Prefetch -2"},
		"absurd prefetch":           {consume("q", &workqueue.ConsumeOptions{Prefetch: workqueue.MaxPrefetch + 1}), pebblemq.ErrInvalid, "Prefetch"},
		"nil handler":               {queueOf(t, b, "q").Run(bg, nil, nil), pebblemq.ErrInvalid, "handler of queue"},
		"negative concurrency":      {queueOf(t, b, "q").Run(bg, nop, &workqueue.RunOptions{Concurrency: -1}), pebblemq.ErrInvalid, "Concurrency -1"},
		"no queue":                  {errOf(b.Queue(bg, "none")), workqueue.ErrUnknownQueue, `"none"`},
		"no broker":                 {errOf(workqueue.LookupBroker(bg, db, "none")), workqueue.ErrUnknownBroker, `"none"`},
	} {
		require.ErrorIs(t, c.err, c.want, name)
		require.ErrorContains(t, c.err, c.says, name)
	}
	require.Zero(t, ready(t, b, "q"), "nothing was let through")

	for name, err := range map[string]error{
		"body":     send(func(m *workqueue.Message) { m.Body = make([]byte, workqueue.MaxBodyBytes) }),
		"headers":  send(func(m *workqueue.Message) { m.Headers = headers(workqueue.MaxHeaders, 1) }),
		"header":   send(func(m *workqueue.Message) { m.Headers = headers(1, workqueue.MaxHeaderBytes-3) }),
		"property": send(func(m *workqueue.Message) { m.ReplyTo = long[1:] }),
		"delay":    send(func(m *workqueue.Message) { m.Delay = workqueue.MaxDelay }),
		"name":     errOf(b.DeclareQueue(bg, long[1:], &workqueue.QueueConfig{DropDead: true})),
		"batch":    b.PublishBatch(bg, "x", make([]workqueue.Publishing, workqueue.MaxBatch)),
	} {
		require.NoError(t, err, "%s at its limit", name)
	}
}

func TestBadInputDoomsATransaction(t *testing.T) {
	db, b := open(t)
	declare(t, b, "q")
	err := db.Update(bg, func(tx *pebblemq.Tx) error {
		_ = b.In(tx).Publish("", "q", body("good"))
		_ = b.In(tx).Publish("", strings.Repeat("k", 256), body("bad"))
		return nil
	})
	require.ErrorIs(t, err, pebblemq.ErrTooLarge)
	require.Zero(t, ready(t, b, "q"))
}

func TestUseAfterClose(t *testing.T) {
	db, b := open(t)
	declare(t, b, "q")
	publish(t, b, "q", "m")
	c := consume(t, b, "q", 1)
	d := next(t, c, "m")
	q := queueOf(t, b, "q")
	require.NoError(t, db.Close())
	for name, err := range map[string]error{
		"declare": errOf(b.DeclareQueue(bg, "other", nil)),
		"publish": b.Publish(bg, "", "q", body("m")),
		"async":   errOf(b.PublishAsync(bg, "", "q", body("m")).Wait(bg)),
		"ack":     d.Ack(bg),
		"next":    func() error { _, err := c.Next(bg); return err }(),
		"run":     q.Run(bg, nop, nil),
	} {
		require.ErrorIs(t, err, pebblemq.ErrClosed, name)
	}
	require.NoError(t, c.Close())
}

func TestCancellation(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	c := consume(t, b, "q", 1)
	ctx, cancel := context.WithTimeout(bg, time.Millisecond)
	defer cancel()
	_, err := c.Next(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, b.Publish(ctx, "", "q", body("m")), context.DeadlineExceeded)
	require.NoError(t, queueOf(t, b, "q").Run(ctx, nop, nil), "the end of its context is how Run ends")
	require.Zero(t, ready(t, b, "q"))
}
