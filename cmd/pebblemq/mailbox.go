package main

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// mailbox is a queue of either kind.
type mailbox interface {
	browse(ctx context.Context) iter.Seq2[messageRow, error]
	purge(ctx context.Context) (int, error)
	redrive(ctx context.Context, o redriveOptions) (move, error)
}

// messageRow is a message of a queue in a list.
type messageRow struct {
	ID         string            `json:"id"`
	State      string            `json:"state"` // ready, in flight or delayed
	Deliveries int               `json:"deliveries"`
	Key        string            `json:"key"` // routing key, or group of a visibility queue
	Sent       time.Time         `json:"sent"`
	Body       payload           `json:"body"`
	Headers    map[string]string `json:"headers,omitempty"`
	Died       string            `json:"died"` // why it is a dead letter, and in which queue
}

// openMailbox returns the queue of an object of a Description.
func openMailbox(ctx context.Context, db *pebblemq.DB, o pebblemq.Object) (mailbox, error) {
	if o.Kind == "visibility queue" {
		q, err := visibility.LookupQueue(ctx, db, o.Name)
		return visibilityMailbox{q}, err
	}
	b, err := workqueue.LookupBroker(ctx, db, o.Parent)
	if err != nil {
		return nil, err
	}
	q, err := b.Queue(ctx, o.Name)
	return workMailbox{q}, err
}

type workMailbox struct{ q *workqueue.Queue }

func (m workMailbox) purge(ctx context.Context) (int, error) { return m.q.Purge(ctx) }

func (m workMailbox) browse(ctx context.Context) iter.Seq2[messageRow, error] {
	return rowsOf(m.q.Browse(ctx, nil), workRow)
}

func workRow(m *workqueue.Browsed) messageRow {
	row := messageRow{
		ID: m.MessageID, State: string(m.State), Deliveries: m.DeliveryCount, Key: m.RoutingKey, Sent: m.Timestamp,
		Body: m.Body, Headers: m.Headers,
	}
	if m.State == workqueue.Unacked {
		row.State = "in flight"
	}
	if len(m.Deaths) > 0 {
		row.Died = died(m.Deaths[0].Queue, m.Deaths[0].Reason, m.Deaths[0].Error)
	}
	return row
}

type visibilityMailbox struct{ q *visibility.Queue }

func (m visibilityMailbox) purge(ctx context.Context) (int, error) { return m.q.Purge(ctx) }

func (m visibilityMailbox) browse(ctx context.Context) iter.Seq2[messageRow, error] {
	return rowsOf(m.q.Browse(ctx, nil), visibilityRow)
}

func visibilityRow(m *visibility.Browsed) messageRow {
	row := messageRow{
		ID: m.ID, State: string(m.State), Deliveries: m.ReceiveCount, Key: m.Group, Sent: m.SentAt, Body: m.Body,
	}
	if m.State == visibility.Visible {
		row.State = "ready"
	}
	for name, a := range m.Attributes {
		if row.Headers == nil {
			row.Headers = make(map[string]string)
		}
		row.Headers[name] = payload(a.Value).String()
	}
	if d := m.DeadLetter; d != nil {
		row.Died = died(d.Queue, d.Reason, d.LastError)
	}
	return row
}

func died(queue, reason, lastError string) string {
	parts := []string{reason + " in " + queue, lastError}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ": ")
}

// rowsOf turns what a queue returns into rows. An error comes with no row.
func rowsOf[M any](messages iter.Seq2[*M, error], row func(*M) messageRow) iter.Seq2[messageRow, error] {
	return func(yield func(messageRow, error) bool) {
		for m, err := range messages {
			if err != nil {
				if !yield(messageRow{}, err) {
					return
				}
				continue
			}
			if !yield(row(m), nil) {
				return
			}
		}
	}
}

// count says how many there are of something.
func count[N int | uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
