package log

import (
	"context"
	"encoding/binary"

	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// GroupConfig is stored with a group.
type GroupConfig struct {
	// From is where the group begins in each partition, settled when it is
	// created. Default: Start, so that nothing is missed. With From.Or, a group
	// whose place was lost to the topic's OffsetRetention begins anew where that
	// says; otherwise it is ErrOffsetsExpired. It has to be the same whenever the
	// group is opened, so an At counts from a fixed moment, not from now.
	From From
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
	topic *Topic
	name  string
	id    uint32
	from  string
	list  atomic.Pointer[[]*claim] // grows under the baton

	members []*Member // in the order of joining; under the baton
	idle    time.Time // since when there have been none; under the baton
	deleted atomic.Bool
	expired atomic.Bool // before it was deleted
}

// gone reports that the group, or its topic, was deleted.
func (g *Group) gone() bool { return g.deleted.Load() || g.topic.gone.Load() }

// alive refuses the use of a deleted group.
func (g *Group) alive() error {
	if g.expired.Load() {
		return expired(g.topic, g.name)
	}
	if g.deleted.Load() {
		return groupDeleted(g.topic, g.name)
	}
	return g.topic.alive()
}

func groupDeleted(t *Topic, name string) error {
	return fmt.Errorf("%w: %q of topic %q", ErrGroupDeleted, name, t.name)
}

func unknownGroup(t *Topic, name string) error {
	return fmt.Errorf("%w: %q of topic %q", ErrUnknownGroup, name, t.name)
}

// Groups returns the names of the topic's groups, in order.
func (t *Topic) Groups(ctx context.Context) (names []string, err error) {
	err = t.s.Do(ctx, store.QuietFunc(func(turn *store.Turn) error {
		prefix := groupName(t.id, "")
		for _, o := range turn.List(store.ClassGroup, prefix) {
			names = append(names, o.Name[len(prefix):])
		}
		return t.alive()
	}), store.Sync)
	return names, err
}

// DeleteGroup removes a group with its offsets, durably. Its members end with
// ErrGroupDeleted, and what they still commit is refused. A group that is created
// under the name later has nothing of it. The group of that name in a Retry topic is
// another one.
func (t *Topic) DeleteGroup(ctx context.Context, name string) error {
	if err := store.CheckName("group", name); err != nil {
		return err
	}
	return t.s.Do(ctx, store.FreeingFunc{OpFunc: func(turn *store.Turn) error {
		if err := t.alive(); err != nil {
			return err
		}
		o, known := turn.Lookup(store.ClassGroup, groupName(t.id, name))
		if !known {
			return unknownGroup(t, name)
		}
		turn.Drop(o, store.KindLogCommit)
		if g := t.groups[name]; g != nil {
			g.delete()
		}
		return nil
	}}, store.Sync)
}

// delete ends the group in memory. The baton is held.
func (g *Group) delete() {
	g.deleted.Store(true)
	g.disband()
	delete(g.topic.groups, g.name)
	for _, c := range g.claims() {
		c.p.claims = slices.DeleteFunc(c.p.claims, func(other *claim) bool { return other == c })
	}
}

// groupName is the name of a group in the catalog.
func groupName(topic uint32, name string) string {
	return string(binary.BigEndian.AppendUint32(nil, topic)) + name
}

// Group returns the group of that name, creating it if it does not exist: then it
// begins where the config says. Nil is the default config; another than the
// stored one is ErrConfigMismatch; LookupGroup opens it whatever its config. A
// creation is durable when Group returns.
func (t *Topic) Group(name string, c *GroupConfig) (*Group, error) {
	if c == nil {
		c = &GroupConfig{}
	}
	if err := errors.Join(store.CheckName("group", name), c.From.check()); err != nil {
		return nil, err
	}
	g, err := t.openGroup(name, c.From, true)
	if err != nil {
		return nil, err
	}
	if g.from != c.From.String() {
		return nil, t.mismatch(name, g.from, c.From)
	}
	return g, nil
}

func (t *Topic) mismatch(group, stored string, from From) error {
	return store.Mismatch(fmt.Sprintf("group %q of topic %q", group, t.name), "From", stored, from)
}

// LookupGroup returns an existing group with the config it has. If there is none the
// error is ErrUnknownGroup; if its offsets have expired, ErrOffsetsExpired, whatever
// its From says.
func (t *Topic) LookupGroup(name string) (*Group, error) {
	if err := store.CheckName("group", name); err != nil {
		return nil, err
	}
	return t.openGroup(name, From{}, false)
}

// openGroup finds the group in memory or on disk, or creates it. What has to be
// read for that is read outside the baton, and holds only if the group is still the
// one that was found.
func (t *Topic) openGroup(name string, from From, create bool) (*Group, error) {
	ctx := context.Background()
	if err := t.ready(ctx); err != nil {
		return nil, err
	}
	for {
		found, err := t.findGroup(ctx, name)
		if found.g != nil || err != nil {
			return found.g, err
		}
		switch {
		case found.o == nil && !create:
			return nil, unknownGroup(t, name)
		case found.o != nil && create && found.from != from.String(): // or it would begin anew by that
			return nil, t.mismatch(name, found.from, from)
		}
		done, err := t.placeOf(ctx, found, from)
		if err != nil {
			return nil, err
		}
		if g, err := t.installFound(ctx, found, from, done); g != nil || err != nil {
			return g, err
		}
	}
}

// foundGroup is what the memory and the catalog had of a group under the baton.
type foundGroup struct {
	name    string
	g       *Group        // nil if it is not in memory
	o       *store.Object // nil if there is none
	from    string        // of its config
	expired bool
}

func (t *Topic) findGroup(ctx context.Context, name string) (found foundGroup, err error) {
	err = t.s.Do(ctx, store.QuietFunc(func(turn *store.Turn) (err error) {
		if found, err = t.lookupGroup(turn, name); err != nil {
			return err
		}
		return t.alive()
	}), store.Sync)
	return found, err
}

func (t *Topic) lookupGroup(turn *store.Turn, name string) (foundGroup, error) {
	found := foundGroup{name: name, g: t.groups[name]}
	o, known := turn.Lookup(store.ClassGroup, groupName(t.id, name))
	if !known {
		return found, nil
	}
	c, err := decodeGroup(o)
	found.o, found.from, found.expired = o, c.From, c.Expired
	return found, err
}

// placeOf returns where a group stands, or is to begin.
func (t *Topic) placeOf(ctx context.Context, found foundGroup, from From) ([]progress, error) {
	switch {
	case found.o == nil:
		return t.beginnings(ctx, from)
	case !found.expired:
		return t.readCommits(ctx, found.o.ID)
	case from.reset == None:
		return nil, expired(t, found.name)
	}
	return t.beginnings(ctx, from.beginAnew())
}

// installFound takes a group into memory that is still as it was found. It returns
// none if it is not; if another caller is faster, its group.
func (t *Topic) installFound(ctx context.Context, found foundGroup, from From, done []progress) (g *Group, err error) {
	err = t.s.Do(ctx, store.QuietFunc(func(turn *store.Turn) error {
		now, err := t.lookupGroup(turn, found.name)
		if g = now.g; now == found && err == nil {
			g, err = t.installGroup(turn, found.o, found.name, from, done)
		}
		return err
	}), store.Sync)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// readCommits returns the committed offset of each partition.
func (t *Topic) readCommits(ctx context.Context, group uint32) ([]progress, error) {
	lo, hi := store.Span(store.KindLogCommit, group)
	it, err := t.s.Iter(ctx, lo, hi)
	if err != nil {
		return nil, err
	}
	done := make([]progress, t.Partitions()) // no fewer than the iterator sees
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		err = t.readCommit(it, done)
	}
	if err = errors.Join(err, it.Close()); store.IsUnread(err) {
		return nil, fmt.Errorf("log: committed offsets of a group of topic %q: %w", t.name, err)
	}
	return done, err
}

func (t *Topic) readCommit(it *store.Iter, done []progress) error {
	p, err := decodePartitionKey(it.Key())
	if err != nil {
		return err
	}
	v, err := it.Value()
	if err != nil {
		return err
	}
	at, err := decodeProgress(v)
	if err != nil {
		return err
	}
	highest := at.next
	if n := len(at.above); n > 0 {
		highest = at.above[n-1].hi
	}
	if int(p) >= len(done) {
		return corrupt("topic %q, partition %d: commit of offset %d", t.name, p, highest)
	}
	if at := t.partitions()[p]; highest > at.end.Load() && at.appendable() == nil {
		return corrupt("topic %q, partition %d: commit of offset %d", t.name, p, highest)
	}
	done[p] = at
	return nil
}

// beginnings returns where in each partition a new group begins.
func (t *Topic) beginnings(ctx context.Context, from From) ([]progress, error) {
	list := t.partitions()
	done := make([]progress, len(list))
	var err error
	for i, p := range list {
		if done[i].next, err = p.resolve(ctx, from); err != nil {
			return nil, err
		}
	}
	return done, nil
}

// installGroup takes a group into memory, and into the catalog if o is nil. The
// baton is held.
func (t *Topic) installGroup(turn *store.Turn, o *store.Object, name string, from From, done []progress) (*Group, error) {
	if err := t.alive(); err != nil {
		return nil, err
	}
	known := o != nil
	if !known {
		config, err := storedGroup{From: from.String()}.encode()
		if err != nil {
			return nil, err
		}
		if o, err = turn.Create(store.ClassGroup, groupName(t.id, name), config); err != nil {
			return nil, err
		}
	}
	config, err := decodeGroup(o)
	if err != nil {
		return nil, err
	}
	if config.Expired {
		known, config.Expired = false, false
		if err := config.grow(turn, o); err != nil {
			return nil, err
		}
	}
	g := &Group{topic: t, name: name, id: o.ID, from: config.From, idle: turn.Now()}
	g.setClaims(g.newClaims(t.partitions()))
	for i, c := range g.claims() {
		if i < len(done) { // else the topic has grown since
			c.done = done[i]
		}
		if !known {
			if !from.exact() { // what was trimmed meanwhile was never asked for
				c.done.next = max(c.done.next, c.p.start.Load())
			}
			turn.Touch(c)
		}
	}
	t.groups[name] = g
	t.armIdle(turn, g.idle.Add(t.config.Load().OffsetRetention))
	return g, nil
}

// Name returns the name of the group.
func (g *Group) Name() string { return g.name }

// Seek moves the group in the given partitions, in all if none is given, forwards
// or backwards: replay is a Seek back. What was acknowledged one by one counts no
// more. Members go on there at once. Each partition gets a new epoch, so commits
// for records received before the Seek are refused and cannot undo it. Either all
// partitions move or none; an Offset or a Shift that is out of range in one of them
// is an OffsetError. Its durability is that of the store or of ctx.
func (g *Group) Seek(ctx context.Context, to From, partitions ...int) error {
	if to.kind != fromShift {
		if err := to.check(); err != nil {
			return err
		}
	}
	if err := g.topic.readable(); err != nil {
		return err
	}
	claims, err := g.some(partitions)
	if err != nil {
		return err
	}
	o := &seekOp{g: g}
	for _, c := range claims {
		m := move{c: c, by: to.offset}
		if to.kind != fromShift {
			if m.to, err = c.p.resolve(ctx, to); err != nil {
				return err
			}
			m.by = 0
		}
		o.moves = append(o.moves, m)
	}
	o.exact, o.relative = to.exact(), to.kind == fromShift
	return g.topic.s.Do(ctx, o, store.Default)
}

// some returns the claims of the given partitions, all if none is given.
func (g *Group) some(partitions []int) ([]*claim, error) {
	if len(partitions) == 0 {
		return g.claims(), nil
	}
	claims := make([]*claim, len(partitions))
	for i, n := range partitions {
		var err error
		if claims[i], err = g.claim(n); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

type move struct {
	c  *claim
	to uint64
	by int64 // instead, from where the group is
}

// seekOp is never part of a transaction.
type seekOp struct {
	g        *Group
	exact    bool // else what was trimmed since it was resolved is passed over
	relative bool
	moves    []move
}

func (o *seekOp) Frees() {}

func (o *seekOp) Run(t *store.Turn) error {
	if err := o.g.alive(); err != nil {
		return err
	}
	for i := range o.moves {
		m := &o.moves[i]
		target := int64(m.to)
		switch {
		case o.relative:
			target = int64(m.c.done.next) + m.by
		case !o.exact:
			target = max(target, int64(m.c.p.start.Load()))
		}
		if target < int64(m.c.p.start.Load()) || target > int64(m.c.p.end.Load()) {
			return m.c.p.outOfRange(target)
		}
		m.to = uint64(target)
	}
	for _, m := range o.moves {
		m.c.done = progress{next: m.to}
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

// Committed returns where the group stands in each partition, in their order.
func (g *Group) Committed(ctx context.Context) ([]Committed, error) {
	var list []Committed
	err := g.topic.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		for i, c := range g.claims() {
			list = append(list, Committed{Partition: i, Next: int64(c.done.next), Metadata: c.done.metadata})
		}
		return g.alive()
	}), store.NoSync)
	if err != nil {
		return nil, err
	}
	return list, nil
}
