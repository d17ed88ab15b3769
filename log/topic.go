package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// TopicConfig is stored with a topic.
type TopicConfig struct {
	// Partitions is the number of independent sequences that the topic is made
	// of; equal keys go to the same one. Default 1, at most MaxPartitions.
	Partitions int `json:"partitions"`

	// Compression of the stored batches. Default NoCompression.
	Compression Compression `json:"compression,omitempty"`

	// MaxRecordBytes is the most that the key, value and headers of a record
	// may take. Default DefaultRecordBytes (1 MiB, as in Kafka), at most the
	// constant MaxRecordBytes (32 MiB). A record above MaxBatchBytes (16 MiB)
	// must be the only one of its Append.
	MaxRecordBytes int `json:"max_record_bytes,omitempty"`

	// TimestampType is whose time the records have. Default CreateTime.
	TimestampType TimestampType `json:"timestamp_type,omitempty"`
}

func (c *TopicConfig) normalize() (TopicConfig, error) {
	var n TopicConfig
	if c != nil {
		n = *c
	}
	switch {
	case n.Partitions < 0:
		return n, store.Invalid("Partitions %d is negative", n.Partitions)
	case n.Partitions > MaxPartitions:
		return n, store.TooLarge("Partitions", int64(n.Partitions), MaxPartitions)
	case n.Partitions == 0:
		n.Partitions = 1
	}
	switch {
	case n.MaxRecordBytes < 0:
		return n, store.Invalid("MaxRecordBytes %d is negative", n.MaxRecordBytes)
	case n.MaxRecordBytes > MaxRecordBytes:
		return n, store.TooLarge("MaxRecordBytes", int64(n.MaxRecordBytes), MaxRecordBytes)
	case n.MaxRecordBytes == 0:
		n.MaxRecordBytes = DefaultRecordBytes
	}
	return n, errors.Join(n.Compression.check(), n.TimestampType.check())
}

// Topic is a named log of one or more partitions. All handles of a topic are the
// same; it is safe for concurrent use and needs no closing.
type Topic struct {
	s          *store.Store
	name       string
	id         uint32
	config     TopicConfig
	partitions []partition
	gone       atomic.Bool   // deleted; set in Run
	turn       atomic.Uint32 // counts calls that bring keyless records

	groups map[string]*Group // opened ones; under the baton
}

// layer is the log's memory of a store.
type layer struct {
	s      *store.Store
	topics map[string]*Topic // opened ones; under the baton
}

type layerKey struct{}

func layerOf(s *store.Store) *layer {
	return s.Local(layerKey{}, func() any {
		return &layer{s: s, topics: make(map[string]*Topic)}
	}).(*layer)
}

// OpenTopic returns the topic of that name, creating it if it does not exist. A
// nil config is the default one. If the topic exists with another config the
// error is ErrConfigMismatch and names the field; LookupTopic opens it whatever
// its config. A creation is durable when OpenTopic returns. It takes the same
// short time however much the topic holds.
func OpenTopic(db *pebblemq.DB, name string, c *TopicConfig) (*Topic, error) {
	config, err := c.normalize()
	if err != nil {
		return nil, err
	}
	if err := store.CheckName("topic", name); err != nil {
		return nil, err
	}
	l := layerOf(bridge.Store(db))
	var topic *Topic
	open := store.QuietFunc(func(t *store.Turn) (err error) {
		if topic, err = l.open(t, name); !errors.Is(err, ErrUnknownTopic) {
			return err
		}
		stored, err := json.Marshal(config)
		if err != nil {
			return err
		}
		o, err := t.Create(store.ClassTopic, name, stored)
		if err == nil {
			topic = l.add(o, config)
		}
		return err
	})
	if err := l.s.Do(context.Background(), open, store.Sync); err != nil {
		return nil, err
	}
	if err := topic.config.matches(name, config); err != nil {
		return nil, err
	}
	return topic, nil
}

// matches refuses to open a topic with another config than it has.
func (c TopicConfig) matches(name string, given TopicConfig) error {
	object := fmt.Sprintf("topic %q", name)
	switch {
	case c.Partitions != given.Partitions:
		return store.Mismatch(object, "Partitions", c.Partitions, given.Partitions)
	case c.Compression != given.Compression:
		return store.Mismatch(object, "Compression", c.Compression, given.Compression)
	case c.MaxRecordBytes != given.MaxRecordBytes:
		return store.Mismatch(object, "MaxRecordBytes", c.MaxRecordBytes, given.MaxRecordBytes)
	case c.TimestampType != given.TimestampType:
		return store.Mismatch(object, "TimestampType", c.TimestampType, given.TimestampType)
	}
	return nil
}

// LookupTopic returns an existing topic with the config it has. If there is none
// the error is ErrUnknownTopic.
func LookupTopic(db *pebblemq.DB, name string) (*Topic, error) {
	if err := store.CheckName("topic", name); err != nil {
		return nil, err
	}
	return layerOf(bridge.Store(db)).lookup(name)
}

// lookup opens a topic that exists.
func (l *layer) lookup(name string) (*Topic, error) {
	var topic *Topic
	lookup := store.QuietFunc(func(t *store.Turn) (err error) {
		topic, err = l.open(t, name)
		return err
	})
	if err := l.s.Do(context.Background(), lookup, store.Sync); err != nil {
		return nil, err
	}
	return topic, nil
}

// TopicInfo describes a topic.
type TopicInfo struct {
	Name   string
	Config TopicConfig
}

