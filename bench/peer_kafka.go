package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var kafkaServer = &Server{Name: "kafka", Env: "BENCH_KAFKA"}

var kafkaPeer = &Peer{
	Name:    "kafka",
	About:   "one broker in KRaft mode over loopback TCP, a topic of one partition, acks=all, no linger",
	Modules: []string{"github.com/twmb/franz-go"},
	Server:  kafkaServer,
	Durable: "flush.messages=1",
	Relaxed: "default: acknowledged from the page cache",
	Log:     openKafka,
	Groups:  true,
}

const kafkaTopic = "log"

type kafkaLog struct {
	address string
	c       *kgo.Client
}

func openKafka(e Env) (Log, error) {
	at, err := kafkaServer.find()
	if err != nil {
		return nil, err
	}
	l := &kafkaLog{address: at.address}
	l.c, err = kgo.NewClient(kgo.SeedBrokers(at.address), kgo.DefaultProduceTopic(kafkaTopic), kgo.ProducerLinger(0),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil || e.Reopen {
		return l, err
	}
	return l, newTopic(kadm.NewClient(l.c), e)
}

// newTopic waits until the one before is gone.
func newTopic(admin *kadm.Client, e Env) error {
	_, err := admin.DeleteTopic(bg, kafkaTopic)
	if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return err
	}
	config := map[string]*string{}
	if e.durable() {
		config["flush.messages"] = kadm.StringPtr("1")
	}
	for range 100 {
		_, err = admin.CreateTopic(bg, 1, 1, config, kafkaTopic)
		if !errors.Is(err, kerr.TopicAlreadyExists) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

func (l *kafkaLog) Append(records [][]byte) error {
	batch := make([]*kgo.Record, len(records))
	for i, r := range records {
		batch[i] = &kgo.Record{Value: r}
	}
	return l.c.ProduceSync(bg, batch...).FirstErr()
}

func (l *kafkaLog) Replay(n int, f func([]byte) error) error {
	from := map[string]map[int32]kgo.Offset{kafkaTopic: {0: kgo.NewOffset().AtStart()}}
	return l.consume(n, f, nil, kgo.ConsumePartitions(from))
}

func (l *kafkaLog) ReplayGroup(name string, n, commitEvery int, f func([]byte) error) error {
	since := 0
	commit := func(c *kgo.Client, r *kgo.Record) error {
		if since++; since < commitEvery {
			return nil
		}
		since = 0
		return c.CommitRecords(bg, r)
	}
	return l.consume(n, f, commit, kgo.ConsumeTopics(kafkaTopic), kgo.ConsumerGroup(name), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
}

func (l *kafkaLog) consume(n int, f func([]byte) error, after func(*kgo.Client, *kgo.Record) error, opts ...kgo.Opt) error {
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(l.address))...)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	for n > 0 {
		got := c.PollRecords(ctx, 5000)
		if err := got.Err(); err != nil {
			return fmt.Errorf("%d records to come: %w", n, err)
		}
		for _, r := range got.Records() {
			if err := f(r.Value); err != nil {
				return err
			}
			if after != nil {
				if err := after(c, r); err != nil {
					return err
				}
			}
			n--
		}
	}
	return nil
}

func (l *kafkaLog) Close() error { l.c.Close(); return nil }
