package log

import (
	"context"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// TopicInfo is what is known of a topic at one moment.
type TopicInfo struct {
	Name    string
	ID      uint32      // of no other topic, also if it is deleted
	Config  TopicConfig // with its defaults filled in
	Created time.Time
	Altered time.Time // zero if it was not

	// Partitions are those of the topic, in order. Topics leaves out the following fields,
	// because they would be read from disk.
	Partitions []PartitionInfo
	Appended   int64 // offsets that were given out so far, in all partitions
	Kept       int64 // offsets that can be read, in all partitions; a compacted topic has fewer records
}

// PartitionInfo is what can be read from a partition, as Topic.Offsets has it.
type PartitionInfo struct {
	Start int64 // the offset of its oldest record
	End   int64 // the offset of the next one to come
	Bytes int64 // of its records as they are stored; those just before the start may count
}

// Info returns what is known of the topic.
func (t *Topic) Info(ctx context.Context) (info TopicInfo, err error) {
	err = t.s.Do(ctx, store.QuietFunc(func(turn *store.Turn) error {
		if err := t.alive(); err != nil {
			return err
		}
		o, is, err := t.lookup(turn)
		if err == nil {
			info = describe(o, is)
		}
		return err
	}), store.NoSync)
	if err != nil {
		return TopicInfo{}, err
	}
	for i := range t.partitions() {
		var p PartitionInfo
		if p.Start, p.End, err = t.Offsets(ctx, i); err != nil {
			return TopicInfo{}, err
		}
		if p.Bytes, err = t.storedBytes(ctx, i); err != nil {
			return TopicInfo{}, err
		}
		info.Partitions = append(info.Partitions, p)
		info.Appended, info.Kept = info.Appended+p.End, info.Kept+p.End-p.Start
	}
	return info, nil
}

// storedBytes returns how many bytes of batches a partition has. A batch that the start is in
// counts as a whole.
func (t *Topic) storedBytes(ctx context.Context, partition int) (int64, error) {
	p, err := t.partition(partition)
	if err != nil {
		return 0, err
	}
	var stored, start uint64
	err = t.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		stored, start = p.tail.bytes, p.start.Load()
		return nil
	}), store.NoSync)
	if err != nil || start == 0 {
		return int64(stored), err
	}
	below, err := p.bytesBelow(ctx, start)
	return int64(stored - min(below, stored)), err
}

func describe(o *store.Object, is stored) TopicInfo {
	created, altered := is.Times()
	return TopicInfo{Name: o.Name, ID: o.ID, Config: is.Config, Created: created, Altered: altered}
}

// Topics returns what is known of all topics of a store, by name.
func Topics(ctx context.Context, db *pebblemq.DB) (list []TopicInfo, err error) {
	var objects []store.Object // as they are now: to decode thousands would hold up all others
	err = bridge.Store(db).Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		for _, o := range t.List(store.ClassTopic, "") {
			objects = append(objects, *o)
		}
		return nil
	}), store.NoSync)
	if err != nil {
		return nil, err
	}
	for i := range objects {
		is, err := decodeConfig(&objects[i])
		if err != nil {
			return nil, err
		}
		list = append(list, describe(&objects[i], is))
	}
	return list, nil
}

// GroupInfo is what is known of a group at one moment.
type GroupInfo struct {
	Name    string
	ID      uint32 // of no other group, also if it is deleted
	Config  GroupConfig
	Created time.Time
	Altered time.Time // zero if it was not

	Members []MemberInfo // in the order of joining; all are of this process
	Expired bool         // its offsets are gone, see ErrOffsetsExpired

	// Open says whether this process has opened the group since it opened the store. Lag is
	// counted in memory: it is zero without.
	Open bool
	Lag  int64 // records that are not committed, in all partitions; Group.Lag has each

	// Blocked is how many partitions a member cannot read on in, because records were trimmed
	// or cannot be read. Group.Lag has the error of each.
	Blocked int
}

// MemberInfo is what is known of a member of a group.
type MemberInfo struct {
	Name       string // see JoinOptions
	Joined     time.Time
	Partitions []int // that it owns, those included that it is about to hand over
}

// Info returns what is known of the group. Committed and Lag tell where it stands.
func (g *Group) Info(ctx context.Context) (info GroupInfo, err error) {
	err = g.topic.s.Do(ctx, store.QuietFunc(func(turn *store.Turn) error {
		if err := g.alive(); err != nil {
			return err
		}
		o, known := turn.Lookup(store.ClassGroup, groupName(g.topic.id, g.name))
		if !known {
			return groupDeleted(g.topic, g.name)
		}
		info, err = g.topic.describeGroup(o)
		return err
	}), store.NoSync)
	return info, err
}

// Groups returns what is known of all groups of the topic, by name.
func (t *Topic) Groups(ctx context.Context) (list []GroupInfo, err error) {
	err = t.s.Do(ctx, store.QuietFunc(func(turn *store.Turn) error {
		for _, o := range turn.List(store.ClassGroup, groupName(t.id, "")) {
			info, err := t.describeGroup(o)
			if err != nil {
				return err
			}
			list = append(list, info)
		}
		return t.alive()
	}), store.NoSync)
	return list, err
}

// describeGroup is called under the baton.
func (t *Topic) describeGroup(o *store.Object) (GroupInfo, error) {
	is, err := decodeGroup(o)
	if err != nil {
		return GroupInfo{}, err
	}
	name := o.Name[groupPrefix:]
	info := GroupInfo{Name: name, ID: o.ID, Config: is.Config, Expired: is.State.Expired}
	info.Created, info.Altered = is.Times()
	g := t.groups[name]
	if g == nil {
		return info, nil
	}
	info.Open = true
	if len(g.members) > 0 {
		info.Members = g.describeMembers()
	}
	for _, c := range g.claims() {
		info.Lag += int64(c.done.left(c.p.start.Load(), c.p.end.Load()))
		if c.unread() != nil {
			info.Blocked++
		}
	}
	return info, nil
}

// describeMembers is called under the baton.
func (g *Group) describeMembers() []MemberInfo {
	list := make([]MemberInfo, len(g.members))
	number := make(map[*Member]int, len(g.members))
	for i, m := range g.members {
		list[i], number[m] = MemberInfo{Name: m.o.Name, Joined: m.joined}, i
	}
	for n, c := range g.claims() {
		if c.tenure == nil {
			continue
		}
		if i, ok := number[c.tenure.member]; ok {
			list[i].Partitions = append(list[i].Partitions, n)
		}
	}
	return list
}
