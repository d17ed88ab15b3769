package log

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// JoinOptions are choices of one Member. Nil is the default.
//
// The callbacks tell the member which partitions it has. Poll and Records call them, in
// their caller's goroutine and before they return a record: first OnLost and OnRevoked,
// then OnAssigned. So a callback never runs beside the caller's own work on a record, and
// a member that does not poll hears nothing. Callbacks may commit, acknowledge, pause and
// seek. They must not call Poll, Records or Leave of their member. Their context is that
// of the call. Kafka's ConsumerRebalanceListener works like this.
type JoinOptions struct {
	// Name tells the member from others in Group.Info. It need not be unique. Default: none.
	Name string

	// OnAssigned is called with partitions that the member has got, before it returns a
	// record of them. This is the place to Seek to a position that is kept elsewhere. If it
	// panics, the next call of Poll or Records calls it again.
	OnAssigned func(ctx context.Context, m *Member, partitions []int)

	// OnRevoked is called with partitions that are to go to other members, before they
	// change hands. The member may still commit for them. It returns no more records of
	// them. The partitions change hands when OnRevoked has returned, or when the
	// DrainTimeout is over. Leave calls it too. Without OnRevoked, partitions change hands
	// at once.
	OnRevoked func(ctx context.Context, m *Member, partitions []int)

	// OnLost is called with partitions that the member has lost already, so that commits
	// for them are refused: the DrainTimeout was over, or the group was deleted. Default:
	// OnRevoked.
	OnLost func(ctx context.Context, m *Member, partitions []int)

	// DrainTimeout is how long another member waits for OnRevoked at most, from the moment
	// in which the partition is to change hands. pebblemq.Unlimited waits for as long as it
	// takes. It needs OnRevoked. Default: 30 s.
	DrainTimeout time.Duration
}

// maxMemberName is the longest Name of a member, in bytes.
const maxMemberName = 256

func (o *JoinOptions) check(g *Group) (full JoinOptions, err error) {
	if o == nil {
		return full, nil
	}
	full = *o
	switch {
	case len(full.Name) > maxMemberName:
		return full, g.longName(full.Name)
	case full.DrainTimeout < 0 && full.DrainTimeout != pebblemq.Unlimited:
		return full, store.Invalid("DrainTimeout %v of a member of %s is negative and not Unlimited", full.DrainTimeout, g.named())
	case full.OnRevoked == nil && full.DrainTimeout != 0:
		return full, store.Invalid("DrainTimeout %v of a member of %s has no OnRevoked to wait for", full.DrainTimeout, g.named())
	case full.OnRevoked != nil && full.DrainTimeout == 0:
		full.DrainTimeout = worker.DefaultDrainTimeout
	}
	if full.OnLost == nil {
		full.OnLost = full.OnRevoked
	}
	return full, nil
}

func (g *Group) longName(member string) error {
	return store.TooLarge("Name of a member of "+g.named()+" in bytes", int64(len(member)), maxMemberName)
}

// listens reports whether there are callbacks.
func (o *JoinOptions) listens() bool {
	return o.OnAssigned != nil || o.OnRevoked != nil || o.OnLost != nil
}

// heardOf reports whether the member may read a partition: with callbacks, once these know
// of it.
func (m *Member) heardOf(t *tenure) bool { return !m.o.listens() || t.heard.Load() }

// news is what the callbacks do not know yet.
type news struct{ assigned, revoked, lost []*tenure }

// notify calls the callbacks if there is news.
func (m *Member) notify(ctx context.Context) error {
	if !m.o.listens() {
		return nil
	}
	if err := m.told.Lock(ctx); err != nil {
		return err
	}
	defer m.told.Unlock()
	m.tell(ctx, m.news())
	return nil
}

// farewell tells the callbacks that the member leaves. From then on they hear nothing, and the
// member returns no records: a Poll may come before Leave has given the partitions up.
func (m *Member) farewell(ctx context.Context) {
	if !m.o.listens() {
		return
	}
	_ = m.told.Lock(context.WithoutCancel(ctx)) // which does not end
	defer m.told.Unlock()
	n := m.news()
	for _, t := range m.told.list {
		if sameOwner(t, n.assigned) == nil {
			n.revoked = append(n.revoked, t)
			t.heard.Store(false)
		}
	}
	n.assigned, m.told.list, m.told.left = nil, nil, true
	m.tell(ctx, n)
}

