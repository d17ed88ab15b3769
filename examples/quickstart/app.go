package main

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// The parts of the application, by name.
const (
	exchange = "events" // topic exchange; the routing key is event.action
	jobs     = "jobs"   // one job for every event
	notices  = "notices"
)

// What the queues are bound to: every event is a job, and some actions are
// worth a notice as well.
var bindings = map[string][]string{
	jobs:    {"#"},
	notices: {"*.opened", "*.created"},
}

// slow says which events' jobs take their time.
func slow(event string) bool {
	switch event {
	case "workflow_job", "workflow_run", "check_run", "deployment", broken:
		return true
	}
	return false
}

// broken is the event whose slow handler always fails.
const broken = "deployment_status"

// app is the store and everything in it.
type app struct {
	db       *pebblemq.DB
	requests *idempotency.Namespace // by Idempotency-Key: the answer to each request
	seen     *idempotency.Namespace // by X-GitHub-Delivery
	events   *log.Topic
	broker   *workqueue.Broker
	queues   map[string]*workqueue.Queue // of broker
	slow     *visibility.Queue
	dead     *visibility.Queue
}

func openApp(ctx context.Context, db *pebblemq.DB) (*app, error) {
	a := &app{db: db, queues: make(map[string]*workqueue.Queue)}
	steps := []func() error{
		func() (err error) { a.requests, err = idempotency.OpenNamespace(ctx, db, "requests", nil); return },
		func() (err error) { a.seen, err = idempotency.OpenNamespace(ctx, db, "deliveries", nil); return },
		func() (err error) {
			a.events, err = log.OpenTopic(ctx, db, "events", &log.TopicConfig{Partitions: 4})
			return
		},
		func() (err error) { a.broker, err = workqueue.OpenBroker(ctx, db, "main"); return },
		func() (err error) { a.dead, err = visibility.OpenQueue(ctx, db, "slow-dead", nil); return },
		func() (err error) {
			a.slow, err = visibility.OpenQueue(ctx, db, "slow", &visibility.QueueConfig{
				VisibilityTimeout: 2 * time.Second, DeadLetterQueue: "slow-dead", MaxReceives: 3,
			})
			return
		},
		func() error { return a.declare(ctx) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a *app) declare(ctx context.Context) error {
	err := a.broker.DeclareExchange(ctx, exchange, workqueue.Topic, nil)
	if err != nil {
		return err
	}
	for queue, patterns := range bindings {
		if a.queues[queue], err = a.broker.DeclareQueue(ctx, queue, nil); err != nil {
			return err
		}
		for _, pattern := range patterns {
			if err := a.broker.Bind(ctx, workqueue.Binding{Exchange: exchange, Queue: queue, Key: pattern}); err != nil {
				return err
			}
		}
	}
	return nil
}

// job is what travels through the queues; the payload stays in the log.
type job struct {
	Delivery, Event, Action string
}

// accept handles one request. One commit appends the event to the log, publishes its job, and
// remembers its delivery id and the answer. A request that is sent again because its answer got
// lost gets the same answer; a delivery that is sent again is a duplicate.
func (a *app) accept(ctx context.Context, request string, e event) (string, error) {
	known, err := a.seen.Seen(ctx, []byte(e.Delivery))
	if err != nil {
		return "", err
	}
	if !known {
		answer, err := a.answer(ctx, request, func(tx *pebblemq.Tx) (string, error) { return "accepted", a.take(tx, e) })
		if !errors.Is(err, idempotency.ErrDuplicate) {
			return answer, err
		} // another request with the same delivery was quicker
	}
	return a.answer(ctx, request, func(tx *pebblemq.Tx) (string, error) { return "duplicate", count(tx, "duplicates") })
}

// answer runs one request to its answer, once.
func (a *app) answer(ctx context.Context, request string, f func(*pebblemq.Tx) (string, error)) (string, error) {
	res, err := a.requests.Once(ctx, []byte(request), func(tx *pebblemq.Tx) ([]byte, error) {
		answer, err := f(tx)
		return []byte(answer), errors.Join(err, count(tx, "received"))
	}, nil)
	return string(res.Value), err
}

func (a *app) take(tx *pebblemq.Tx, e event) error {
	var payload struct{ Action string }
	_ = json.Unmarshal(e.Payload, &payload) // not every event has an action
	body, err := json.Marshal(job{e.Delivery, e.Event, payload.Action})
	if err != nil {
		return err
	}
	key := e.Event
	if payload.Action != "" {
		key += "." + payload.Action
	}
	_, err = a.events.In(tx).Append(log.Record{
		Key: []byte(e.Delivery), Value: e.Payload,
		Headers: []log.Header{{Name: "event", Value: []byte(e.Event)}, {Name: "routing-key", Value: []byte(key)}},
	})
	return errors.Join(err,
		a.seen.In(tx).Complete([]byte(e.Delivery), nil),
		a.broker.In(tx).Publish(exchange, key, workqueue.Message{Body: body, MessageID: e.Delivery}),
	)
}

// count adds one to a counter of the application.
func count(tx *pebblemq.Tx, name string) error {
	n, err := counter(tx, name)
	if err != nil {
		return err
	}
	return tx.Set([]byte("count/"+name), strconv.AppendInt(nil, int64(n+1), 10))
}

func counter(tx *pebblemq.Tx, name string) (int, error) {
	v, err := tx.Get([]byte("count/" + name))
	if err != nil || v == nil {
		return 0, err
	}
	return strconv.Atoi(string(v))
}
