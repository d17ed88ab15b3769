package log

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/object"
	"github.com/pebblemq/pebblemq/internal/store"
)

// GroupConfig is stored with a group.
type GroupConfig struct {
	// From is where the group begins in each partition, settled when it is
	// created. Default: Start, so that nothing is missed. An At is a fixed moment, not one that is
	// computed anew at each start: that would be another config.
	//
	// With From.Or, the group goes on where that says whenever its place is gone. If records
	// were trimmed before it has read them, it passes over them; Lag.Skipped counts them, and
	// a warning is logged. If its offsets were lost to the topic's OffsetRetention, it begins
	// anew. Without From.Or, the one is an OffsetError of the partition, while the others go
	// on, and the other is ErrOffsetsExpired.
	From From `json:"from"`
}

func (c *GroupConfig) normalize() (GroupConfig, error) {
	if c == nil {
		return GroupConfig{}, nil
	}
	if year := c.From.at.Year(); c.From.kind == fromTime && (year < 0 || year > 9999) {
		return *c, store.Invalid("From of a group is in the year %d, not between 0 and 9999", year)
	}
	return *c, c.From.check()
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
	list  atomic.Pointer[[]*claim] // grows under the baton

	reset atomic.Uint32 // a Reset: that of the config

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

// Delete removes the group with its offsets, durably. Its members end with
// ErrGroupDeleted, and what they still commit is refused. A group that is created
// under the name later has nothing of it. The group of that name in a Retry topic is
// another one.
func (g *Group) Delete(ctx context.Context) error {
	return g.topic.deleteGroup(ctx, g.name, g.alive)
}

// DeleteGroup is Group.Delete for a group that cannot be opened, because its offsets have
// expired.
func (t *Topic) DeleteGroup(ctx context.Context, name string) error {
	if err := store.CheckName("group", name); err != nil {
		return err
	}
	return t.deleteGroup(ctx, name, t.alive)
}

func (t *Topic) deleteGroup(ctx context.Context, name string, alive func() error) error {
	return t.s.Do(ctx, store.FreeingFunc{OpFunc: func(turn *store.Turn) error {
		if err := alive(); err != nil {
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
}

// groupPrefix is how many bytes of a name in the catalog say of which topic the group is.
const groupPrefix = 4

// groupName is the name of a group in the catalog.
func groupName(topic uint32, name string) string {
	return string(binary.BigEndian.AppendUint32(nil, topic)) + name
}

func (t *Topic) namedGroup(name string) string {
	return fmt.Sprintf("group %q of topic %q", name, t.name)
}

func (g *Group) named() string { return g.topic.namedGroup(g.name) }

// OpenGroup returns the group of that name and creates it if need be: then it begins where
// the config says. A nil config is the stored one, or the defaults for a new group. Another
// config than the stored one is pebblemq.ErrConfigMismatch; EnsureGroup alters it. A group
// whose offsets have expired begins anew if its config says where, see GroupConfig; else it
// is ErrOffsetsExpired. A creation is durable when OpenGroup
// returns, unless ctx says NoSync.
func (t *Topic) OpenGroup(ctx context.Context, name string, c *GroupConfig) (*Group, error) {
	g, _, err := t.openGroup(ctx, name, c, false)
	return g, err
}

// EnsureGroup is OpenGroup, but it alters a group whose config is another one, see
// Group.Alter. It says what it did.
func (t *Topic) EnsureGroup(ctx context.Context, name string, c *GroupConfig) (*Group, pebblemq.Ensured, error) {
	return t.openGroup(ctx, name, c, true)
}

// LookupGroup returns a group that exists, or ErrUnknownGroup. If its offsets have expired
// it is ErrOffsetsExpired, whatever its From says.
func (t *Topic) LookupGroup(ctx context.Context, name string) (*Group, error) {
	if err := store.CheckName("group", name); err != nil {
		return nil, err
	}
	if err := t.ready(ctx); err != nil {
		return nil, err
	}
	for {
		found, err := t.findGroup(ctx, name)
		switch {
		case found.g != nil || err != nil:
			return found.g, err
		case found.o == nil:
			return nil, unknownGroup(t, name)
		case found.expired:
			return nil, expired(t, name)
		}
		if g, err := t.takeIn(ctx, found, found.config); g != nil || err != nil {
			return g, err
		}
	}
}

// openGroup finds the group in memory or on disk, or creates it. It reads outside the baton, so
// the result counts only if the group is still the one that was found.
func (t *Topic) openGroup(ctx context.Context, name string, c *GroupConfig, ensure bool) (g *Group, did pebblemq.Ensured, err error) {
	given, err := c.normalize()
	if err := errors.Join(store.CheckName("group", name), err); err != nil {
		return nil, did, err
	}
	if err := t.ready(ctx); err != nil {
		return nil, did, err
	}
	for g == nil {
		found, err := t.findGroup(ctx, name)
		if err != nil {
			return nil, pebblemq.Ensured{}, err
		}
		did.Created = found.o == nil
		config := given
		switch {
		case found.o == nil:
		case c == nil:
			config = found.config
		case found.config != given && !ensure: // or it would begin anew by that
			return nil, pebblemq.Ensured{}, object.Compare(found.config, given).Mismatch(t.namedGroup(name), "EnsureGroup")
		case found.config != given:
			if did.Altered, err = t.alterGroup(ctx, name, given, t.alive); err != nil {
				return nil, pebblemq.Ensured{}, err
			}
			late, stop := store.Outlive(ctx) // a change was made, of which the end of ctx does not tell
			defer stop()
			ctx = late
			continue
		}
		if g = found.g; g == nil {
			g, err = t.takeIn(ctx, found, config)
		}
		if err != nil {
			return nil, pebblemq.Ensured{}, err
		}
	}
	return g, did, nil
}

// alterGroup returns the fields that it has altered.
func (t *Topic) alterGroup(ctx context.Context, name string, c GroupConfig, alive func() error) (fields []string, err error) {
	err = t.s.Do(ctx, store.QuietFunc(func(turn *store.Turn) error {
		if err := alive(); err != nil {
			return err
		}
		o, known := turn.Lookup(store.ClassGroup, groupName(t.id, name))
		if !known {
			return unknownGroup(t, name)
		}
		is, err := decodeGroup(o)
		if err != nil {
			return err
		}
		fields = object.Compare(is.Config, c).Fields()
		if len(fields) == 0 {
			return nil
		}
		is.Config, is.Altered = c, turn.Now().UnixNano()
		if err := growGroup(turn, o, is); err != nil {
			return err
		}
		if g := t.groups[name]; g != nil {
			g.reset.Store(uint32(c.From.reset))
		}
		return nil
	}), store.Sync)
	return fields, err
}

// Alter gives the group another config, durably; nil stands for the defaults. The group
// stays where it is, and an altered From counts if its place is lost. Seek moves it.
func (g *Group) Alter(ctx context.Context, c *GroupConfig) error {
	config, err := c.normalize()
	if err != nil {
		return err
	}
	_, err = g.topic.alterGroup(ctx, g.name, config, g.alive)
	return err
}

// foundGroup is what the memory and the catalog had of a group under the baton.
type foundGroup struct {
	name    string
	g       *Group        // nil if it is not in memory
	o       *store.Object // nil if there is none
	config  GroupConfig
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
	is, err := decodeGroup(o)
	found.o, found.config, found.expired = o, is.Config, is.State.Expired
	return found, err
}

// takeIn creates the group that was not found, or takes the one that was into memory.
func (t *Topic) takeIn(ctx context.Context, found foundGroup, config GroupConfig) (*Group, error) {
	done, err := t.placeOf(ctx, found, config.From)
	if err != nil {
		return nil, err
	}
	return t.installFound(ctx, found, config, done)
}

// installFound takes a group into memory that is still as it was found. It returns
// none if it is not; if another caller is faster, its group.
func (t *Topic) installFound(ctx context.Context, found foundGroup, config GroupConfig, done []progress) (g *Group, err error) {
	err = t.s.Do(ctx, store.QuietFunc(func(turn *store.Turn) error {
		now, err := t.lookupGroup(turn, found.name)
		if g = now.g; now == found && err == nil {
			g, err = t.installGroup(turn, found.o, found.name, config, done)
		}
		return err
	}), store.Sync)
	if err != nil {
		return nil, err
	}
	return g, nil
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
func (t *Topic) installGroup(turn *store.Turn, o *store.Object, name string, config GroupConfig, done []progress) (*Group, error) {
	if err := t.alive(); err != nil {
		return nil, err
	}
	known := o != nil
	if !known {
		text, err := storedGroup{Created: turn.Now().UnixNano(), Config: config}.Encode()
		if err != nil {
			return nil, err
		}
		if o, err = turn.Create(store.ClassGroup, groupName(t.id, name), text); err != nil {
			return nil, err
		}
	}
	is, err := decodeGroup(o)
	if err != nil {
		return nil, err
	}
	if is.State.Expired {
		known, is.State.Expired = false, false
		if err := growGroup(turn, o, is); err != nil {
			return nil, err
		}
	}
	g := &Group{topic: t, name: name, id: o.ID, idle: turn.Now()}
	g.reset.Store(uint32(config.From.reset))
	g.setClaims(g.newClaims(t.partitions()))
	for i, c := range g.claims() {
		if i < len(done) { // else the topic has grown since
			c.done = done[i]
		}
		if !known {
			if !config.From.exact() { // what was trimmed meanwhile was never asked for
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

// Topic returns the topic of the group.
func (g *Group) Topic() *Topic { return g.topic }

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
