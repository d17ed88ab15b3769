package log

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// GroupConfig is stored with a group.
type GroupConfig struct {
	// From is where the group begins in each partition, settled when it is
	// created. Default: Start, so that nothing is missed.
	From From
}

// storedGroupConfig is GroupConfig on disk.
type storedGroupConfig struct {
	From string `json:"from"`
}

// Group is a named reader of a whole topic that shares the work among its
// members and remembers how far each partition has been dealt with. It is a
// goroutine's matter to be a member; all of them belong to this process.
//
// A partition is owned by at most one member at any instant. Joining and leaving
// moves as few partitions as possible, at once: the new owner begins at the
// committed offset, and what the former one had not committed is delivered again.
// Each change of owner raises the partition's epoch; a commit made under an older
// one is refused as FencedError.
//
// All handles of a group are the same. It is safe for concurrent use.
type Group struct {
	topic  *Topic
	name   string
	id     uint32
	from   string
	claims []claim

	members []*Member // in the order of joining; under the baton
}

// claim is what a group has to do with one partition. It is under the baton.
//
// Invariant: committed only falls by Seek.
type claim struct {
	store.Sealed
	g         *Group
	p         *partition
	committed uint64 // the next offset to be read
	epoch     uint64 // of the newest tenure
	tenure    *tenure
}

// Seal writes the committed offset.
func (c *claim) Seal(t *store.Turn) {
	if !c.g.topic.gone.Load() {
		t.Set(partitionKey(store.KindLogCommit, c.g.id, c.p.index), encodeCommit(c.committed))
	}
}

// wake tells the owner that there may be more to read.
func (c *claim) wake() {
	if c.tenure != nil {
		c.tenure.member.wake.Fire()
	}
}

// groupName is the name of a group in the catalog.
func groupName(topic uint32, name string) string {
	return string(binary.BigEndian.AppendUint32(nil, topic)) + name
}

// Group returns the group of that name, creating it if it does not exist: then it
// begins where the config says. Nil is the default config; another than the
// stored one is ErrConfigMismatch. A creation is durable when Group returns.
func (t *Topic) Group(name string, c *GroupConfig) (*Group, error) {
	if c == nil {
		c = &GroupConfig{}
	}
	if err := errors.Join(store.CheckName("group", name), c.From.check()); err != nil {
		return nil, err
	}
	ctx := context.Background()
	if err := t.ready(ctx); err != nil {
		return nil, err
	}
	g, err := t.openGroup(ctx, name, c.From)
	if err != nil {
		return nil, err
	}
	if g.from != c.From.String() {
		return nil, store.Mismatch(fmt.Sprintf("group %q of topic %q", name, t.name), "From", g.from, c.From)
	}
	return g, nil
}

// openGroup finds the group in memory or on disk, or creates it. What has to be
// read for that is read outside the baton; if another caller is faster, its
// group is taken.
func (t *Topic) openGroup(ctx context.Context, name string, from From) (*Group, error) {
	g, o, err := t.findGroup(ctx, name)
	if g != nil || err != nil {
		return g, err
	}
	var offsets []uint64
	if o != nil {
		offsets, err = t.readCommits(ctx, o.ID)
	} else {
		offsets, err = t.beginnings(ctx, from)
	}
	if err != nil {
		return nil, err
	}
	open := store.QuietFunc(func(turn *store.Turn) (err error) {
		if g = t.groups[name]; g == nil {
			g, err = t.installGroup(turn, name, from, offsets)
		}
		return err
	})
	if err := t.s.Do(ctx, open, store.Sync); err != nil {
		return nil, err
	}
	return g, nil
}

func (t *Topic) findGroup(ctx context.Context, name string) (g *Group, o *store.Object, err error) {
	err = t.s.Do(ctx, store.QuietFunc(func(turn *store.Turn) error {
		g = t.groups[name]
		o, _ = turn.Lookup(store.ClassGroup, groupName(t.id, name))
		return t.alive()
	}), store.Sync)
	return g, o, err
}

// readCommits returns the committed offset of each partition.
func (t *Topic) readCommits(ctx context.Context, group uint32) ([]uint64, error) {
	offsets := make([]uint64, len(t.partitions))
	lo, hi := store.Span(store.KindLogCommit, group)
	it, err := t.s.Iter(ctx, lo, hi)
	if err != nil {
		return nil, err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		err = t.readCommit(it, offsets)
	}
	return offsets, errors.Join(err, it.Close())
}

func (t *Topic) readCommit(it *store.Iter, offsets []uint64) error {
	p, err := decodePartitionKey(it.Key())
	if err != nil {
		return err
	}
	v, err := it.Value()
	if err != nil {
		return err
	}
	next, err := decodeCommit(v)
	if err != nil {
		return err
	}
	if int(p) >= len(offsets) || next > t.partitions[p].end.Load() {
		return corrupt("topic %q, partition %d: commit of offset %d", t.name, p, next)
	}
	offsets[p] = next
	return nil
}

