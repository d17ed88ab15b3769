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
	g      *Group
	o      JoinOptions
	joined time.Time
	wake   *store.Signal // records, another assignment, or the end
	runOf  *Group        // whose Run hands its records to handlers, or nil

	// Replaced under the baton, leaving first; read in the other order. So a partition that
	// is no more among the owned ones is among the leaving ones, or has gone.
	owned   atomic.Pointer[[]*tenure]
	leaving atomic.Pointer[[]*tenure]
	left    atomic.Bool

	told struct {
		store.Latch
		list []*tenure // what the callbacks know the member to have
		left bool      // and that it leaves
	}

	mu struct {
		store.Latch
		seen    *[]*tenure // what cursors was made from
		cursors []*owned
		paused  map[int]uint64 // by partition: the number of the owner who has paused it
		turn    int
		served  int    // records in a row from the cursor whose turn it is
		failed  *owned // whose outage the next call returns
	}
}

// owned is a member's place in a partition.
type owned struct {
	t    *tenure
	r    reader
	out  outage
	held heldBack
}

// read returns the next record that was not finished when the tenure began.
func (o *owned) read(ctx context.Context, r *Record) (ok bool, err error) {
	if o.again(r) {
		return true, nil
	}
	for before := o.r.next; o.held.behind < maxBehind; {
		ok, err = o.r.read(ctx, r)
		if errors.Is(err, ErrOffsetOutOfRange) {
			if ok, err = o.skipTrimmed(ctx, err); ok {
				continue
			}
		}
		if !ok || err != nil {
			return false, err
		}
		if o.t.from.finished(uint64(r.Offset)) {
			continue
		}
		r.gap = uint64(r.Offset) - before
		if !o.held.blocks(r) {
			return true, nil
		}
		o.held.put(heldRecord{Record: r.Clone()})
		o.t.back.hold(uint64(r.Offset))
		before = o.r.next
	}
	return false, nil
}

// again returns a held record that is due.
func (o *owned) again(r *Record) (ok bool) {
	if o.t.back.full.Load() {
		for _, h := range o.t.back.take() {
			o.held.put(h)
		}
		o.held.plan()
	}
	if len(o.held.list) == 0 {
		return false
	}
	if *r, ok = o.held.take(time.Now()); ok {
		o.t.back.returned(uint64(r.Offset))
	}
	return ok
}

// Join adds a member to the group. It gets its share of the partitions at once, except those
// that other members must hand over first. Nil options are the defaults.
func (g *Group) Join(ctx context.Context, o *JoinOptions) (*Member, error) {
	full, err := o.check(g)
	if err != nil {
		return nil, err
	}
	return g.join(ctx, full)
}

func (g *Group) join(ctx context.Context, o JoinOptions) (*Member, error) {
	return g.joinWith(ctx, o, new(store.Signal))
}

