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

// source is a group as Run takes records from it: that of the topic, or that of the Retry
// topic.
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
	s.mu.contexts = make(map[*tenure]context.Context)
	return s
}

// sources joins the groups. Those that it returns beside an error have to leave.
func (g *Group) sources(ctx context.Context, o *RunOptions, drain time.Duration) ([]worker.Source[Record], error) {
	m, err := g.join(ctx, drain)
	if err != nil {
		return nil, err
	}
	sources := []worker.Source[Record]{newSource(g, m, o, false)}
	if o.Retry == nil {
		return sources, nil
	}
	again, err := o.Retry.Topic.OpenGroup(ctx, g.name, nil)
	if err != nil {
		return sources, err
	}
	if m, err = again.join(ctx, drain); err != nil {
		return sources, err
	}
	return append(sources, newSource(g, m, o, true)), nil
}

// Fetch polls records. Those of a Retry topic that other groups have given up are passed
// over.
func (s *source) Fetch(ctx context.Context, n int) ([]worker.Item[Record], error) {
	for {
		records, err := s.m.Poll(ctx, n)
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
	if err := s.m.Ack(late, r); !errors.Is(err, ErrFenced) {
		return err
	}
	return nil
}

// Hold returns the context of the tenure, which all its records have in common.
func (s *source) Hold(calls context.Context, r Record) (held context.Context, stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held = s.mu.contexts[r.tenure]; held != nil {
		return held, nil
	}
	held, lose := context.WithCancelCause(calls)
	s.mu.contexts[r.tenure] = held
	context.AfterFunc(r.tenure.ctx, func() {
		lose(ErrFenced)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.mu.contexts, r.tenure)
	})
	return held, nil
}

// Begin refuses records of a partition that goes to another member.
func (s *source) Begin(_ context.Context, r Record) error {
	if r.tenure.lost() || !r.tenure.hand.begin() {
		return ErrFenced
	}
	return nil
}

// End lets the partition go.
func (s *source) End(r Record) { r.tenure.settled() }

// Settle acknowledges a record, or moves it. What is given back is not acknowledged, and so
// is delivered again.
func (s *source) Settle(ctx context.Context, r Record, o worker.Outcome) error {
	switch o.Verdict {
	case worker.Done:
		return s.m.Ack(ctx, r)
	case worker.Dead:
		return s.giveUp(ctx, r, o)
	}
	return nil
}

// Attrs returns the names of the topic and the group, and the place of a record.
func (s *source) Attrs(r Record) []any {
	return []any{"queue", s.m.g.topic.name, "id", fmt.Sprintf("%d/%d", r.Partition, r.Offset), "group", s.g.name}
}
