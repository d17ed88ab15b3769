package redrive

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// kept is how many redrives of each queue are remembered that have ended, as in SQS.
const kept = 10

// Queue is what redrives need of their queue.
type Queue struct {
	Store *store.Store
	Kind  store.Kind // of the records
	ID    uint32
	Name  string
	Busy  error // refuses a second redrive while one runs

	Alive func() error // under the baton
	Spool func() *queue.Queue
	// Judge says what an error means, beside those of the store.
	Judge func(error) queue.Verdict
	// Resume returns the work of a redrive that was running when the store was closed.
	Resume func(Info) Work
}

// Set is the redrives of a queue. It is touched under the baton only.
//
// Invariant: none but the last one may be running.
type Set struct {
	q    Queue
	list []*Redrive
}

// NewSet returns the redrives of a new queue.
func NewSet(q Queue) *Set { return &Set{q: q} }

func (s *Set) judge(err error) queue.Verdict {
	if errors.As(err, &giveUp{}) {
		return queue.GiveUp
	}
	return s.q.Judge(err)
}

// List returns the redrives, the latest first.
func (s *Set) List() []*Redrive {
	list := slices.Clone(s.list)
	slices.Reverse(list)
	return list
}

// Start returns a redrive and the Op that starts it.
func (s *Set) Start(info Info, work Work) *StartOp {
	return &StartOp{s: s, Redrive: newRedrive(s, info, work)}
}

// StartOp gives a redrive its number, and its goroutine once that is visible.
type StartOp struct {
	s       *Set
	Redrive *Redrive
	before  []*Redrive
}

func (o *StartOp) String() string { return fmt.Sprintf("start a redrive of queue %q", o.s.q.Name) }

// Run is that of an Op.
func (o *StartOp) Run(t *store.Turn) error {
	s, r := o.s, o.Redrive
	if err := errors.Join(s.q.Alive(), r.work.Alive()); err != nil {
		return err
	}
	number := uint64(1)
	for _, other := range s.list {
		info := other.Info()
		if number = info.ID + 1; info.State == Running {
			return fmt.Errorf("%w: number %d of queue %q", s.q.Busy, info.ID, s.q.Name)
		}
	}
	info := r.Info()
	info.ID, info.State, info.StartedAt, info.Remaining = number, Running, t.Now(), s.q.Spool().Stats().Ready
	r.spans = s.q.Spool().Waiting()
	r.write(t, info, r.spans)
	r.set(info)
	o.before = slices.Clone(s.list)
	for len(s.list) >= kept {
		t.Delete(s.key(s.list[0].Info().ID))
		s.list = s.list[1:]
	}
	s.list = append(s.list, r)
	return nil
}

// Undo is that of an Op.
func (o *StartOp) Undo() {
	o.s.list = o.before
	info := o.Redrive.Info()
	info.ID, info.State = 0, ""
	o.Redrive.set(info)
}

// Visible is that of an Op.
func (o *StartOp) Visible(t *store.Turn) { o.s.spawn(t, o.Redrive) }

func (s *Set) spawn(t *store.Turn, r *Redrive) {
	if !t.Spawn(r.run) {
		close(r.done) // the store is going down: it goes on when it is opened
	}
}

// Read loads the stored redrives. The queue is not shared yet.
func (s *Set) Read(ctx context.Context) (err error) {
	lo, hi := store.Span(s.q.Kind, s.q.ID)
	it, err := s.q.Store.Iter(ctx, lo, hi)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	it.PassOver(ctx, store.IsDamage) // the queue does without what it did
	defer func() {
		for _, g := range it.Gaps() {
			s.q.Store.Log().Error("redrives of a queue cannot be read and do not go on", "queue", s.q.Name, "error", g.Err)
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			return err
		}
		info, left, err := Decode(it.Key(), v)
		if err != nil {
			return err
		}
		r := newRedrive(s, info, Work{})
		if r.spans = left; info.State != Running {
			close(r.done)
		}
		s.list = append(s.list, r)
	}
	return nil
}

// Resume makes the redrive go on that was running.
func (s *Set) Resume(t *store.Turn) {
	for _, r := range s.list {
		if info := r.Info(); info.State == Running && r.work.Alive == nil {
			r.work = s.q.Resume(info)
			s.spawn(t, r)
		}
	}
}
