package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

var rabbitServer = &Server{Name: "rabbitmq", Env: "BENCH_RABBITMQ"}

var (
	rabbitClassicPeer = &Peer{
		Name:    "rabbitmq classic",
		About:   "classic queues over loopback TCP with publisher confirms, a channel for each producer and consumer",
		Modules: []string{"github.com/rabbitmq/amqp091-go"},
		Server:  rabbitServer,
		Durable: "durable queue, persistent messages",
		Relaxed: "durable queue, transient messages",
		Queue:   func(e Env) (Queue, error) { return openRabbitQueue(e, "classic") },
		Fanout:  func(e Env) (Fanout, error) { return openRabbitFanout(e, "classic") },
		Router:  openRabbitRouter,
	}
	rabbitQuorumPeer = &Peer{
		Name:    "rabbitmq quorum",
		About:   "the same with a quorum queue of one member",
		Modules: []string{"github.com/rabbitmq/amqp091-go"},
		Server:  rabbitServer,
		Durable: "quorum queue",
		Queue:   func(e Env) (Queue, error) { return openRabbitQueue(e, "quorum") },
		Fanout:  func(e Env) (Fanout, error) { return openRabbitFanout(e, "quorum") },
	}
)

// rabbit is a connection with a pool of channels in confirm mode: a channel is
// for one publisher at a time.
type rabbit struct {
	conn     *amqp.Connection
	kind     string
	mode     uint8
	channels sync.Pool
	admin    *amqp.Channel
	declared []string
}

func openRabbit(e Env, kind string) (*rabbit, error) {
	at, err := rabbitServer.find()
	if err != nil {
		return nil, err
	}
	conn, err := amqp.Dial("amqp://guest:guest@" + at.address + "/")
	if err != nil {
		return nil, err
	}
	r := &rabbit{conn: conn, kind: kind, mode: amqp.Transient}
	if e.durable() {
		r.mode = amqp.Persistent
	}
	r.admin, err = conn.Channel()
	return r, err
}

func (r *rabbit) declare(name string) error {
	r.declared = append(r.declared, name)
	if _, err := r.admin.QueueDelete(name, false, false, false); err != nil {
		return err
	}
	_, err := r.admin.QueueDeclare(name, true, false, false, false, amqp.Table{"x-queue-type": r.kind})
	return err
}

func (r *rabbit) exchange(kind string) error {
	if err := r.admin.ExchangeDelete("x", false, false); err != nil {
		return err
	}
	return r.admin.ExchangeDeclare("x", kind, true, false, false, false, nil)
}

func (r *rabbit) channel() (*amqp.Channel, error) {
	if ch, ok := r.channels.Get().(*amqp.Channel); ok {
		return ch, nil
	}
	ch, err := r.conn.Channel()
	if err != nil {
		return nil, err
	}
	return ch, ch.Confirm(false)
}

// publish sends all and then waits for all confirms.
func (r *rabbit) publish(exchange, key string, bodies ...[]byte) error {
	ch, err := r.channel()
	if err != nil {
		return err
	}
	confirms := make([]*amqp.DeferredConfirmation, len(bodies))
	for i, b := range bodies {
		confirms[i], err = ch.PublishWithDeferredConfirm(exchange, key, false, false, amqp.Publishing{DeliveryMode: r.mode, Body: b})
		if err != nil {
			return err
		}
	}
	for _, c := range confirms {
		if ok, err := c.WaitContext(bg); err != nil || !ok {
			return errors.Join(err, errors.New("not confirmed"))
		}
	}
	r.channels.Put(ch)
	return nil
}

func (r *rabbit) Take(queue int) ([]byte, error) {
	d, ok, err := r.admin.Get(queueName(queue), true)
	if err != nil || !ok {
		return nil, err
	}
	return d.Body, nil
}

// Close deletes the queues: the server goes on.
func (r *rabbit) Close() error {
	var errs []error
	for _, q := range r.declared {
		_, err := r.admin.QueueDelete(q, false, false, false)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, r.conn.Close())...)
}

type rabbitQueue struct{ *rabbit }

func openRabbitQueue(e Env, kind string) (Queue, error) {
	r, err := openRabbit(e, kind)
	if err != nil {
		return nil, err
	}
	return rabbitQueue{r}, r.declare("q")
}

func (q rabbitQueue) Publish(bodies [][]byte) error { return q.publish("", "q", bodies...) }

func (q rabbitQueue) Consumer(prefetch int) (Consumer, error) {
	ch, err := q.conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Qos(max(prefetch, 32), 0, false); err != nil {
		return nil, err
	}
	deliveries, err := ch.Consume("q", "", false, false, false, false, nil)
	return &rabbitConsumer{ch, deliveries}, err
}

type rabbitConsumer struct {
	ch         *amqp.Channel
	deliveries <-chan amqp.Delivery
}

func (c *rabbitConsumer) Receive(ctx context.Context, limit int) ([]Message, error) {
	return gather(ctx, limit, func(ctx context.Context) (Message, error) {
		select {
		case d, ok := <-c.deliveries:
			if !ok {
				return Message{}, errors.New("the channel was closed")
			}
			return Message{Body: d.Body, id: d.DeliveryTag}, nil
		case <-ctx.Done():
			return Message{}, ctx.Err()
		}
	})
}

// Ack acknowledges all of a channel up to the last.
func (c *rabbitConsumer) Ack(messages []Message) error {
	if len(messages) == 0 {
		return nil
	}
	return c.ch.Ack(messages[len(messages)-1].id, true)
}

func (c *rabbitConsumer) Close() error { return c.ch.Close() }

type rabbitFanout struct{ *rabbit }

func openRabbitFanout(e Env, kind string) (Fanout, error) {
	r, err := openRabbit(e, kind)
	if err != nil {
		return nil, err
	}
	return rabbitFanout{r}, r.exchange("fanout")
}

func (f rabbitFanout) Bind(queues int) error {
	for i := range queues {
		if err := f.declare(queueName(i)); err != nil {
			return err
		}
		if err := f.admin.QueueBind(queueName(i), "", "x", false, nil); err != nil {
			return err
		}
	}
	return nil
}

func (f rabbitFanout) Publish(body []byte) error { return f.publish("x", "", body) }

type rabbitRouter struct{ *rabbit }

func openRabbitRouter(e Env) (Router, error) {
	r, err := openRabbit(e, "classic")
	if err != nil {
		return nil, err
	}
	return rabbitRouter{r}, r.exchange("topic")
}

// Bind does not wait for each binding, but gives up on a server that takes far
// too long for all.
func (r rabbitRouter) Bind(bindings, queues int) error {
	for i := range queues {
		if err := r.declare(queueName(i)); err != nil {
			return err
		}
	}
	end := time.Now().Add(time.Minute)
	for i := range bindings {
		noWait := i%100 != 99 && i != bindings-1
		if err := r.admin.QueueBind(queueName(i%queues), pattern(i), "x", noWait, nil); err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w: %d of %d bindings after a minute", errUnfinished, i, bindings)
		}
	}
	return nil
}

func (r rabbitRouter) Publish(key string, body []byte) error { return r.publish("x", key, body) }
