package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var natsPeer = &Peer{
	Name: "jetstream",
	About: "NATS JetStream embedded in our process, in-process connections, file storage; batches are published " +
		"asynchronously and waited for",
	Modules:    []string{"github.com/nats-io/nats-server/v2", "github.com/nats-io/nats.go"},
	Durable:    "SyncAlways",
	Relaxed:    "default: an fsync every 2 minutes",
	Log:        openNATSLog,
	Groups:     true,
	Queue:      openNATSQueue,
	Visibility: openNATSVisibility,
	Fanout:     openNATSFanout,
	Dedupe:     openNATSDedupe,
}

// natsServer is an embedded server with a connection.
type natsServer struct {
	s  *server.Server
	nc *nats.Conn
	js jetstream.JetStream
}

func openNATS(e Env) (*natsServer, error) {
	s, err := server.NewServer(&server.Options{
		DontListen: true, JetStream: true, StoreDir: e.Dir, SyncAlways: e.durable(), NoSigs: true, NoLog: true,
	})
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return nil, errors.New("the server does not start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(16384))
	return &natsServer{s, nc, js}, err
}

func (n *natsServer) stream(retention jetstream.RetentionPolicy) error {
	_, err := n.js.CreateOrUpdateStream(bg, jetstream.StreamConfig{
		Name: "S", Subjects: []string{"s"}, Storage: jetstream.FileStorage, Retention: retention,
	})
	return err
}

func (n *natsServer) publish(bodies [][]byte) error {
	if len(bodies) == 1 {
		_, err := n.js.Publish(bg, "s", bodies[0])
		return err
	}
	acks := make([]jetstream.PubAckFuture, len(bodies))
	for i, b := range bodies {
		var err error
		if acks[i], err = n.js.PublishAsync("s", b, jetstream.WithStallWait(time.Minute)); err != nil {
			return err
		}
	}
	for _, a := range acks {
		select {
		case <-a.Ok():
		case err := <-a.Err():
			return err
		}
	}
	return nil
}

func (n *natsServer) Close() error {
	n.nc.Close()
	n.s.Shutdown()
	n.s.WaitForShutdown()
	return nil
}

type natsLog struct{ *natsServer }

func openNATSLog(e Env) (Log, error) {
	n, err := openNATS(e)
	if err != nil {
		return nil, err
	}
	return &natsLog{n}, n.stream(jetstream.LimitsPolicy)
}

func (l *natsLog) Append(records [][]byte) error { return l.publish(records) }

// Replay reads with an ordered consumer, which is made for it.
func (l *natsLog) Replay(n int, f func([]byte) error) error {
	if n == 0 {
		return nil
	}
	c, err := l.js.OrderedConsumer(bg, "S", jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	it, err := c.Messages(jetstream.PullMaxMessages(5000))
	if err != nil {
		return err
	}
	defer it.Stop()
	for range n {
		m, err := it.Next(jetstream.NextMaxWait(20 * time.Second))
		if err != nil {
			return err
		}
		if err := f(m.Data()); err != nil {
			return err
		}
	}
	return nil
}

func (l *natsLog) ReplayGroup(name string, n, commitEvery int, f func([]byte) error) error {
	c, err := l.js.CreateConsumer(bg, "S", jetstream.ConsumerConfig{
		Durable: name, AckPolicy: jetstream.AckAllPolicy, MaxAckPending: 20_000,
	})
	if err != nil {
		return err
	}
	it, err := c.Messages(jetstream.PullMaxMessages(5000))
	if err != nil {
		return err
	}
	defer it.Stop()
	for i := range n {
		m, err := it.Next(jetstream.NextMaxWait(20 * time.Second))
		if err != nil {
			return err
		}
		if err := f(m.Data()); err != nil {
			return err
		}
		if i%commitEvery == commitEvery-1 {
			if err := m.Ack(); err != nil {
				return err
			}
		}
	}
	return nil
}

// natsQueue is a stream with one durable consumer that all share.
type natsQueue struct {
	*natsServer
	c jetstream.Consumer
}

func openNATSQueue(e Env) (Queue, error) { return openNATSWork(e) }

func openNATSWork(e Env) (*natsQueue, error) {
	n, err := openNATS(e)
	if err != nil {
		return nil, err
	}
	if err := n.stream(jetstream.WorkQueuePolicy); err != nil {
		return nil, err
	}
	c, err := n.js.CreateOrUpdateConsumer(bg, "S", jetstream.ConsumerConfig{
		Durable: "work", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 20_000,
	})
	return &natsQueue{n, c}, err
}

func (q *natsQueue) Publish(bodies [][]byte) error { return q.publish(bodies) }

func (q *natsQueue) Consumer(prefetch int) (Consumer, error) {
	it, err := q.c.Messages(jetstream.PullMaxMessages(max(prefetch, 16)))
	return &natsConsumer{it}, err
}

type natsConsumer struct{ it jetstream.MessagesContext }

func (c *natsConsumer) Receive(ctx context.Context, limit int) ([]Message, error) {
	return gather(ctx, limit, func(ctx context.Context) (Message, error) {
		m, err := c.it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return Message{}, err
		}
		return Message{Body: m.Data(), handle: m}, nil
	})
}

// Ack does not wait for the server's answer, as ours does not wait for the disk.
func (c *natsConsumer) Ack(messages []Message) error { return natsAck(messages) }

func natsAck(messages []Message) error {
	for _, m := range messages {
		if err := m.handle.(jetstream.Msg).Ack(); err != nil {
			return err
		}
	}
	return nil
}

func (c *natsConsumer) Close() error { c.it.Stop(); return nil }

// natsVisibility is the same queue, fetched from.
type natsVisibility struct{ *natsQueue }

func openNATSVisibility(e Env) (Visibility, error) {
	q, err := openNATSWork(e)
	return natsVisibility{q}, err
}

func (v natsVisibility) Send(bodies [][]byte, _ int) error { return v.publish(bodies) }

func (v natsVisibility) Receive(limit int) ([]Message, error) {
	batch, err := v.c.FetchNoWait(limit)
	if err != nil {
		return nil, err
	}
	var got []Message
	for m := range batch.Messages() {
		got = append(got, Message{Body: m.Data(), handle: m})
	}
	return got, batch.Error()
}

func (v natsVisibility) Delete(messages []Message) error { return natsAck(messages) }

// natsFanout is a stream that each queue is a consumer of: nothing is copied.
type natsFanout struct {
	*natsServer
	queues []jetstream.Consumer
	taking map[int]jetstream.MessagesContext
}

func openNATSFanout(e Env) (Fanout, error) {
	n, err := openNATS(e)
	if err != nil {
		return nil, err
	}
	return &natsFanout{natsServer: n, taking: map[int]jetstream.MessagesContext{}}, n.stream(jetstream.InterestPolicy)
}

func (f *natsFanout) Bind(queues int) error {
	for i := range queues {
		c, err := f.js.CreateConsumer(bg, "S", jetstream.ConsumerConfig{Durable: fmt.Sprintf("q%d", i), MaxAckPending: -1})
		if err != nil {
			return err
		}
		f.queues = append(f.queues, c)
	}
	return nil
}

func (f *natsFanout) Publish(body []byte) error {
	_, err := f.js.Publish(bg, "s", body)
	return err
}

func (f *natsFanout) Take(queue int) ([]byte, error) {
	it := f.taking[queue]
	if it == nil {
		var err error
		if it, err = f.queues[queue].Messages(jetstream.PullMaxMessages(100)); err != nil {
			return nil, err
		}
		f.taking[queue] = it
	}
	m, err := it.Next(jetstream.NextMaxWait(300 * time.Millisecond))
	if errors.Is(err, nats.ErrTimeout) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return m.Data(), m.Ack()
}

// natsDedupe is a key-value bucket: a key is created, or read if it is there.
type natsDedupe struct {
	*natsServer
	kv jetstream.KeyValue
}

func openNATSDedupe(e Env) (Dedupe, error) {
	n, err := openNATS(e)
	if err != nil {
		return nil, err
	}
	kv, err := n.js.CreateOrUpdateKeyValue(bg, jetstream.KeyValueConfig{Bucket: "keys"})
	return &natsDedupe{n, kv}, err
}

func (d *natsDedupe) Fill(keys [][]byte, result []byte) error {
	for _, k := range keys {
		if _, err := d.js.PublishAsync("$KV.keys."+hex.EncodeToString(k), result, jetstream.WithStallWait(time.Minute)); err != nil {
			return err
		}
	}
	<-d.js.PublishAsyncComplete()
	return nil
}

func (d *natsDedupe) Once(key, result []byte) (bool, []byte, error) {
	name := hex.EncodeToString(key)
	_, err := d.kv.Create(bg, name, result)
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return true, result, err
	}
	found, err := d.kv.Get(bg, name)
	if err != nil {
		return false, nil, err
	}
	return false, found.Value(), nil
}