// news finds out what has changed, and takes it as told.
func (m *Member) news() (n news) {
	if m.told.left {
		return n
	}
	owned, leaving := *m.owned.Load(), *m.leaving.Load()
	var list []*tenure
	for _, t := range m.told.list {
		now := sameOwner(t, leaving)
		switch {
		case now != nil && now.hand.working(): // handlers of a Run, after which wake tells
			list = append(list, now)
		case now != nil:
			n.revoked = append(n.revoked, now)
		case sameOwner(t, owned) != nil: // after a Seek it is another tenure
			now = sameOwner(t, owned)
			now.heard.Store(true)
			list = append(list, now)
		default:
			n.lost = append(n.lost, t)
		}
	}
	for _, t := range owned {
		if sameOwner(t, n.revoked) != nil || sameOwner(t, list) != nil {
			continue
		}
		if m.o.OnRevoked == nil || t.hand.hold() { // else it is to go again
			list = append(list, t)
			n.assigned = append(n.assigned, t)
		}
	}
	m.told.list = list
	return n
}

// sameOwner returns the tenure of a list that belongs to the same time of ownership.
func sameOwner(t *tenure, list []*tenure) *tenure {
	for _, other := range list {
		if other.claim == t.claim && other.owner == t.owner {
			return other
		}
	}
	return nil
}

// tell calls the callbacks. If one panics, it lets revoked partitions go all the same, and
// assigned ones are news again.
func (m *Member) tell(ctx context.Context, n news) {
	defer func() {
		for _, t := range n.revoked {
			if t.hand.release() {
				t.passOn()
			}
		}
		m.told.list = slices.DeleteFunc(m.told.list, func(t *tenure) bool {
			return slices.Contains(n.assigned, t) && !t.heard.Load()
		})
	}()
	m.call(ctx, m.o.OnLost, n.lost)
	m.call(ctx, m.o.OnRevoked, n.revoked)
	m.call(ctx, m.o.OnAssigned, n.assigned)
	for _, t := range n.assigned {
		t.heard.Store(true)
	}
}

func (m *Member) call(ctx context.Context, callback func(context.Context, *Member, []int), about []*tenure) {
	if callback == nil || len(about) == 0 {
		return
	}
	partitions := make([]int, len(about))
	for i, t := range about {
		partitions[i] = int(t.claim.p.index)
	}
	callback(ctx, m, partitions)
}

// notices adds the callbacks to the options of a member.
func (o *RunOptions) notices(ctx context.Context, s *store.Store, join *JoinOptions) {
	lost := o.OnLost
	if lost == nil {
		lost = o.OnRevoked
	}
	drain := join.DrainTimeout
	join.OnAssigned = notice(ctx, s, "OnAssigned", drain, o.OnAssigned)
	join.OnRevoked = notice(ctx, s, "OnRevoked", drain, o.OnRevoked)
	join.OnLost = notice(ctx, s, "OnLost", drain, lost)
}

// notice returns a callback that does not end with the context of Run, and never fails.
func notice(run context.Context, s *store.Store, name string, drain time.Duration, callback func(context.Context, *Member, []int)) func(context.Context, *Member, []int) {
	if callback == nil {
		return nil
	}
	return func(_ context.Context, m *Member, partitions []int) {
		ctx := context.WithoutCancel(run)
		if drain != pebblemq.Unlimited {
			limited, stop := context.WithTimeoutCause(ctx, drain, worker.ErrDrainTimeout)
			defer stop()
			ctx = limited
		}
		err := store.Call(name, func() error {
			callback(ctx, m, partitions)
			return nil
		})
		if err != nil {
			s.Log().Warn(name+" failed", "topic", m.g.topic.name, "group", m.g.name, "error", err)
		}
	}
}

// listen calls the callbacks of the members also while there is no room for records, and while
// Run ends, until stop.
func listen(ctx context.Context, sources []worker.Source[Record]) (stop func()) {
	ctx, end := context.WithCancel(context.WithoutCancel(ctx))
	var all sync.WaitGroup
	for _, s := range sources {
		if m := s.(*source).m; m.o.listens() {
			all.Go(func() { m.listen(ctx) })
		}
	}
	return func() {
		end()
		all.Wait()
	}
}

// listen calls the callbacks whenever there is news, until ctx ends or the store stops.
func (m *Member) listen(ctx context.Context) {
	for {
		wake := m.wake.C()
		if m.notify(ctx) != nil || waitUntil(ctx, m.g.topic.s, wake, time.Time{}) != nil {
			return
		}
	}
}
