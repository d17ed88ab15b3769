package log

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/object"
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

	followed atomic.Pointer[followed] // nil until Records is called

	groups    map[string]*Group    // opened ones; under the baton
	producers map[string]*Producer // the newest handles, nil if there are none; under the baton
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

func named(topic string) string { return fmt.Sprintf("topic %q", topic) }

// OpenTopic returns the topic of that name and creates it if need be. A nil config is the
// stored one, or the defaults for a new topic. Another config than the stored one is
// pebblemq.ErrConfigMismatch, which lists all fields that differ; EnsureTopic alters them.
// A creation is durable when OpenTopic
// returns, unless ctx says NoSync. It takes the same short time however much
// the topic holds.
func OpenTopic(ctx context.Context, db *pebblemq.DB, name string, c *TopicConfig) (*Topic, error) {
	topic, _, err := openTopic(ctx, db, name, c, false)
	return topic, err
}

// EnsureTopic is OpenTopic, but it alters a topic whose config is another one, see
// Topic.Alter. It says what it did.
func EnsureTopic(ctx context.Context, db *pebblemq.DB, name string, c *TopicConfig) (*Topic, pebblemq.Ensured, error) {
	return openTopic(ctx, db, name, c, true)
}

func openTopic(ctx context.Context, db *pebblemq.DB, name string, c *TopicConfig, ensure bool) (topic *Topic, did pebblemq.Ensured, err error) {
	if err := store.CheckName("topic", name); err != nil {
		return nil, did, err
	}
	config, err := c.normalize()
	if err != nil {
		return nil, did, fmt.Errorf("%s: %w", named(name), err)
	}
	l := layerOf(bridge.Store(db))
	err = l.s.Do(ctx, store.QuietFunc(func(t *store.Turn) (err error) {
		topic, err = l.open(t, name)
		if did.Created = errors.Is(err, ErrUnknownTopic); did.Created {
			topic, err = l.create(t, name, config)
		}
		return err
	}), store.Sync)
	if err != nil {
		return nil, pebblemq.Ensured{}, err
	}
	if c == nil || did.Created {
		return topic, did, nil
	}
	if ensure {
		did.Altered, err = topic.alter(ctx, config)
	} else {
		err = object.Compare(topic.Config(), config).Mismatch(named(name), "EnsureTopic")
	}
	if err != nil {
		return nil, pebblemq.Ensured{}, err
	}
	return topic, did, nil
}

// create puts a topic into the catalog and into memory. The baton is held.
func (l *layer) create(t *store.Turn, name string, config TopicConfig) (*Topic, error) {
	text, err := stored{Created: t.Now().UnixNano(), Config: config}.Encode()
	if err != nil {
		return nil, err
	}
	o, err := t.Create(store.ClassTopic, name, text)
	if err != nil {
		return nil, err
	}
	return l.add(t, o, config), nil
}

// LookupTopic returns a topic that exists, or ErrUnknownTopic.
func LookupTopic(ctx context.Context, db *pebblemq.DB, name string) (*Topic, error) {
	if err := store.CheckName("topic", name); err != nil {
		return nil, err
	}
	return layerOf(bridge.Store(db)).lookup(ctx, name)
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

// Alter gives the topic another config; nil and zero stand for the defaults. It counts at once
// and is durable when Alter returns. If the topic has records without a key when it gets
// Compact, they stay.
//
// With more Partitions no record moves, but keys do. From then on a key goes to its new
// partition, so its newer records can be handled before its older ones. Groups read the new
// partitions from their beginning, wherever they began in the others, and share them out at
// once. Fewer are pebblemq.ErrConfigMismatch, and so are another DedupeWindow or IndexKeys;
// nothing is altered then.
func (t *Topic) Alter(ctx context.Context, c *TopicConfig) error {
	config, err := c.normalize()
	if err != nil {
		return fmt.Errorf("%s: %w", named(t.name), err)
	}
	_, err = t.alter(ctx, config)
	return err
}

// alter returns the fields that it has altered.
func (t *Topic) alter(ctx context.Context, config TopicConfig) (fields []string, err error) {
	if config.Compact {
		if err := t.ready(ctx); err != nil {
			return nil, err
		}
	}
	err = t.s.Do(ctx, store.OpFunc(func(turn *store.Turn) error {
		if err := t.alive(); err != nil {
			return err
		}
		changes := object.Compare(t.Config(), config)
		fields = changes.Fields()
		if len(changes) == 0 {
			return nil
		}
		if err := changes.Alterable(named(t.name)); err != nil {
			return err
		}
		return t.become(turn, config)
	}), store.Sync)
	if err != nil {
		return nil, err
	}
	return fields, nil
}

// become makes the change. The baton is held.
func (t *Topic) become(turn *store.Turn, config TopicConfig) error {
	o, is, err := t.lookup(turn)
	if err != nil {
		return err
	}
	is.Config, is.Altered = config, turn.Now().UnixNano()
	text, err := is.Encode()
	if err != nil {
		return err
	}
	turn.Alter(o, text)
	if config.Compact && !t.Config().Compact {
		t.forgetTidy(turn)
	}
	t.config.Store(&config)
	t.grow(config.Partitions)
	t.armRetention(turn, turn.Now())
	t.armIdle(turn, turn.Now())
	t.armTidy(turn, turn.Now())
	return nil
}

// lookup finds the topic in the catalog. The baton is held.
func (t *Topic) lookup(turn *store.Turn) (*store.Object, stored, error) {
	o, ok := turn.Lookup(store.ClassTopic, t.name)
	if !ok {
		return nil, stored{}, unknownTopic(t.name)
	}
	is, err := decodeConfig(o)
	return o, is, err
}

// Delete removes the topic, its records, and its groups with their offsets, durably. Calls
// that are blocked on it return ErrTopicDeleted, as all others do from then on. A topic
// that is created under the name later has nothing of it. Disk space returns in the
// background.
func (t *Topic) Delete(ctx context.Context) error {
	return t.s.Do(ctx, store.FreeingFunc{OpFunc: func(turn *store.Turn) error {
		if err := t.alive(); err != nil {
			return err
		}
		o, ok := turn.Lookup(store.ClassTopic, t.name)
		if !ok {
			return unknownTopic(t.name)
		}
		for _, g := range turn.List(store.ClassGroup, groupName(t.id, "")) {
			turn.Drop(g, store.KindLogCommit)
		}
		t.drop(turn)
		delete(layerOf(t.s).topics, t.name)
		turn.Drop(o, store.KindLogBatch, store.KindLogMeta, store.KindLogProducer, store.KindLogWindow, store.KindLogIndex)
		return nil
	}}, store.Sync)
}

// open finds a topic in memory or in the catalog. The baton is held.
func (l *layer) open(t *store.Turn, name string) (*Topic, error) {
	if topic := l.topics[name]; topic != nil {
		return topic, nil
	}
	o, ok := t.Lookup(store.ClassTopic, name)
	if !ok {
		return nil, unknownTopic(name)
	}
	is, err := decodeConfig(o)
	if err != nil {
		return nil, err
	}
	return l.add(t, o, is.Config), nil
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
	topic.armTidy(t, t.Now())
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
	if t.tidying.stones != nil {
		turn.Disarm(t.tidying.stones.Timer)
	}
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
