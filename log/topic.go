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
	"github.com/pebblemq/pebblemq/internal/window"
)

// Topic is a named log of one or more partitions. All handles of a topic are the
// same; it is safe for concurrent use and needs no closing.
type Topic struct {
	s           *store.Store
	name        string
	id          uint32
	list        atomic.Pointer[[]*partition] // grows under the baton
	gone        atomic.Bool                  // deleted; set in Run
	partitioner atomic.Pointer[Partitioner]  // nil is Kafka's
	turn        atomic.Uint32                // counts calls that bring keyless records
	config      atomic.Pointer[TopicConfig]
	coders      *coders
	window      *window.Window // nil without DedupeWindow
	retention   retention
	sweeping    sweeping
	idle        *store.Timer // to look at groups without members; nil if it was never needed
	tidying     tidying

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
			topic = l.add(t, o, config)
		}
		return err
	})
	if err := l.s.Do(context.Background(), open, store.Sync); err != nil {
		return nil, err
	}
	if err := config.match(name, topic.Config()); err != nil {
		return nil, err
	}
	return topic, nil
}

// LookupTopic returns an existing topic with the config it has. If there is none
// the error is ErrUnknownTopic.
func LookupTopic(db *pebblemq.DB, name string) (*Topic, error) {
	if err := store.CheckName("topic", name); err != nil {
		return nil, err
	}
	return layerOf(bridge.Store(db)).lookup(context.Background(), name)
}

// lookup opens a topic that exists.
func (l *layer) lookup(ctx context.Context, name string) (*Topic, error) {
	var topic *Topic
	lookup := store.QuietFunc(func(t *store.Turn) (err error) {
		topic, err = l.open(t, name)
		return err
	})
	if err := l.s.Do(ctx, lookup, store.Sync); err != nil {
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

// AlterTopic changes the configuration of a topic. It counts at once and is durable
// when AlterTopic returns. Records without a key that a topic has when it gets
// Compact stay.
//
// With more Partitions no record moves, but keys do: from now on a key goes where
// the new number puts it, so that its newer records can be handled before its older
// ones. Groups read the new partitions from their beginning, wherever they began
// in the others, and share them out at once. Fewer are refused, and so are another
// DedupeWindow or IndexKeys.
func AlterTopic(ctx context.Context, db *pebblemq.DB, name string, c TopicConfig) error {
	config, err := c.normalize()
	if err != nil {
		return err
	}
	if err := store.CheckName("topic", name); err != nil {
		return err
	}
	l := layerOf(bridge.Store(db))
	if config.Compact {
		topic, err := l.lookup(ctx, name)
		if err != nil {
			return err
		}
		if err := topic.ready(ctx); err != nil {
			return err
		}
	}
	return l.s.Do(ctx, store.OpFunc(func(t *store.Turn) error {
		topic, err := l.open(t, name)
		if err != nil {
			return err
		}
		if n := topic.Partitions(); config.Partitions < n {
			return store.Invalid("topic %q has %d Partitions, %d are fewer", name, n, config.Partitions)
		}
		if had := topic.Config().DedupeWindow; config.DedupeWindow != had {
			return store.Invalid("DedupeWindow of topic %q is %v for good", name, had)
		}
		if had := topic.Config().IndexKeys; config.IndexKeys != had {
			return store.Invalid("IndexKeys of topic %q is %v for good", name, had)
		}
		stored, err := json.Marshal(config)
		if err != nil {
			return err
		}
		o, _ := t.Lookup(store.ClassTopic, name)
		t.Alter(o, stored)
		if config.Compact && !topic.Config().Compact {
			topic.forgetTidy(t)
		}
		topic.config.Store(&config)
		topic.grow(config.Partitions)
		topic.armRetention(t, t.Now())
		topic.armIdle(t, t.Now())
		return nil
	}), store.Sync)
}

// DeleteTopic removes a topic, its records, and its groups with their offsets.
// Calls that are blocked on it return ErrTopicDeleted, as all others do from then
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
		topic.drop(t)
		delete(o.l.topics, o.name)
	}
	t.Drop(obj, store.KindLogBatch, store.KindLogMeta, store.KindLogProducer, store.KindLogWindow, store.KindLogIndex)
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
	return l.add(t, o, config), nil
}

func (l *layer) add(t *store.Turn, o *store.Object, c TopicConfig) *Topic {
	topic := &Topic{
		s: l.s, name: o.Name, id: o.ID, coders: codersOf(l.s),
		groups: make(map[string]*Group),
	}
	list := topic.newPartitions(0, c.Partitions)
	topic.list.Store(&list)
	topic.config.Store(&c)
	topic.tidying = newTidying()
	topic.sweeping = newSweeping()
	topic.retention.what = "enforce retention"
	topic.retention.timer = store.NewTimer(topic.startRetention)
	topic.armRetention(t, t.Now())
	topic.armIdle(t, t.Now())
	if c.DedupeWindow > 0 {
		topic.window = window.New(l.s, fmt.Sprintf("topic %q", o.Name), store.KindLogWindow, o.ID, c.DedupeWindow)
	}
	l.topics[o.Name] = topic
	return topic
}

func unknownTopic(name string) error { return fmt.Errorf("%w: %q", ErrUnknownTopic, name) }

// drop ends the topic in memory. The baton is held.
func (t *Topic) drop(turn *store.Turn) {
	t.gone.Store(true)
	turn.Disarm(t.retention.timer)
	if t.idle != nil {
		turn.Disarm(t.idle)
	}
	if t.window != nil {
		t.window.Close(turn)
	}
	for _, p := range t.partitions() {
		p.drop()
	}
	for _, g := range t.groups {
		g.disband()
	}
}

// alive refuses the use of a deleted topic.
func (t *Topic) alive() error {
	if t.gone.Load() {
		return fmt.Errorf("%w: %q", ErrTopicDeleted, t.name)
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

// readableIn is readable for a call, whose context must not have ended.
func (t *Topic) readableIn(ctx context.Context) error {
	if err := store.CheckContext(ctx); err != nil {
		return err
	}
	return errors.Join(t.readable(), ctx.Err())
}

// Config returns the topic's configuration, defaults filled in.
func (t *Topic) Config() TopicConfig { return *t.config.Load() }

// Name returns the name of the topic.
func (t *Topic) Name() string { return t.name }

// Partitions returns how many partitions the topic has at the moment. They are
// numbered from 0.
func (t *Topic) Partitions() int { return len(t.partitions()) }

// Offsets returns the bounds of what can be read from a partition: the offset of
// its oldest record, and that of the next one to come.
func (t *Topic) Offsets(ctx context.Context, partition int) (start, end int64, err error) {
	p, err := t.partition(partition)
	if err != nil {
		return 0, 0, err
	}
	if err := t.readableIn(ctx); err != nil {
		return 0, 0, err
	}
	if err := p.ready(ctx); err != nil {
		return 0, 0, err
	}
	start = int64(p.start.Load()) // before end, which never falls below it
	return start, int64(p.end.Load()), nil
}

func (t *Topic) partition(i int) (*partition, error) {
	list := t.partitions()
	if i < 0 || i >= len(list) {
		return nil, fmt.Errorf("%w: topic %q has no partition %d", ErrUnknownPartition, t.name, i)
	}
	return list[i], nil
}

// ready brings all partitions into memory.
func (t *Topic) ready(ctx context.Context) error {
	for _, p := range t.partitions() {
		if err := p.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}
