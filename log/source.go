package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// source is a group as Run takes records from it: that of one of its topics, or that of the
// Retry topic.
type source struct {
	g     *Group // whose Run it is
	m     *Member
	o     *RunOptions
	again bool // m reads the Retry topic

	mu struct {
		sync.Mutex
		contexts map[*tenure]context.Context // of calls
	}
}

func newSource(g *Group, m *Member, o *RunOptions, again bool) *source {
	s := &source{g: g, m: m, o: o, again: again}
	m.runOf = g
	s.mu.contexts = make(map[*tenure]context.Context)
	return s
}

// sources joins the groups. Those that it returns beside an error must leave.
func (g *Group) sources(ctx context.Context, o *RunOptions, drain time.Duration) (sources []worker.Source[Record], err error) {
	topics := append([]*Topic{g.topic}, o.Topics...)
	if o.Retry != nil {
		topics = append(topics, o.Retry.Topic)
	}
	for _, t := range topics {
		again := o.Retry != nil && t == o.Retry.Topic
		of, join := g, JoinOptions{Name: o.Name, DrainTimeout: drain}
		if t != g.topic {
			if of, err = t.OpenGroup(ctx, g.name, nil); err != nil {
				return sources, err
			}
		}
		if !again {
			o.notices(ctx, g.topic.s, &join)
		}
		m, err := of.join(ctx, join)
		if err != nil {
			return sources, err
		}
		sources = append(sources, newSource(g, m, o, again))
	}
	return sources, nil
}

// origin returns the topic where a record was first.
func (s *source) origin(r *Record) *Topic {
	if !s.again {
		return s.m.g.topic
	}
	name := value(r, HeaderOriginTopic, "")
	for _, t := range s.o.Topics {
		if t.name == name {
			return t
		}
	}
	return s.g.topic
}

// Fetch polls records. Those of a Retry topic that other groups have given up are passed
// over.
func (s *source) Fetch(ctx context.Context, n int) ([]worker.Item[Record], error) {
	for {
		records, err := s.m.poll(ctx, n)
		if errors.Is(err, ErrOffsetOutOfRange) { // of one partition, and told again after a pause
			s.g.topic.s.Log().Error("a group cannot go on in a partition", "group", s.m.g.name, "error", err)
			err = nil
		}
		items := make([]worker.Item[Record], 0, len(records))
		for _, r := range records {
			switch {
			case !s.again:
				items = append(items, worker.Item[Record]{Message: r})
			case ofGroup(&r, s.g.name):
				items = append(items, worker.Item[Record]{Message: r, NotBefore: dueOf(&r)})
			default:
				err = errors.Join(err, s.pass(ctx, r))
			}
		}
		if len(items) > 0 || err != nil {
			return items, err
		}
	}
}

// pass acknowledges a record that is of no concern.
func (s *source) pass(ctx context.Context, r Record) error {
	late, stop := store.Outlive(ctx)
	defer stop()
	if err := s.m.finish(late, r); !errors.Is(err, ErrFenced) {
		return err
	}
	return nil
}

// Hold returns the context of the tenure, which all its records have in common. It ends at once with
// the tenure, and soon with the calls: what a handler does after its partition was lost must not
// count as its failure.
func (s *source) Hold(calls context.Context, r Record) (held context.Context, h worker.Holding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held = s.mu.contexts[r.tenure]; held != nil {
		return held, nil
	}
	own, lose := context.WithCancelCause(r.tenure.ctx)
	held = withValues{own, calls}
	s.mu.contexts[r.tenure] = held
	detach := context.AfterFunc(calls, func() { lose(context.Cause(calls)) })
	context.AfterFunc(r.tenure.ctx, func() {
		detach()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.mu.contexts, r.tenure)
	})
	return held, nil
}

// withValues is a context with the values of another.
type withValues struct {
	context.Context
	values context.Context
}

func (c withValues) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.values.Value(key)
}

// Begin refuses records of a partition that goes to another member, and one that its handler
// has acknowledged before it failed.
func (s *source) Begin(_ context.Context, r Record) error {
	if _, acked := r.tenure.acked.LoadAndDelete(r.Offset); acked {
		return fmt.Errorf("%w: %w", store.ErrLost, ErrSettled)
	}
	if r.tenure.lost() || !r.tenure.hand.begin() {
		return ErrFenced
	}
	return nil
}

// End lets the partition go.
func (s *source) End(r Record) { r.tenure.settled() }

// Settle acknowledges a record, or moves it. Records that are given back are not acknowledged,
// and so are delivered again. A record that its handler has acknowledged before it failed stays
// acknowledged and is not moved.
func (s *source) Settle(ctx context.Context, r Record, o worker.Outcome) error {
	defer r.tenure.acked.Delete(r.Offset)
	switch o.Verdict {
	case worker.Done:
		return s.m.finish(ctx, r)
	case worker.Dead:
		return s.bury(ctx, r, o)
	}
	return nil
}

func (s *source) bury(ctx context.Context, r Record, o worker.Outcome) error {
	err := ErrSettled
	if _, acked := r.tenure.acked.Load(r.Offset); !acked {
		err = s.giveUp(ctx, r, o)
	}
	if errors.Is(err, ErrSettled) {
		return fmt.Errorf("%w: %w", store.ErrLost, err)
	}
	return err
}

// SettleDone acknowledges records in one change. If the partition of one has gone, it does
// nothing, and each is settled alone.
func (s *source) SettleDone(ctx context.Context, batch []Record) ([]error, error) {
	for _, r := range batch {
		r.tenure.acked.Delete(r.Offset)
	}
	return make([]error, len(batch)), s.m.finish(ctx, batch...)
}

// Attrs returns the names of the topic and the group, and the place of a record.
func (s *source) Attrs(r Record) []any {
	return []any{"queue", s.m.g.topic.name, "id", fmt.Sprintf("%d/%d", r.Partition, r.Offset), "group", s.g.name}
}
