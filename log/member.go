package log

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// maxPollBytes bounds the keys, values and headers that one Poll returns, after
// the first record.
const maxPollBytes = 4 << 20

// Member is one member of a group. It reads the partitions that it owns, from
// their committed offsets on, each in order. It is safe for concurrent use, but
// records that two goroutines poll come in no order between them.
//
// A member that does not read keeps its partitions: there are no heartbeats in one
// process. Leave gives them up.
type Member struct {
	g     *Group
	drain time.Duration // of a Run: how long a partition may wait for the calls under way
	wake  store.Signal  // records, another assignment, or the end

	owned atomic.Pointer[[]*tenure] // replaced under the baton
	left  atomic.Bool

	mu struct {
		store.Latch
		seen    *[]*tenure // what cursors was made from
		cursors []*owned
		paused  map[int]uint64 // by partition: the number of the owner who has paused it
		turn    int
		served  int   // records in a row from the cursor whose turn it is
		failed  error // to be returned by the next call
	}
}

// owned is a member's place in a partition.
type owned struct {
	t   *tenure
	r   reader
	out outage
}

// read returns the next record that was not finished when the tenure began.
func (o *owned) read(ctx context.Context, r *Record) (ok bool, err error) {
	for before := o.r.next; ; {
		ok, err = o.r.read(ctx, r)
		if !ok || err != nil {
			return false, err
		}
		if !o.t.from.finished(uint64(r.Offset)) {
			r.gap = uint64(r.Offset) - before
			return true, nil
		}
	}
}

// Join adds a member to the group. It gets its share of the partitions at once.
func (g *Group) Join(ctx context.Context) (*Member, error) { return g.join(ctx, 0) }

