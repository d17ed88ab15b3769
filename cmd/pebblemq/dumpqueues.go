package main

import (
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

func (d *dumper) visibilityQueue(name string) error {
	q, err := visibility.LookupQueue(d.ctx, d.db, name)
	if err != nil {
		return err
	}
	if err := d.put(line{VisibilityQueue: &visibilityQueueLine{name, q.Config()}}); err != nil {
		return err
	}
	for m, err := range q.Browse(d.ctx, nil) {
		if err != nil {
			return err
		}
		if err := d.put(line{VisibilityMessage: newVisibilityMessageLine(name, m)}); err != nil {
			return err
		}
	}
	return nil
}

func newVisibilityMessageLine(queue string, m *visibility.Browsed) *visibilityMessageLine {
	l := &visibilityMessageLine{
		Queue: queue, ID: m.ID, Group: m.Group, Priority: m.Priority, DedupeID: m.DedupeID, Body: m.Body, Sent: m.SentAt,
		Receives: m.ReceiveCount,
	}
	if i := m.DeadLetter; i != nil {
		l.Death = &death{i.Queue, i.Reason, i.Deaths, i.At, i.LastError}
	}
	if m.State == visibility.Delayed {
		l.Due = m.VisibleAt
	}
	for name, a := range m.Attributes {
		if l.Attributes == nil {
			l.Attributes = make(map[string]attribute)
		}
		l.Attributes[name] = attribute{a.Type, a.Label, a.Value}
	}
	return l
}

func (d *dumper) broker(name string) error {
	b, err := workqueue.LookupBroker(d.ctx, d.db, name)
	if err != nil {
		return err
	}
	topology, err := b.Export(d.ctx)
	if err != nil {
		return err
	}
	l := &brokerLine{Name: name, Topology: topology}
	queues, err := b.Queues(d.ctx)
	if err != nil {
		return err
	}
	for _, q := range queues {
		if q.Stats.Paused {
			l.Paused = append(l.Paused, q.Name)
		}
	}
	if err := d.put(line{Broker: l}); err != nil {
		return err
	}
	for _, definition := range topology.Queues {
		if err := d.messages(b, definition.Name); err != nil {
			return err
		}
	}
	return d.jobs(b)
}

func (d *dumper) messages(b *workqueue.Broker, queue string) error {
	q, err := b.Queue(d.ctx, queue)
	if err != nil {
		return err
	}
	for m, err := range q.Browse(d.ctx, nil) {
		if err != nil {
			return err
		}
		l := &messageLine{
			Broker: b.Name(), Queue: queue, Exchange: m.Exchange, RoutingKey: m.RoutingKey, Due: m.Due, Expires: m.Expires,
			properties: propertiesOf(m.Message), Deliveries: m.DeliveryCount,
		}
		for _, e := range m.Deaths {
			l.Deaths = append(l.Deaths, death{e.Queue, e.Reason, e.Count, e.Latest, e.Error})
		}
		if err := d.put(line{Message: l}); err != nil {
			return err
		}
	}
	return nil
}

func (d *dumper) jobs(b *workqueue.Broker) error {
	jobs, err := b.Jobs(d.ctx)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if j.Every == 0 {
			d.notes.add("jobs with a schedule of the program")
			continue
		}
		l := &jobLine{
			Broker: b.Name(), Name: j.Name, Every: j.Every, Next: j.Next, Exchange: j.Exchange, Key: j.Key,
			TTL: j.Message.TTL, Delay: j.Message.Delay, BCC: j.Message.BCC, properties: propertiesOf(j.Message),
		}
		if err := d.put(line{Job: l}); err != nil {
			return err
		}
	}
	return nil
}
