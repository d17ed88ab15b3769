package workqueue

import (
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// hold notes a delivery that was handed out.
func (q *declaredQueue) hold(t *store.Turn, d *Delivery) {
	d.since = t.Now()
	d.keep()
	q.watch(t, d.since.Add(q.config.AckTimeout))
}

// keep counts the delivery among those that its receiver holds.
func (d *Delivery) keep() {
	if c := d.consumer; c != nil {
		c.held.add(d)
		if c.level == nil && !slices.Contains(d.q.cancelled, c) {
			d.q.cancelled = append(d.q.cancelled, c)
		}
		return
	}
	d.q.got.add(d)
}

// drop counts it no more.
func (d *Delivery) drop() {
	d.parked = false
	c := d.consumer
	if c == nil {
		d.q.got.remove(d)
		return
	}
	c.held.remove(d)
	c.lineUp()
	if c.level == nil && c.held.n == 0 {
		d.q.cancelled = slices.DeleteFunc(d.q.cancelled, func(other *Consumer) bool { return other == c })
	}
}

// lose ends a delivery whose message goes back to the queue.
func (d *Delivery) lose() {
	d.state = lost
	d.drop()
	if d.consumer != nil {
		d.consumer.interrupt(d)
	}
}

// tried reports whether the application has had the delivery.
func (d *Delivery) tried() bool {
	return d.consumer == nil || !d.parked && !d.hidden && d.consumer.wasSeen(d)
}

// held calls f for everything that is unacknowledged.
func (q *declaredQueue) held(f func(*Delivery)) {
	for d := range q.got.all() {
		f(d)
	}
	for _, c := range q.consumers {
		for d := range c.held.all() {
			f(d)
		}
	}
	for _, c := range q.cancelled {
		for d := range c.held.all() {
			f(d)
		}
	}
}

// watch has what is held looked at by a given time, if there is an AckTimeout.
func (q *declaredQueue) watch(t *store.Turn, by time.Time) {
	if q.config.AckTimeout == NoAckTimeout {
		return
	}
	if q.overdue == nil {
		q.overdue = store.NewTimer(q.lookAtHeld)
	}
	t.ArmBy(q.overdue, by)
}

// lookAtHeld is what the timer calls. It goes through all that is held, so it must
// not come for each delivery.
func (q *declaredQueue) lookAtHeld(t *store.Turn) {
	limit := q.config.AckTimeout
	if q.deleted || limit == NoAckTimeout {
		return
	}
	var next time.Time
	o := &overdueOp{q: q}
	q.held(func(d *Delivery) {
		end := d.since.Add(limit)
		switch {
		case d.parked:
		case !end.After(t.Now()) && len(o.list) < settledAtOnce:
			o.list = append(o.list, d)
		case next.IsZero() || end.Before(next):
			next = end
		}
	})
	if len(o.list) > 0 {
		t.Post(o, store.NoSync)
	}
	if len(o.list) == settledAtOnce {
		t.Arm(q.overdue, t.Now()) // goes on with the others
		return
	}
	if soon := t.Now().Add(limit / 16); !next.IsZero() {
		if next.Before(soon) {
			next = soon
		}
		if latest := t.Now().Add(limit); next.After(latest) {
			next = latest // what is handed out meanwhile ends no sooner
		}
		t.Arm(q.overdue, next)
	}
}

// overdueOp gives deliveries back that were not settled in time.
type overdueOp struct {
	q    *declaredQueue
	list []*Delivery
}

// Frees lets it in on a disk that is nearly full.
func (o *overdueOp) Frees() {}

func (o *overdueOp) Run(t *store.Turn) error {
	for _, d := range o.list {
		tag := "none, by Get"
		if d.consumer != nil {
			tag = d.consumer.tag
		}
		m, _ := decodeMessage(d.m.Data) // the fields of d are the receiver's
		o.q.topology.s.Log().Warn("delivery was not acknowledged in time and goes back", "queue", o.q.name,
			"message_id", m.MessageID, "consumer", tag, "deliveries", d.m.Count)
		o.q.core.Return(t, d.m, !d.tried())
		d.lose()
	}
	return nil
}

func (o *overdueOp) Undo() {}

func (o *overdueOp) Visible(t *store.Turn) {
	for _, d := range o.list {
		o.q.returned(t, d.m)
	}
	o.q.ready(t)
}
