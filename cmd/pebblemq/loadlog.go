package main

import (
	"errors"

	"github.com/pebblemq/pebblemq/log"
)

// topicLoader makes topics and groups. Records come in batches.
type topicLoader struct {
	*loading
	topics map[string]*log.Topic
	batch  batch
}

func (l *topicLoader) topic(x *topicLine) error {
	_, err := log.LookupTopic(l.ctx, l.db, x.Name)
	if err := unless(err, "topic", x.Name); err != nil {
		return err
	}
	t, err := log.OpenTopic(l.ctx, l.db, x.Name, &log.TopicConfig{
		Partitions: x.Config.Partitions, Compression: x.Config.Compression, DedupeWindow: x.Config.DedupeWindow,
		IndexKeys: x.Config.IndexKeys, MaxRecordBytes: log.MaxRecordBytes,
	})
	if err != nil {
		return err
	}
	l.topics[x.Name] = t
	l.later(func() error { return t.Alter(l.ctx, &x.Config) })
	return nil
}

// batch is records of one partition that are appended together.
type batch struct {
	topic     *log.Topic
	partition int
	records   []log.Record
	bytes     int
}

const (
	batchRecords = 500
	batchBytes   = 1 << 20
)

func (l *topicLoader) record(x *recordLine) error {
	t := l.topics[x.Topic]
	if t == nil {
		return missing("topic", x.Topic)
	}
	r := log.Record{Key: x.Key, Value: x.Value, Timestamp: x.Time}
	size := len(r.Key) + len(r.Value)
	for _, h := range x.Headers {
		r.Headers = append(r.Headers, log.Header{Name: h.Name, Value: h.Value})
		size += len(h.Name) + len(h.Value)
	}
	b := &l.batch
	if b.topic != t || b.partition != x.Partition || len(b.records) == batchRecords || b.bytes+size > batchBytes {
		if err := l.flush(); err != nil {
			return err
		}
	}
	b.topic, b.partition, b.bytes = t, x.Partition, b.bytes+size
	b.records = append(b.records, r)
	return nil
}

// flush appends the batch.
func (l *topicLoader) flush() error {
	b := l.batch
	l.batch = batch{}
	if len(b.records) == 0 {
		return nil
	}
	_, err := b.topic.AppendWith(l.ctx, log.AppendOptions{Partition: log.InPartition(b.partition)}, b.records...)
	return err
}

func (l *topicLoader) group(x *groupLine) (err error) {
	t := l.topics[x.Topic]
	if t == nil {
		return missing("topic", x.Topic)
	}
	if err := t.Flush(l.ctx); err != nil {
		return err
	}
	g, err := t.OpenGroup(l.ctx, x.Name, nil)
	if err != nil {
		return err
	}
	m, err := g.Join(l.ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Leave(l.ctx)) }()
	for _, at := range x.Positions {
		to := log.Committed{Partition: at.Partition, Next: at.Done, Metadata: at.Metadata}
		if err := m.CommitOffset(l.ctx, to); err != nil {
			return err
		}
	}
	l.later(func() error { return g.Alter(l.ctx, &x.Config) })
	return nil
}