// beginnings returns the offset of each partition that a new group begins at.
func (t *Topic) beginnings(ctx context.Context, from From) ([]uint64, error) {
	offsets := make([]uint64, len(t.partitions))
	var err error
	for i := range offsets {
		if offsets[i], err = t.partitions[i].resolve(ctx, from); err != nil {
			return nil, err
		}
	}
	return offsets, nil
}

// installGroup takes a group into memory, and into the catalog if it is new. The
// baton is held.
func (t *Topic) installGroup(turn *store.Turn, name string, from From, offsets []uint64) (*Group, error) {
	if err := t.alive(); err != nil {
		return nil, err
	}
	o, known := turn.Lookup(store.ClassGroup, groupName(t.id, name))
	if !known {
		config, err := json.Marshal(storedGroupConfig{from.String()})
		if err != nil {
			return nil, err
		}
		if o, err = turn.Create(store.ClassGroup, groupName(t.id, name), config); err != nil {
			return nil, err
		}
	}
	var config storedGroupConfig
	if err := json.Unmarshal(o.Config, &config); err != nil {
		return nil, corrupt("config of group %q: %v", name, err)
	}
	g := &Group{topic: t, name: name, id: o.ID, from: config.From, claims: make([]claim, len(offsets))}
	for i := range g.claims {
		c := &g.claims[i]
		c.g, c.p, c.committed = g, &t.partitions[i], offsets[i]
		c.p.claims = append(c.p.claims, c)
		if !known {
			turn.Touch(c)
		}
	}
	t.groups[name] = g
	return g, nil
}

// Name returns the name of the group.
func (g *Group) Name() string { return g.name }

// Seek moves the committed offset of the given partitions, of all if none is
// given, forwards or backwards. Members go on there at once. Each partition gets a
// new epoch, so commits for records received before the Seek are refused and
// cannot undo it. Either all partitions move or none; an Offset that is out of
// range in one of them is an OffsetError.
func (g *Group) Seek(ctx context.Context, to From, partitions ...int) error {
	if err := errors.Join(to.check(), g.topic.readable()); err != nil {
		return err
	}
	o := &seekOp{g: g}
	if len(partitions) == 0 {
		for i := range g.claims {
			partitions = append(partitions, i)
		}
	}
	for _, i := range partitions {
		p, err := g.topic.partition(i)
		if err != nil {
			return err
		}
		offset, err := p.resolve(ctx, to)
		if err != nil {
			return err
		}
		o.moves = append(o.moves, move{&g.claims[i], offset})
	}
	return g.topic.s.Do(ctx, o, store.Default)
}

type move struct {
	c  *claim
	to uint64
}

// seekOp is never part of a transaction.
type seekOp struct {
	g     *Group
	moves []move
}

func (o *seekOp) Frees() {}

func (o *seekOp) String() string {
	return fmt.Sprintf("seek in group %q of topic %q", o.g.name, o.g.topic.name)
}

func (o *seekOp) Run(t *store.Turn) error {
	if err := o.g.topic.alive(); err != nil {
		return err
	}
	for _, m := range o.moves {
		if m.to < m.c.p.start.Load() { // trimmed since it was resolved
			return m.c.p.outOfRange(int64(m.to))
		}
	}
	for _, m := range o.moves {
		m.c.committed = m.to
		t.Touch(m.c)
		if m.c.tenure != nil {
			m.c.assign(m.c.tenure.member)
		} else {
			m.c.epoch++
		}
	}
	o.g.publish()
	return nil
}

func (o *seekOp) Undo()               {}
func (o *seekOp) Visible(*store.Turn) {}

// Lag is how far a group is behind in one partition.
type Lag struct {
	Partition int
	Committed int64 // the next offset that the group wants
	End       int64 // of the next record to come
	Records   int64 // still to be committed; what was trimmed does not count
}

// Lag returns where the group stands in each partition. It is exact as of one
// moment for all of them.
func (g *Group) Lag(ctx context.Context) ([]Lag, error) {
	lags := make([]Lag, len(g.claims))
	err := g.topic.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		if err := g.topic.alive(); err != nil {
			return err
		}
		for i := range g.claims {
			c := &g.claims[i]
			end := c.p.end.Load()
			lags[i] = Lag{
				Partition: i,
				Committed: int64(c.committed),
				End:       int64(end),
				Records:   int64(end - max(c.committed, c.p.start.Load())),
			}
		}
		return nil
	}), store.NoSync)
	if err != nil {
		return nil, err
	}
	return lags, nil
}
