package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync/atomic"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

type mqQueue struct {
	db     *pebblemq.DB
	broker *workqueue.Broker
	queue  *workqueue.Queue // if it is alone
}

func openMQBroker(e Env) (*mqQueue, error) {
	db, err := openMQ(e)
	if err != nil {
		return nil, err
	}
	broker, err := workqueue.OpenBroker(bg, db, "main")
	return &mqQueue{db: db, broker: broker}, err
}

func openMQQueue(e Env) (Queue, error) {
	q, err := openMQBroker(e)
	if err != nil {
		return nil, err
	}
	q.queue, err = q.broker.DeclareQueue(bg, "q", nil)
	return q, err
}

func (q *mqQueue) Publish(bodies [][]byte) error {
	if len(bodies) == 1 {
		return q.broker.Publish(bg, "", "q", workqueue.Message{Body: bodies[0]})
	}
	batch := make([]workqueue.Publishing, len(bodies))
	for i, b := range bodies {
		batch[i] = workqueue.Publishing{Key: "q", Message: workqueue.Message{Body: b}}
	}
	return q.broker.PublishBatch(bg, "", batch)
}

func (q *mqQueue) Consumer(prefetch int) (Consumer, error) {
	c, err := q.queue.Consume(bg, &workqueue.ConsumeOptions{Prefetch: prefetch})
	return &mqConsumer{q, c}, err
}

func (q *mqQueue) Close() error { return q.db.Close() }

type mqConsumer struct {
	q *mqQueue
	c *workqueue.Consumer
}

func (c *mqConsumer) Receive(ctx context.Context, limit int) ([]Message, error) {
	return gather(ctx, limit, func(ctx context.Context) (Message, error) {
		d, err := c.c.Next(ctx)
		if err != nil {
			return Message{}, err
		}
		return Message{Body: d.Body, handle: d}, nil
	})
}

// Ack settles the messages in one commit: those before them are settled already.
func (c *mqConsumer) Ack(messages []Message) error {
	return messages[len(messages)-1].handle.(*workqueue.Delivery).AckUpTo(bg)
}

func (c *mqConsumer) Close() error { return c.c.Close() }

type mqVisibility struct {
	db   *pebblemq.DB
	q    atomic.Pointer[visibility.Queue] // the FIFO one once a group was named
	fifo *visibility.Queue
}

func openMQVisibility(e Env) (Visibility, error) {
	db, err := openMQ(e)
	if err != nil {
		return nil, err
	}
	v := &mqVisibility{db: db}
	q, err := visibility.OpenQueue(bg, db, "q", nil)
	if err == nil {
		v.q.Store(q)
		v.fifo, err = visibility.OpenQueue(bg, db, "fifo", &visibility.QueueConfig{FIFO: true, DedupeByBody: true})
	}
	return v, err
}

func (v *mqVisibility) Send(bodies [][]byte, group int) error {
	batch := make([]visibility.Message, len(bodies))
	for i, b := range bodies {
		batch[i].Body = b
		if group > 0 {
			batch[i].Group = strconv.Itoa(group)
		}
	}
	if group > 0 {
		v.q.Store(v.fifo)
	}
	results, err := v.q.Load().SendBatch(bg, batch, nil)
	for _, r := range results {
		err = errors.Join(err, r.Err)
	}
	return err
}

func (v *mqVisibility) Receive(limit int) ([]Message, error) {
	got, err := v.q.Load().Receive(bg, &visibility.ReceiveOptions{Max: limit})
	messages := make([]Message, len(got))
	for i, m := range got {
		messages[i] = Message{Body: m.Body, handle: m.Receipt}
	}
	return messages, err
}

func (v *mqVisibility) Delete(messages []Message) error {
	receipts := make([]visibility.Receipt, len(messages))
	for i, m := range messages {
		receipts[i] = m.handle.(visibility.Receipt)
	}
	results, err := v.q.Load().DeleteBatch(bg, receipts, nil)
	return errors.Join(append(results, err)...)
}

func (v *mqVisibility) Close() error { return v.db.Close() }

// mqExchange is an exchange with its queues, of either kind.
type mqExchange struct {
	*mqQueue
	kind   workqueue.ExchangeKind
	queues []*workqueue.Queue
}

func openMQExchange(e Env, kind workqueue.ExchangeKind) (*mqExchange, error) {
	q, err := openMQBroker(e)
	if err != nil {
		return nil, err
	}
	return &mqExchange{mqQueue: q, kind: kind}, q.broker.DeclareExchange(bg, "x", kind, nil)
}

func (x *mqExchange) declare(n int) error {
	for i := range n {
		q, err := x.broker.DeclareQueue(bg, queueName(i), nil)
		if err != nil {
			return err
		}
		x.queues = append(x.queues, q)
	}
	return nil
}

func queueName(i int) string { return fmt.Sprintf("q%d", i) }

