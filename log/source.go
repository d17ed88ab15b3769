package log

import (
	"context"
	"errors"
	"fmt"
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
}

// sources joins the groups. Those that it returns beside an error have to leave.
func (g *Group) sources(ctx context.Context, o *RunOptions, drain time.Duration) ([]worker.Source[Record], error) {
	m, err := g.join(ctx, drain)
	if err != nil {
		return nil, err
	}
	sources := []worker.Source[Record]{&source{g: g, m: m, o: o}}
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
	return append(sources, &source{g: g, m: m, o: o, again: true}), nil
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

// Hold ends with the tenure.
func (s *source) Hold(_ context.Context, r Record, lost func(cause error)) (stop func()) {
	unwatch := context.AfterFunc(r.tenure.ctx, func() { lost(ErrFenced) })
	return func() { unwatch() }
}

// Begin refuses records of a partition that goes to another member.
func (s *source) Begin(_ context.Context, r Record) (end func(), err error) {
	if r.tenure.lost() || !r.tenure.hand.begin() {
		return nil, ErrFenced
	}
	return r.tenure.settled, nil
}

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