// ListTopics returns the topics of a store, by name.
func ListTopics(ctx context.Context, db *pebblemq.DB) ([]TopicInfo, error) {
	l := layerOf(bridge.Store(db))
	var list []TopicInfo
	err := l.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		for _, o := range t.List(store.ClassTopic, "") {
			config, err := decodeConfig(o)
			if err != nil {
				return err
			}
			list = append(list, TopicInfo{Name: o.Name, Config: config})
		}
		return nil
	}), store.Sync)
	return list, err
}

// DeleteTopic removes a topic, its records, and its groups with their offsets.
// Calls that are blocked on it return ErrUnknownTopic, as all others do from then
// on. A topic that is created under the name later has nothing of it. Disk space
// returns in the background.
func DeleteTopic(ctx context.Context, db *pebblemq.DB, name string) error {
	if err := store.CheckName("topic", name); err != nil {
		return err
	}
	l := layerOf(bridge.Store(db))
	return l.s.Do(ctx, &deleteTopic{l, name}, store.Sync)
}

type deleteTopic struct {
	l    *layer
	name string
}

func (o *deleteTopic) Frees() {}

func (o *deleteTopic) Run(t *store.Turn) error {
	obj, ok := t.Lookup(store.ClassTopic, o.name)
	if !ok {
		return unknownTopic(o.name)
	}
	for _, g := range t.List(store.ClassGroup, groupName(obj.ID, "")) {
		t.Drop(g, store.KindLogCommit)
	}
	if topic := o.l.topics[o.name]; topic != nil {
		topic.drop()
		delete(o.l.topics, o.name)
	}
	t.Drop(obj, store.KindLogBatch, store.KindLogMeta)
	return nil
}

func (o *deleteTopic) Undo()               {}
func (o *deleteTopic) Visible(*store.Turn) {}

// open finds a topic in memory or in the catalog. The baton is held.
func (l *layer) open(t *store.Turn, name string) (*Topic, error) {
	if topic := l.topics[name]; topic != nil {
		return topic, nil
	}
	o, ok := t.Lookup(store.ClassTopic, name)
	if !ok {
		return nil, unknownTopic(name)
	}
	config, err := decodeConfig(o)
	if err != nil {
		return nil, err
	}
	return l.add(o, config), nil
}

func (l *layer) add(o *store.Object, c TopicConfig) *Topic {
	topic := &Topic{
		s: l.s, name: o.Name, id: o.ID, config: c,
		partitions: make([]partition, c.Partitions),
		groups:     make(map[string]*Group),
	}
	for i := range topic.partitions {
		p := &topic.partitions[i]
		p.topic, p.index = topic, uint32(i)
	}
	l.topics[o.Name] = topic
	return topic
}

func decodeConfig(o *store.Object) (TopicConfig, error) {
	var c TopicConfig
	if err := json.Unmarshal(o.Config, &c); err != nil {
		return c, corrupt("config of topic %q: %v", o.Name, err)
	}
	if c.Partitions < 1 || c.Partitions > MaxPartitions {
		return c, corrupt("config of topic %q has %d partitions", o.Name, c.Partitions)
	}
	if c.MaxRecordBytes == 0 { // stored before there was a choice
		c.MaxRecordBytes = DefaultRecordBytes
	}
	if c.MaxRecordBytes < 0 || c.MaxRecordBytes > MaxRecordBytes {
		return c, corrupt("config of topic %q has records of %d bytes", o.Name, c.MaxRecordBytes)
	}
	if c.Compression > lastCompression {
		return c, fmt.Errorf("%w: log: topic %q has compression %d", store.ErrFormat, o.Name, uint8(c.Compression))
	}
	if c.TimestampType > lastTimestampType {
		return c, fmt.Errorf("%w: log: topic %q has timestamp type %d", store.ErrFormat, o.Name, uint8(c.TimestampType))
	}
	return c, nil
}

func unknownTopic(name string) error { return fmt.Errorf("%w: %q", ErrUnknownTopic, name) }

// drop ends the topic in memory. The baton is held.
func (t *Topic) drop() {
	t.gone.Store(true)
	for i := range t.partitions {
		t.partitions[i].drop()
	}
	for _, g := range t.groups {
		g.disband()
	}
}

// alive refuses the use of a deleted topic.
func (t *Topic) alive() error {
	if t.gone.Load() {
		return unknownTopic(t.name)
	}
	return nil
}

// readable refuses reads on a closed store; a failed one is still read.
func (t *Topic) readable() error {
	if err := t.s.Cause(); err != nil && !errors.Is(err, store.ErrFailed) {
		return err
	}
	return t.alive()
}

// Name returns the name of the topic.
func (t *Topic) Name() string { return t.name }

// Partitions returns how many partitions the topic has. They are numbered
// from 0.
func (t *Topic) Partitions() int { return len(t.partitions) }

// Offsets returns the bounds of what can be read from a partition: the offset of
// its oldest record, and that of the next one to come.
func (t *Topic) Offsets(ctx context.Context, partition int) (start, end int64, err error) {
	p, err := t.partition(partition)
	if err != nil {
		return 0, 0, err
	}
	if err := errors.Join(t.readable(), ctx.Err()); err != nil {
		return 0, 0, err
	}
	if err := p.ready(ctx); err != nil {
		return 0, 0, err
	}
	start = int64(p.start.Load()) // before end, which never falls below it
	return start, int64(p.end.Load()), nil
}

func (t *Topic) partition(i int) (*partition, error) {
	if i < 0 || i >= len(t.partitions) {
		return nil, fmt.Errorf("%w: topic %q has no partition %d", ErrUnknownPartition, t.name, i)
	}
	return &t.partitions[i], nil
}

// ready brings all partitions into memory.
func (t *Topic) ready(ctx context.Context) error {
	for i := range t.partitions {
		if err := t.partitions[i].ready(ctx); err != nil {
			return err
		}
	}
	return nil
}
