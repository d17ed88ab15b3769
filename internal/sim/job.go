package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// jobsPart is a broker whose jobs publish to one queue, and all that they have published.
type jobsPart struct {
	w      *world
	broker *workqueue.Broker
	queue  *workqueue.Queue
	made   bool
	jobs   []*job // each put makes one: of those with one name, the last counts
	puts   int
	under  int // calls under way that put or delete
}

// job is what is known of a job since it was put.
type job struct {
	fate
	name, id string // id is in the body of what it publishes
	every    time.Duration
	daily    bool // by a Schedule
	unique   bool
	put      moment
	over     time.Time // when it surely published no more
	taken    int
}

// rhythm is a Schedule of whole intervals.
type rhythm time.Duration

func (r rhythm) Next(t time.Time) time.Time {
	return t.Truncate(time.Duration(r)).Add(time.Duration(r))
}
func (r rhythm) String() string { return time.Duration(r).String() }

func newJobsPart(w *world) *jobsPart { return &jobsPart{w: w} }

func (p *jobsPart) verbs() []*verb {
	return []*verb{
		form("put job {job} every {every} [unique] [scheduled]", 3, p.drawPut, p.putJob),
		form("delete job {job}", 1, p.drawJob, p.deleteJob),
		form("take what the jobs have published", 4, p.drawTake, p.take),
	}
}

func (p *jobsPart) drawJob() args {
	if !p.w.likes("jobs") {
		return nil
	}
	return args{"job": oneOf(p.w, "j1", "j2", "j3")}
}

func (p *jobsPart) drawPut() args {
	a := p.drawJob()
	if a == nil {
		return nil
	}
	a["every"] = oneOf(p.w, "10m", "1h", "7h")
	if p.w.chance(4) {
		a["unique"] = "yes"
	}
	if p.w.chance(4) {
		a["scheduled"] = "yes"
	}
	return a
}

func (p *jobsPart) drawTake() args {
	if !p.made {
		return nil
	}
	return args{}
}

// ready declares the queue, durably.
func (p *jobsPart) ready(c *client) bool {
	if p.made {
		return p.queue != nil
	}
	return p.open(c)
}

func (p *jobsPart) open(c *client) bool {
	var b *workqueue.Broker
	var q *workqueue.Queue
	o := c.call(func(ctx context.Context) (err error) {
		ctx = pebblemq.WithDurability(ctx, pebblemq.Sync)
		if b, err = workqueue.OpenBroker(ctx, c.db, "jobs"); err == nil {
			q, err = b.DeclareQueue(ctx, "ticks", nil)
		}
		return err
	})
	if c.expects(o, "declare the queue of the jobs"); o.done() {
		p.broker, p.queue, p.made = b, q, true
	}
	return o.done()
}

func (p *jobsPart) opened(c *client) {
	p.broker, p.queue, p.under = nil, nil, 0
	if p.made {
		p.open(c)
	}
}

// current returns the jobs that may be the one with a name.
func (p *jobsPart) current(name string) (list []*job) {
	for _, j := range p.jobs {
		if j.name == name && j.mayBeHere {
			list = append(list, j)
		}
	}
	return list
}

func (p *jobsPart) putJob(c *client, a args) {
	if !p.ready(c) {
		return
	}
	p.puts++
	j := &job{fate: unknown, name: a["job"], id: fmt.Sprintf("%s/%d", a["job"], p.puts), every: a.span("every"), unique: a.has("unique"), daily: a.has("scheduled"), put: moment{wall(), someday}}
	before, was := p.current(j.name), make(map[*job]fate)
	for _, old := range before {
		was[old], old.mayBeGone = old.fate, true
	}
	p.jobs = append(p.jobs, j)
	put := workqueue.Job{Name: j.name, Every: j.every, Key: "ticks", Message: workqueue.Message{Body: []byte(j.id)}}
	if j.daily {
		put.Every, put.Schedule = 0, rhythm(j.every)
	}
	if j.unique {
		put.Message.UniqueKey = j.name
	}
	b := p.broker
	quiet := p.use()
	o := c.call(func(ctx context.Context) error { return b.PutJob(pebblemq.WithDurability(ctx, pebblemq.Sync), put) })
	alone := quiet()
	c.expects(o, "put "+j.name)
	c.tellCall("put %s: %v", j.id, o.err)
	switch j.put.last = o.to; {
	case o.refused():
		j.end()
		for _, old := range before {
			if alone {
				old.fate = was[old]
			}
		}
	case o.done():
		if j.mayBeGone = !alone; alone {
			for _, old := range before {
				old.end()
			}
		}
	}
}

// end notes that a job publishes no more.
func (j *job) end() { j.fate, j.over = gone, latest(wall()) }

// use notes a call that changes jobs; the function that it returns reports whether it was the only one.
func (p *jobsPart) use() func() bool {
	life := p.w.life
	p.under++
	mine, alone := p.puts, p.under == 1
	return func() bool {
		if life != p.w.life {
			return false
		}
		p.under--
		return alone && p.puts == mine
	}
}