func (x *mqExchange) Take(queue int) ([]byte, error) {
	d, ok, err := x.queues[queue].Get(bg)
	if err != nil || !ok {
		return nil, err
	}
	return d.Body, d.Ack(bg)
}

type mqFanout struct{ *mqExchange }

func openMQFanout(e Env) (Fanout, error) {
	x, err := openMQExchange(e, workqueue.Fanout)
	return mqFanout{x}, err
}

func (f mqFanout) Bind(queues int) error {
	if err := f.declare(queues); err != nil {
		return err
	}
	for i := range queues {
		if err := f.broker.Bind(bg, workqueue.Binding{Exchange: "x", Queue: queueName(i)}); err != nil {
			return err
		}
	}
	return nil
}

func (f mqFanout) Publish(body []byte) error {
	return f.broker.Publish(bg, "x", "", workqueue.Message{Body: body})
}

type mqRouter struct{ *mqExchange }

func openMQRouter(e Env) (Router, error) {
	x, err := openMQExchange(e, workqueue.Topic)
	return mqRouter{x}, err
}

func (r mqRouter) Bind(bindings, queues int) error {
	if err := r.declare(queues); err != nil {
		return err
	}
	ctx := pebblemq.WithDurability(bg, pebblemq.NoSync)
	for i := range bindings {
		if err := r.broker.Bind(ctx, workqueue.Binding{Exchange: "x", Queue: queueName(i % queues), Key: pattern(i)}); err != nil {
			return err
		}
	}
	return nil
}

func pattern(i int) string { return fmt.Sprintf("*.site.%d.#", i) }

func (r mqRouter) Publish(key string, body []byte) error {
	return r.broker.Publish(bg, "x", key, workqueue.Message{Body: body})
}

type mqDedupe struct {
	db   *pebblemq.DB
	keys *idempotency.Namespace
}

func openMQDedupe(e Env) (Dedupe, error) {
	db, err := openMQ(e)
	if err != nil {
		return nil, err
	}
	keys, err := idempotency.OpenNamespace(bg, db, "keys", nil)
	return &mqDedupe{db, keys}, err
}

func (d *mqDedupe) Fill(keys [][]byte, result []byte) error {
	ctx := pebblemq.WithDurability(bg, pebblemq.NoSync)
	return d.db.Update(ctx, func(tx *pebblemq.Tx) error {
		for _, k := range keys {
			if err := d.keys.In(tx).Complete(k, result); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d *mqDedupe) Once(key, result []byte) (bool, []byte, error) {
	r, err := d.keys.Once(bg, key, func(*pebblemq.Tx) ([]byte, error) { return result, nil }, nil)
	return !r.Replayed, r.Value, err
}

func (d *mqDedupe) Close() error { return d.db.Close() }

type mqTx struct {
	*mqQueue
	topic *log.Topic
	keys  *idempotency.Namespace
}

func openMQTx(e Env) (Tx, error) {
	q, err := openMQBroker(e)
	if err != nil {
		return nil, err
	}
	t := &mqTx{mqQueue: q}
	if t.topic, err = log.OpenTopic(bg, q.db, "log", nil); err != nil {
		return nil, err
	}
	t.keys, err = idempotency.OpenNamespace(bg, q.db, "keys", nil)
	return t, err
}

func (t *mqTx) Worker(n int) (func(int, []byte) error, error) {
	queue, state := queueName(n), []byte(fmt.Sprintf("state %d", n))
	q, err := t.broker.DeclareQueue(bg, queue, nil)
	if err != nil {
		return nil, err
	}
	if err := t.broker.Publish(bg, "", queue, workqueue.Message{Body: []byte("first")}); err != nil {
		return nil, err
	}
	c, err := q.Consume(bg, &workqueue.ConsumeOptions{Prefetch: 1})
	if err != nil {
		return nil, err
	}
	return func(i int, record []byte) error {
		d, err := c.Next(bg)
		if err != nil {
			return err
		}
		return t.db.Update(bg, func(tx *pebblemq.Tx) error {
			_, err := t.topic.In(tx).Append(log.Record{Value: record})
			return errors.Join(err,
				t.broker.In(tx).Publish("", queue, workqueue.Message{Body: record}),
				t.broker.In(tx).Ack(d),
				t.keys.In(tx).Complete(key(byte(n), uint64(i)), nil),
				tx.Set(state, record))
		})
	}, nil
}

func (t *mqTx) Check() (records, keys, waiting int, err error) {
	_, end, err := t.topic.Offsets(bg, 0)
	if err != nil {
		return 0, 0, 0, err
	}
	stored, err := t.keys.Info(bg)
	if err != nil || stored.Completed > math.MaxInt32 {
		return 0, 0, 0, err
	}
	queues, err := t.broker.Queues(bg)
	for _, q := range queues {
		waiting += int(q.Stats.Ready + q.Stats.Unacked)
	}
	return int(end), int(stored.Completed), waiting, err
}
