package admin

import (
	"context"
	"fmt"
	"iter"

	"github.com/pebblemq/pebblemq/workqueue"
)

// workQueue is the mailbox of a work queue.
type workQueue struct {
	ground
	b      *workqueue.Broker
	q      *workqueue.Queue
	broker string
}

func (w *workQueue) object() string {
	return fmt.Sprintf("queue %q of broker %q", w.q.Name(), w.broker)
}

func (w *workQueue) row(ctx context.Context) (*queueRow, any, map[string]uint64, error) {
	info, err := w.q.Info(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	t := info.Totals
	return workRow(w.broker, info), info.Config, map[string]uint64{
		"published": t.Published, "delivered": t.Delivered, "redelivered": t.Redelivered, "acked": t.Acked,
		"rejected": t.Dead.Rejected, "expired": t.Dead.Expired, "maxLength": t.Dead.MaxLen, "deliveryLimit": t.Dead.DeliveryLimit,
	}, nil
}

var workStates = map[string]workqueue.MessageState{
	"": "", "ready": workqueue.Ready, "in flight": workqueue.Unacked, "delayed": workqueue.Delayed,
}

func (w *workQueue) browse(ctx context.Context, o browseOptions) iter.Seq2[*message, error] {
	return func(yield func(*message, error) bool) {
		options := &workqueue.BrowseOptions{After: workqueue.Position(o.after), State: workStates[o.state], MessageID: o.id}
		for m, err := range w.q.Browse(ctx, options) {
			if !yield(w.message(m), err) {
				return
			}
		}
	}
}

func (w *workQueue) peek(ctx context.Context, position string) (*message, error) {
	m, err := w.q.Peek(ctx, workqueue.Position(position))
	return w.message(m), err
}

// message returns what may be shown of a message, nil for none.
func (w *workQueue) message(m *workqueue.Browsed) *message {
	if m == nil {
		return nil
	}
	object := w.object()
	v := &message{
		ID: m.MessageID, Position: string(m.Position), State: stateNames.Replace(string(m.State)), Deliveries: m.DeliveryCount,
		Priority: int(m.Priority), Sent: m.Timestamp, Due: m.Due, Expires: m.Expires, Exchange: m.Exchange, RoutingKey: m.RoutingKey,
		body: w.shown(object, "body", m.Body),
	}
	for name, value := range m.Headers {
		v.addHeader(name, w.shown(object, "header "+name, []byte(value)))
	}
	for name, value := range map[string]string{
		"type": m.Type, "content-type": m.ContentType, "content-encoding": m.ContentEncoding, "app-id": m.AppID,
		"correlation-id": m.CorrelationID, "reply-to": m.ReplyTo, "unique-key": m.UniqueKey,
	} {
		if value != "" {
			v.Properties = append(v.Properties, header{name, newPayload([]byte(value), previewBytes)})
		}
	}
	for _, d := range m.Deaths {
		v.Deaths = append(v.Deaths, death{
			Queue: d.Queue, Reason: d.Reason, Count: d.Count, Time: d.Latest, Error: string(w.shown(object, "error", []byte(d.Error))),
		})
	}
	v.sortHeaders()
	return v
}

func (w *workQueue) put(ctx context.Context, in putIn) (string, error) {
	body, err := decodeBody(in.Body, in.Base64)
	if err != nil {
		return "", err
	}
	if in.Group != "" {
		return "", invalid("a message for a work queue has no group")
	}
	return in.ID, w.b.Publish(ctx, "", w.q.Name(), workqueue.Message{
		Body: body, Headers: in.Headers, MessageID: in.ID, Priority: uint8(in.Priority), Delay: in.Delay,
	})
}

func (w *workQueue) purge(ctx context.Context) (int, error) { return w.q.Purge(ctx) }

func (w *workQueue) cancel(ctx context.Context, m *message) error {
	return w.q.CancelAt(ctx, workqueue.Position(m.Position))
}

func (w *workQueue) redrive(ctx context.Context, in redriveIn, filter func(*message) bool) error {
	o := &workqueue.RedriveOptions{Rate: in.Rate}
	if in.To != "" {
		o.To = &workqueue.RedriveTo{Key: in.To}
	}
	if filter != nil {
		o.Filter = func(m *workqueue.Browsed) bool { return filter(w.message(m)) }
	}
	_, err := w.q.Redrive(ctx, o)
	return err
}

func (w *workQueue) redrives(ctx context.Context) ([]redrive, error) {
	list, err := w.q.Redrives(ctx)
	views := []redrive{}
	for _, r := range list {
		i := r.Info()
		v := redrive{
			ID: int64(i.ID), State: string(i.State), Filtered: i.Filtered, Rate: i.Rate, Started: i.StartedAt, Ended: i.EndedAt,
			Moved: i.Moved, Skipped: i.Skipped, Failed: i.Failed, Remaining: i.Remaining, Waiting: i.Waiting, Reason: i.Reason,
			cancel: r.Cancel,
		}
		if i.To != nil {
			v.To = i.To.Exchange + "/" + i.To.Key
		}
		views = append(views, v)
	}
	return views, err
}
