package admin

import (
	"context"
	"fmt"
	"iter"

	"github.com/pebblemq/pebblemq/visibility"
)

// visibilityQueue is the mailbox of a visibility queue.
type visibilityQueue struct {
	ground
	q *visibility.Queue
}

func (v *visibilityQueue) object() string { return fmt.Sprintf("visibility queue %q", v.q.Name()) }

func (v *visibilityQueue) row(ctx context.Context) (*queueRow, any, map[string]uint64, error) {
	info, err := v.q.Info(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	row := visibilityRow(info)
	row.DeadLettersOf = info.DeadLettersOf
	return row, info.Config, map[string]uint64{"expired": info.Stats.Expired}, nil
}

var visibilityStates = map[string]visibility.MessageState{
	"": "", "ready": visibility.Visible, "in flight": visibility.InFlight, "delayed": visibility.Delayed,
}

func (v *visibilityQueue) browse(ctx context.Context, o browseOptions) iter.Seq2[*message, error] {
	return func(yield func(*message, error) bool) {
		options := &visibility.BrowseOptions{After: visibility.Position(o.after), State: visibilityStates[o.state], ID: o.id}
		for m, err := range v.q.Browse(ctx, options) {
			if !yield(v.message(m), err) {
				return
			}
		}
	}
}

func (v *visibilityQueue) peek(ctx context.Context, position string) (*message, error) {
	m, err := v.q.Peek(ctx, visibility.Position(position))
	return v.message(m), err
}

// message returns what may be shown of a message, nil for none.
func (v *visibilityQueue) message(m *visibility.Browsed) *message {
	if m == nil {
		return nil
	}
	object := v.object()
	shown := &message{
		ID: m.ID, Position: string(m.Position), State: stateNames.Replace(string(m.State)), Deliveries: m.ReceiveCount, Priority: int(m.Priority),
		Group: m.Group, Sent: m.SentAt, Due: m.VisibleAt, body: v.shown(object, "body", m.Body),
	}
	for name, a := range m.Attributes {
		shown.addHeader(name, v.shown(object, "header "+name, a.Value))
	}
	if d := m.DeadLetter; d != nil {
		shown.Deaths = []death{{
			Queue: d.Queue, Reason: d.Reason, Count: d.Deaths, Time: d.At, Error: string(v.shown(object, "error", []byte(d.LastError))),
		}}
	}
	shown.sortHeaders()
	return shown
}

func (v *visibilityQueue) put(ctx context.Context, in putIn) (string, error) {
	body, err := decodeBody(in.Body, in.Base64)
	if err != nil {
		return "", err
	}
	attributes := make(map[string]visibility.Attribute, len(in.Headers))
	for name, value := range in.Headers {
		attributes[name] = visibility.StringAttribute(value)
	}
	return v.q.Send(ctx, visibility.Message{
		Body: body, ID: in.ID, Group: in.Group, Priority: uint8(in.Priority), Delay: in.Delay, Attributes: attributes,
	})
}

func (v *visibilityQueue) purge(ctx context.Context) (int, error) { return v.q.Purge(ctx) }

// cancel goes by the ID. The queue refuses it if the message is due.
func (v *visibilityQueue) cancel(ctx context.Context, m *message) error { return v.q.Cancel(ctx, m.ID) }

func (v *visibilityQueue) redrive(ctx context.Context, in redriveIn, filter func(*message) bool) error {
	o := &visibility.RedriveOptions{Rate: in.Rate, To: in.To}
	if filter != nil {
		o.Filter = func(m *visibility.Browsed) bool { return filter(v.message(m)) }
	}
	_, err := v.q.Redrive(ctx, o)
	return err
}

func (v *visibilityQueue) redrives(ctx context.Context) ([]redrive, error) {
	list, err := v.q.Redrives(ctx)
	views := []redrive{}
	for _, r := range list {
		i := r.Info()
		views = append(views, redrive{
			ID: int64(i.ID), State: string(i.State), To: i.To, Filtered: i.Filtered, Rate: i.Rate, Started: i.StartedAt, Ended: i.EndedAt,
			Moved: i.Moved, Skipped: i.Skipped, Failed: i.Failed, Remaining: i.Remaining, Waiting: i.Waiting, Reason: i.Reason,
			cancel: r.Cancel,
		})
	}
	return views, err
}