func (g *Group) join(ctx context.Context, drain time.Duration) (*Member, error) {
	m := &Member{g: g, drain: drain}
	m.mu.Latch = store.NewLatch()
	m.owned.Store(&[]*tenure{})
	err := g.topic.s.Do(unsynced(ctx), store.QuietFunc(func(t *store.Turn) error {
		if err := g.alive(); err != nil {
			return err
		}
		if err := g.busy(t); err != nil {
			return err
		}
		g.members = append(g.members, m)
		g.rebalance()
		return nil
	}), store.NoSync)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// unsynced is ctx for a change of memory only: there is nothing to wait for, and
// so no outcome that could be unknown.
func unsynced(ctx context.Context) context.Context {
	return store.WithDurability(ctx, store.NoSync)
}

// Leave gives the member's partitions to the others at once. Calls that are
// blocked in Poll or Records return ErrLeft. Leaving twice is harmless. A member
// leaves even if ctx has ended: nobody else could give its partitions up.
func (m *Member) Leave(ctx context.Context) error {
	if err := store.CheckContext(ctx); err != nil {
		return err
	}
	return m.g.topic.s.Do(unsynced(context.WithoutCancel(ctx)), store.PromptFunc{OpFunc: func(t *store.Turn) error {
		if m.left.Swap(true) {
			return nil
		}
		m.g.members = slices.DeleteFunc(m.g.members, func(o *Member) bool { return o == m })
		if len(m.g.members) == 0 {
			m.g.idle = t.Now()
			m.g.topic.armIdle(t, m.g.idle)
		}
		m.g.rebalance()
		m.owned.Store(&[]*tenure{})
		m.wake.Fire()
		return nil
	}}, store.NoSync)
}

// Group returns the group of the member.
func (m *Member) Group() *Group { return m.g }

// Partitions returns the partitions that the member owns at the moment.
func (m *Member) Partitions() []int {
	var list []int
	for _, t := range *m.owned.Load() {
		list = append(list, int(t.claim.p.index))
	}
	return list
}

// rebalance gives every partition an owner. The baton is held.
func (g *Group) rebalance() {
	number := make(map[*Member]int, len(g.members))
	for i, m := range g.members {
		number[m] = i
	}
	claims := g.claims()
	owners := make([]int, len(claims))
	for i, c := range claims {
		owners[i] = nobody
		if n, ok := number[c.owner()]; ok {
			owners[i] = n
		}
	}
	spread(owners, len(g.members))
	for i, n := range owners {
		c := claims[i]
		switch {
		case n == nobody:
			c.vacate()
		case c.owner() != g.members[n] || c.tenure.member.left.Load():
			c.pass(g.members[n])
		}
	}
	g.publish()
}

// publish tells the members what they own now. They are woken when they can see it:
// one that had looked before would wait for ever.
func (g *Group) publish() {
	owned := make(map[*Member][]*tenure, len(g.members))
	for _, c := range g.claims() {
		if t := c.tenure; t != nil && !t.hand.ending() {
			owned[t.member] = append(owned[t.member], t)
		}
	}
	for _, m := range g.members {
		list := owned[m]
		if !slices.Equal(list, *m.owned.Load()) {
			m.owned.Store(&list)
			m.wake.Fire()
		}
	}
}

// disband ends the group in memory, because the topic goes. The baton is held.
func (g *Group) disband() {
	for _, c := range g.claims() {
		c.vacate()
	}
	for _, m := range g.members {
		m.owned.Store(&[]*tenure{})
		m.wake.Fire()
	}
	g.members = nil
}

// Poll returns the next records of the member's partitions, at most limit, waiting
// until there is one. Each partition's come in order. They are not committed: see
// Commit. A partition whose committed offset was trimmed away is an OffsetError
// that names it, until Group.Seek has moved the group. When ctx ends first its error is
// returned, where Kafka's poll returns nothing. Limit is at least 1.
//
// If records of a partition cannot be read, Poll returns a DamageError, and the next
// calls return records of the other partitions. The member stays at the damaged place and
// tries it again after a pause of a second to a minute: if that fails, Poll returns
// the error again. Group.Seek moves the group behind the place; see DamageError.To.
func (m *Member) Poll(ctx context.Context, limit int) ([]Record, error) {
	if limit < 1 {
		return nil, store.Invalid("Poll of at most %d records, at least 1", limit)
	}
	for {
		wake := m.wake.C()
		found, err := m.take(ctx, limit)
		if len(found) > 0 || err != nil {
			return found, err
		}
		if err := m.wait(ctx, wake); err != nil {
			return nil, err
		}
	}
}

// Records returns the records of the member's partitions as they come, each
// partition's in order, until an error. It is Poll one by one. It may be called again
// after a DamageError.
func (m *Member) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			r, err := m.next(ctx)
			if err != nil {
				yield(Record{}, err)
				return
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (m *Member) next(ctx context.Context) (r Record, err error) {
	for {
		if ok, err := m.one(ctx, &r); ok || err != nil {
			return r, err
		}
		wake := m.wake.C()
		if ok, err := m.one(ctx, &r); ok || err != nil {
			return r, err
		}
		if err := m.wait(ctx, wake); err != nil {
			return r, err
		}
	}
}

func (m *Member) one(ctx context.Context, r *Record) (ok bool, err error) {
	if err := m.mu.Lock(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	if err := m.usable(); err != nil {
		return false, err
	}
	if err := m.mu.failed; err != nil {
		m.mu.failed = nil
		return false, err
	}
	return m.step(ctx, r)
}

// take collects what there is, up to limit.
func (m *Member) take(ctx context.Context, limit int) (found []Record, err error) {
	if err := m.mu.Lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	if err := m.usable(); err != nil {
		return nil, err
	}
	if err := m.mu.failed; err != nil {
		m.mu.failed = nil
		return nil, err
	}
	var r Record
	for bytes := 0; len(found) < limit && bytes < maxPollBytes; {
		ok, err := m.step(ctx, &r)
		if err != nil && len(found) == 0 {
			return nil, err
		}
		if store.IsUnread(err) {
			m.mu.failed = err // the next step is at another partition
		}
		if err != nil || !ok {
			break // the next call returns the error
		}
		size, _ := r.payload()
		bytes += size
		if found == nil {
			found = make([]Record, 0, min(limit, m.buffered()))
		}
		found = append(found, r)
	}
	return slices.DeleteFunc(found, func(r Record) bool { return r.tenure.lost() }), nil
}

// buffered is how many records may follow without another read, counting the one
// at hand. It holds those of the batch that step has just read from.
func (m *Member) buffered() int {
	return int(m.mu.cursors[m.mu.turn].r.cur.left) + 1
}

func (m *Member) usable() error {
	if m.left.Load() {
		return ErrLeft
	}
	if err := m.g.topic.readable(); err != nil {
		return err
	}
	return m.g.alive()
}

// fairShare is how many records come from one partition before it is the next
// one's turn.
const fairShare = 256

// step reads a record from the partition whose turn it is, or else from any; ok is
// false if no partition has one.
func (m *Member) step(ctx context.Context, r *Record) (ok bool, err error) {
	m.adopt()
	if m.mu.served >= fairShare {
		m.mu.turn, m.mu.served = m.mu.turn+1, 0
	}
	for range m.mu.cursors {
		if m.mu.turn >= len(m.mu.cursors) {
			m.mu.turn = 0
		}
		o := m.mu.cursors[m.mu.turn]
		if m.paused(o) || o.out.lasts() {
			m.mu.turn, m.mu.served = m.mu.turn+1, 0
			continue
		}
		ok, err := o.read(ctx, r)
		o.see(ok, err)
		if ok && !o.t.lost() {
			r.tenure = o.t
			m.mu.served++
			return ok, err
		}
		m.mu.turn, m.mu.served = m.mu.turn+1, 0
		if err != nil && !o.t.lost() {
			return false, err
		}
	}
	return false, nil
}

// adopt takes over the assignment of the moment. A partition that the member has
// kept goes on where it was.
func (m *Member) adopt() {
	list := m.owned.Load()
	if list == m.mu.seen {
		return
	}
	m.mu.seen = list
	before := m.mu.cursors
	m.mu.cursors = make([]*owned, len(*list))
	for i, t := range *list {
		j := slices.IndexFunc(before, func(o *owned) bool { return o.t == t })
		if j >= 0 {
			m.mu.cursors[i] = before[j]
			continue
		}
		m.mu.cursors[i] = &owned{t: t, r: reader{p: t.claim.p, next: t.from.next}}
	}
	m.forgetPauses()
}

func (m *Member) wait(ctx context.Context, wake <-chan struct{}) error {
	if err := errors.Join(ctx.Err(), m.usable()); err != nil {
		return err
	}
	var again <-chan time.Time
	try, err := m.nextTry(ctx)
	if err != nil {
		return err
	}
	if try != nil {
		defer try.Stop()
		again = try.C
	}
	select {
	case <-wake:
		return nil
	case <-again:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-m.g.topic.s.Down():
		return m.g.topic.s.Cause()
	}
}