// joinWith adds a member that is woken by a signal, which it may share with others.
func (g *Group) joinWith(ctx context.Context, o JoinOptions, wake *store.Signal) (*Member, error) {
	m := &Member{g: g, o: o, wake: wake}
	m.mu.Latch, m.told.Latch = store.NewLatch(), store.NewLatch()
	m.owned.Store(&[]*tenure{})
	m.leaving.Store(&[]*tenure{})
	err := g.topic.s.Do(unsynced(ctx), store.QuietFunc(func(t *store.Turn) error {
		if err := g.alive(); err != nil {
			return err
		}
		if err := g.busy(t); err != nil {
			return err
		}
		m.joined = t.Now()
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

// Leave gives the member's partitions to the others at once. Calls that are blocked in Poll or
// Records return ErrLeft. Leaving twice is harmless. A member leaves even if ctx has ended,
// because no other call could give up its partitions. If the disk holds that up, Leave returns
// the error of ctx and the member leaves later. OnRevoked is called first.
func (m *Member) Leave(ctx context.Context) error {
	if err := store.CheckContext(ctx); err != nil {
		return err
	}
	m.farewell(ctx)
	return m.g.topic.s.Insist(ctx, store.PromptFunc{OpFunc: func(t *store.Turn) error {
		if m.left.Swap(true) {
			return nil
		}
		m.g.members = slices.DeleteFunc(m.g.members, func(o *Member) bool { return o == m })
		if len(m.g.members) == 0 {
			m.g.idle = t.Now()
			m.g.topic.armIdle(t, m.g.idle)
		}
		m.g.rebalance()
		m.leaving.Store(&[]*tenure{})
		m.owned.Store(&[]*tenure{})
		m.wake.Fire()
		return nil
	}})
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
	leaving := make(map[*Member][]*tenure)
	for _, c := range g.claims() {
		switch t := c.tenure; {
		case t == nil:
		case t.hand.ending():
			leaving[t.member] = append(leaving[t.member], t)
		default:
			owned[t.member] = append(owned[t.member], t)
		}
	}
	for _, m := range g.members {
		going, list := leaving[m], owned[m]
		if slices.Equal(list, *m.owned.Load()) && slices.Equal(going, *m.leaving.Load()) {
			continue
		}
		m.leaving.Store(&going)
		m.owned.Store(&list)
		m.wake.Fire() // again: whoever heard of the end of a tenure may have looked before this
	}
}

// disband ends the group in memory, because the topic goes. The baton is held.
func (g *Group) disband() {
	for _, c := range g.claims() {
		c.vacate()
	}
	for _, m := range g.members {
		m.leaving.Store(&[]*tenure{})
		m.owned.Store(&[]*tenure{})
		m.wake.Fire()
	}
	g.members = nil
}

// Poll returns the next records of the member's partitions, at most limit, waiting
// until there is one. Each partition's come in order. They are not committed: see
// Commit. When ctx ends first its error is returned, where Kafka's poll returns nothing.
// Limit is at least 1.
//
// If records of a partition cannot be read, Poll returns a DamageError. If records were
// trimmed before the group has read them, and its From does not say how to go on
// (GroupConfig), Poll returns an OffsetError. Either names the partition, and the next calls
// return records of the other partitions. The member stays at the place and tries it again
// after a pause of a second to a minute: if that fails, Poll returns the error again.
// Group.Seek moves the group behind the place; see DamageError.To.
func (m *Member) Poll(ctx context.Context, limit int) ([]Record, error) {
	if limit < 1 {
		return nil, store.Invalid("Poll of at most %d records, at least 1", limit)
	}
	found, err := m.poll(ctx, limit)
	if len(found) > 0 {
		traceReceive(ctx, m.g, found...)
	}
	return found, err
}

func (m *Member) poll(ctx context.Context, limit int) ([]Record, error) {
	for {
		wake := m.wake.C()
		if err := m.notify(ctx); err != nil {
			return nil, err
		}
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
// after a DamageError or an OffsetError.
func (m *Member) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			r, err := m.next(ctx)
			if err != nil {
				yield(Record{}, err)
				return
			}
			traceReceive(ctx, m.g, r)
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (m *Member) next(ctx context.Context) (r Record, err error) {
	for {
		if err := m.notify(ctx); err != nil {
			return r, err
		}
		if ok, err := m.one(ctx, &r); ok || err != nil {
			return r, err
		}
		wake := m.wake.C()
		if err := m.notify(ctx); err != nil {
			return r, err
		}
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
	if err := m.owed(); err != nil {
		return false, err
	}
	return m.step(ctx, r)
}

// owed returns the outage that the last call met behind its records, unless the partition was
// handed over or the group has sought since.
func (m *Member) owed() error {
	o := m.mu.failed
	m.mu.failed = nil
	if o == nil || o.t.lost() {
		return nil
	}
	return o.out.err
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
	if err := m.owed(); err != nil {
		return nil, err
	}
	var r Record
	for bytes := 0; len(found) < limit && bytes < maxPollBytes; {
		ok, err := m.step(ctx, &r)
		if err != nil && len(found) == 0 {
			return nil, err
		}
		if isOutage(err) {
			m.mu.failed = m.mu.cursors[m.mu.turn-1] // step has gone on to the next one
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
		if m.paused(o) || o.out.lasts() || !m.heardOf(o.t) {
			m.mu.turn, m.mu.served = m.mu.turn+1, 0
			continue
		}
		ok, err := o.read(ctx, r)
		o.see(err)
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
	next, err := m.nextTry(ctx)
	if err != nil {
		return err
	}
	return waitUntil(ctx, m.g.topic.s, wake, next)
}

// waitUntil waits for a wake, or for a moment unless it is zero.
func waitUntil(ctx context.Context, s *store.Store, wake <-chan struct{}, moment time.Time) error {
	var again <-chan time.Time
	if !moment.IsZero() {
		timer := time.NewTimer(time.Until(moment))
		defer timer.Stop()
		again = timer.C
	}
	select {
	case <-wake:
		return nil
	case <-again:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.Down():
		return s.Cause()
	}
}
