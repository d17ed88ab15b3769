package main

import (
	"crypto/rand"
	"time"

	"github.com/pebblemq/pebblemq/visibility"
)

// visibilityLoader makes visibility queues.
type visibilityLoader struct {
	*loading
	queues map[string]*visibility.Queue
}

func (l *visibilityLoader) queue(x *visibilityQueueLine) error {
	_, err := visibility.LookupQueue(l.ctx, l.db, x.Name)
	if err := unless(err, "visibility queue", x.Name); err != nil {
		return err
	}
	c := x.Config
	c.DeadLetterQueue, c.MaxReceives, c.DeadLetterExpired, c.DeadLetterSources, c.DeadLettersDenied = "", 0, false, nil, false
	c.Delay, c.RequireBody = 0, false
	c.MaxBodyBytes, c.MaxAttributes = visibility.MaxBodyBytes, visibility.MaxAttributes
	q, err := visibility.OpenQueue(l.ctx, l.db, x.Name, &c)
	if err != nil {
		return err
	}
	l.queues[x.Name] = q
	l.later(func() error { return q.Alter(l.ctx, &x.Config) })
	return nil
}

func (l *visibilityLoader) message(x *visibilityMessageLine) error {
	q := l.queues[x.Queue]
	if q == nil {
		return missing("visibility queue", x.Queue)
	}
	m := visibility.Message{
		ID: x.ID, Group: x.Group, Priority: x.Priority, DedupeID: x.DedupeID, Body: x.Body, Delay: until(x.Due),
	}
	for name, a := range x.Attributes {
		if m.Attributes == nil {
			m.Attributes = make(map[string]visibility.Attribute)
		}
		m.Attributes[name] = visibility.Attribute{Type: a.Type, Label: a.Label, Value: a.Value}
	}
	if x.Receives > 0 {
		l.notes.add("how often messages were received")
	}
	if x.Death != nil {
		l.notes.add("why messages of visibility queues died")
	}
	r, err := l.send(q, m)
	if err != nil || !r.Duplicate {
		return err
	}
	l.notes.add("dedupe IDs of messages that are equal to another")
	m.DedupeID = rand.Text()
	_, err = l.send(q, m)
	return err
}

func (l *visibilityLoader) send(q *visibility.Queue, m visibility.Message) (visibility.SendResult, error) {
	r, err := q.SendBatch(l.ctx, []visibility.Message{m}, nil)
	if err != nil {
		return visibility.SendResult{}, err
	}
	return r[0], r[0].Err
}

// until is the delay of what is due at a time; none if that has passed or is zero.
func until(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(time.Until(t), 0)
}
