package main

import (
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/workqueue"
)

// brokerLoader makes brokers.
type brokerLoader struct {
	*loading
	brokers map[string]*loadedBroker
}

// loadedBroker is a broker that is being filled. A message keeps the exchange and the key that it was
// published with. So until all messages are there, each exchange is a fanout with a binding to the one
// queue that is being filled through it. Then the exchanges are made as they were.
type loadedBroker struct {
	b     *workqueue.Broker
	line  *brokerLine
	bound map[string]string // the queue of each exchange, "" for none
	sizes map[string]uint64 // messages of each queue that were loaded
	jobs  []workqueue.Job
}

func (l *brokerLoader) broker(x *brokerLine) error {
	_, err := workqueue.LookupBroker(l.ctx, l.db, x.Name)
	if err := unless(err, "broker", x.Name); err != nil {
		return err
	}
	if x.Topology == nil {
		x.Topology = &workqueue.Topology{}
	}
	b, err := workqueue.OpenBroker(l.ctx, l.db, x.Name)
	if err != nil {
		return err
	}
	loaded := &loadedBroker{b: b, line: x, bound: make(map[string]string), sizes: make(map[string]uint64)}
	filling := &workqueue.Topology{Queues: x.Topology.Queues}
	for _, e := range x.Topology.Exchanges {
		filling.Exchanges = append(filling.Exchanges, workqueue.ExchangeDefinition{Name: e.Name, Kind: workqueue.Fanout})
		loaded.bound[e.Name] = ""
	}
	if _, err := b.Apply(l.ctx, filling, nil); err != nil {
		return err
	}
	for _, q := range x.Topology.Queues {
		loaded.sizes[q.Name] = 0
	}
	l.brokers[x.Name] = loaded
	l.later(func() error { return l.complete(loaded) })
	return nil
}

func (l *brokerLoader) message(x *messageLine) error {
	loaded := l.brokers[x.Broker]
	if loaded == nil {
		return missing("broker", x.Broker)
	}
	if _, ok := loaded.sizes[x.Queue]; !ok {
		return missing("work queue", x.Queue)
	}
	l.noteMessage(x)
	m := x.message()
	m.Delay, m.TTL = until(x.Due), timeToLive(x)
	key := x.RoutingKey
	if x.Exchange == "" {
		key, m.CC = x.Queue, nil
	} else if err := loaded.lead(l, x.Exchange, x.Queue); err != nil {
		return err
	}
	done, err := loaded.b.PublishAsync(l.ctx, x.Exchange, key, m).Wait(l.ctx)
	if err == nil && len(done.Duplicates) > 0 { // a redriven message holds its key no more
		l.notes.add("unique keys that another message holds")
		m.UniqueKey = ""
		_, err = loaded.b.PublishAsync(l.ctx, x.Exchange, key, m).Wait(l.ctx)
	}
	loaded.sizes[x.Queue]++
	return err
}

func (l *brokerLoader) noteMessage(x *messageLine) {
	if x.Deliveries > 0 {
		l.notes.add("how often messages were delivered")
	}
	if len(x.Deaths) > 0 {
		l.notes.add("why messages of work queues died")
	}
	if x.Exchange == "" && (x.RoutingKey != x.Queue || len(x.CC) > 0) {
		l.notes.add("routing keys and CC of messages of the default exchange that moved")
	}
}

// timeToLive is what is left of the time of a message. A delay comes before it.
func timeToLive(x *messageLine) time.Duration {
	if x.Expires.IsZero() {
		return 0
	}
	begins := time.Now().Add(until(x.Due))
	return max(x.Expires.Sub(begins), time.Microsecond)
}

// lead makes an exchange lead to one queue.
func (x *loadedBroker) lead(l *brokerLoader, exchange, queue string) error {
	now, exists := x.bound[exchange]
	if now == queue {
		return nil
	}
	if !exists { // it was deleted after the message was published
		if err := x.b.DeclareExchange(l.ctx, exchange, workqueue.Fanout, nil); err != nil {
			return err
		}
	}
	if now != "" {
		if err := x.b.Unbind(l.ctx, workqueue.Binding{Exchange: exchange, Queue: now}); err != nil {
			return err
		}
	}
	x.bound[exchange] = queue
	return x.b.Bind(l.ctx, workqueue.Binding{Exchange: exchange, Queue: queue})
}

func (l *brokerLoader) job(x *jobLine) error {
	loaded := l.brokers[x.Broker]
	if loaded == nil {
		return missing("broker", x.Broker)
	}
	m := x.message()
	m.TTL, m.Delay, m.BCC = x.TTL, x.Delay, x.BCC
	loaded.jobs = append(loaded.jobs, workqueue.Job{
		Name: x.Name, Every: x.Every, First: x.Next, Exchange: x.Exchange, Key: x.Key, Message: m,
	})
	return nil
}

// complete makes the exchanges as they were. Jobs begin last.
func (l *brokerLoader) complete(x *loadedBroker) error {
	if err := x.check(l); err != nil {
		return err
	}
	for exchange := range x.bound {
		if err := x.b.DeleteExchange(l.ctx, exchange); err != nil {
			return err
		}
	}
	if _, err := x.b.Apply(l.ctx, x.line.Topology, nil); err != nil {
		return err
	}
	for _, name := range x.line.Paused {
		q, err := x.b.Queue(l.ctx, name)
		if err != nil {
			return err
		}
		if err := q.Pause(l.ctx); err != nil {
			return err
		}
	}
	for _, j := range x.jobs {
		if err := x.b.PutJob(l.ctx, j); err != nil {
			return err
		}
	}
	return nil
}

// check returns an error if a queue has dropped a message, because its MessageID is that of another
// or its time was over.
func (x *loadedBroker) check(l *brokerLoader) error {
	for name, want := range x.sizes {
		q, err := x.b.Queue(l.ctx, name)
		if err != nil {
			return err
		}
		s, err := q.Stats(l.ctx)
		if err != nil {
			return err
		}
		if got := s.Ready + s.Unacked + s.Delayed; got < want {
			return fmt.Errorf("work queue %q of broker %q has %d of the %d messages of the dump: "+
				"a MessageID is twice in a queue with a DedupeWindow, or messages expired during the load", name, x.line.Name, got, want)
		}
	}
	return nil
}
