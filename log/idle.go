package log

import (
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/codec"
	"github.com/pebblemq/pebblemq/internal/store"
)

// ErrOffsetsExpired is returned for a group that has lost its place because it had no
// members for the topic's OffsetRetention.
var ErrOffsetsExpired = errors.New("log: offsets of the group have expired")

// storedGroup is what the catalog says of a group.
type storedGroup = codec.Stored[GroupConfig, groupState]

type groupState struct {
	// Idle is since when the group has had no members, in nanoseconds; 0 if it has some, or if
	// this was never checked. It may lie too late, never too early.
	Idle    int64 `json:"idle,omitempty"`
	Expired bool  `json:"expired,omitempty"` // its offsets are gone
}

func decodeGroup(o *store.Object) (storedGroup, error) {
	return codec.Decode[GroupConfig, groupState](fmt.Sprintf("group %q", o.Name[groupPrefix:]), o.Config)
}

// storeGroup changes what the catalog says of a group. The baton is held.
func storeGroup(t *store.Turn, o *store.Object, is storedGroup) error {
	text, err := is.Encode()
	if err == nil {
		t.Alter(o, text)
	}
	return err
}

// growGroup is storeGroup where nothing is to change on a disk that is nearly full, memory
// included.
func growGroup(t *store.Turn, o *store.Object, is storedGroup) error {
	if err := t.Grow(); err != nil {
		return err
	}
	return storeGroup(t, o, is)
}

func expired(t *Topic, name string) error {
	return fmt.Errorf("%w: group %q of topic %q; begin anew with From.Or, or DeleteGroup first", ErrOffsetsExpired, name, t.name)
}

// beginAnew is where a group goes on that has lost its place.
func (f From) beginAnew() From {
	if f.reset == Latest {
		return End()
	}
	return Start()
}

// busy notes that the group has members again, before it is forgotten in a crash
// that it ever had. The baton is held.
func (g *Group) busy(t *store.Turn) error {
	o, known := t.Lookup(store.ClassGroup, groupName(g.topic.id, g.name))
	if !known {
		return groupDeleted(g.topic, g.name)
	}
	is, err := decodeGroup(o)
	if err != nil {
		return err
	}
	if is.State.Idle != 0 {
		is.State.Idle = 0
		if err := growGroup(t, o, is); err != nil {
			return err
		}
	}
	g.idle = time.Time{}
	return nil
}

// armIdle has the idle groups looked at from a moment on.
func (t *Topic) armIdle(turn *store.Turn, at time.Time) {
	if t.config.Load().OffsetRetention == 0 || t.gone.Load() {
		return
	}
	if t.idle == nil {
		t.idle = store.NewTimer(t.lookAtIdle)
	}
	turn.Arm(t.idle, at)
}

// lookAtIdle is what the timer calls.
func (t *Topic) lookAtIdle(turn *store.Turn) {
	keep := t.config.Load().OffsetRetention
	if keep == 0 || t.gone.Load() {
		return
	}
	var next time.Time
	prefix := groupName(t.id, "")
	for _, o := range turn.List(store.ClassGroup, prefix) {
		end, err := t.lookAtGroup(turn, o, o.Name[len(prefix):], keep)
		if err != nil {
			t.s.Log().Error("look at an idle group", "topic", t.name, "group", o.Name[len(prefix):], "error", err)
			continue
		}
		if !end.IsZero() && (next.IsZero() || end.Before(next)) {
			next = end
		}
	}
	if !next.IsZero() {
		t.armIdle(turn, next)
	}
}

// lookAtGroup expires a group, or returns when it would.
func (t *Topic) lookAtGroup(turn *store.Turn, o *store.Object, name string, keep time.Duration) (end time.Time, err error) {
	is, err := decodeGroup(o)
	g := t.groups[name]
	if err != nil || is.State.Expired || g != nil && len(g.members) > 0 {
		return end, err
	}
	since := turn.Now()
	if is.State.Idle != 0 {
		since = time.Unix(0, is.State.Idle)
	}
	if g != nil && !g.idle.IsZero() && (is.State.Idle == 0 || g.idle.After(since)) {
		since = g.idle
	}
	if end = since.Add(keep); end.After(turn.Now()) {
		if is.State.Idle != since.UnixNano() {
			is.State.Idle = since.UnixNano()
			err = storeGroup(turn, o, is)
		}
		return end, err
	}
	t.s.Log().Warn("offsets of a group have expired", "topic", t.name, "group", name, "idle_since", since)
	turn.DeleteRange(store.Span(store.KindLogCommit, o.ID))
	if g != nil {
		g.expired.Store(true)
		g.delete()
	}
	is.State.Expired = true
	return time.Time{}, storeGroup(turn, o, is)
}