func (p *jobsPart) deleteJob(c *client, a args) {
	if p.broker == nil {
		return
	}
	p.puts++
	b, list := p.broker, p.current(a["job"])
	sure := false
	for _, j := range list {
		sure = sure || !j.mayBeGone
		j.mayBeGone = true
	}
	quiet := p.use()
	o := c.call(func(ctx context.Context) error {
		return b.DeleteJob(pebblemq.WithDurability(ctx, pebblemq.Sync), a["job"])
	})
	alone := quiet()
	c.tellCall("delete %s: %v", a["job"], o.err)
	switch {
	case lost(o.err, workqueue.ErrUnknownJob) && !(sure && alone):
	case o.done() && alone && len(list) == 0:
		c.fail("%s is deleted, and there is none", a["job"])
	default:
		c.expects(o, "delete "+a["job"])
	}
	if alone && (o.done() || lost(o.err, workqueue.ErrUnknownJob)) {
		for _, j := range list {
			j.end()
		}
	}
}

// errNone ends a loop of Get.
var errNone = errors.New("there is no message")

// take takes all messages that the jobs have published, and judges how many they are.
func (p *jobsPart) take(c *client, _ args) {
	for q := p.queue; q != nil && c.fault == "" && c.born == c.life; {
		var d *workqueue.Delivery
		o := c.call(func(ctx context.Context) error {
			ctx = pebblemq.WithDurability(ctx, pebblemq.Sync)
			found, ok, err := q.Get(ctx)
			if d = found; err != nil || !ok {
				return errors.Join(err, errNone)
			}
			return found.Ack(ctx)
		})
		if d != nil {
			p.count(c, o, d)
		}
		if lost(o.err, workqueue.ErrDeliveryLost) && o.to.Sub(o.from) >= workqueue.DefaultAckTimeout { // on a frozen disk
			return
		}
		if c.expects(o, "take from the queue of the jobs", errNone); !o.done() {
			return
		}
	}
}

// count notes a message, which may come again if its acknowledgement failed.
func (p *jobsPart) count(c *client, o outcome, d *workqueue.Delivery) {
	i := slices.IndexFunc(p.jobs, func(j *job) bool { return j.id == string(d.Body) })
	if i < 0 {
		c.fail("a job has published %q, which none has", d.Body)
		return
	}
	j := p.jobs[i]
	if !o.done() {
		j.taken-- // it may come again
	}
	j.taken++
	end := latest(o.to)
	if !j.over.IsZero() {
		end = j.over
	}
	if !j.mayBeHere && j.over.Before(j.put.first.Add(j.every)) && !j.daily {
		c.fail("%s has published, and was never due", j.id)
	}
	if most := int(end.Sub(j.put.first)/j.every) + 1; j.taken > most {
		c.fail("%s has published %d times in %s", j.id, j.taken, end.Sub(j.put.first))
	}
}

// check compares the jobs that are listed with what is known.
func (p *jobsPart) check(c *client) {
	if p.broker == nil || p.under > 0 {
		return
	}
	var list []workqueue.JobInfo
	o := callWith(c, p.broker, func(ctx context.Context, broker *workqueue.Broker) (err error) {
		list, err = broker.Jobs(ctx)
		return err
	})
	if c.expects(o, "list the jobs"); !o.done() {
		return
	}
	shown := make(map[string]bool)
	for _, info := range list {
		shown[string(info.Message.Body)] = true
		i := slices.IndexFunc(p.jobs, func(j *job) bool { return j.id == string(info.Message.Body) })
		switch {
		case i < 0 || !p.jobs[i].mayBeHere:
			c.fail("the job %s is there, with %q", info.Name, info.Message.Body)
		case info.Every != p.jobs[i].every && !p.jobs[i].daily:
			c.fail("%s is every %s, not %s", p.jobs[i].id, info.Every, p.jobs[i].every)
		case c.disk.isCalm() && !p.jobs[i].daily && o.from.Sub(info.Next) > time.Minute:
			c.fail("%s was to be published %s ago", p.jobs[i].id, o.from.Sub(info.Next))
		}
	}
	for _, j := range p.jobs {
		if j.fate == here && !shown[j.id] {
			c.fail("%s is not there any more", j.id)
		}
		if j.mayBeHere && !shown[j.id] {
			j.end()
		}
	}
}

// settle takes what is left. A job that has been due has published.
func (p *jobsPart) settle(c *client) {
	p.take(c, nil)
	for _, j := range p.jobs {
		if age := wall().Sub(j.put.last); j.fate == here && !j.daily && !j.unique && j.taken == 0 && c.disk.isCalm() && age > j.every+time.Minute && c.fault == "" {
			c.fail("%s has published nothing for %s", j.id, age)
		}
	}
}
