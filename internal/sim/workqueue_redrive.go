package main

import (
	"context"
	"errors"
	"time"

	"github.com/pebblemq/pebblemq/workqueue"
)

func (p *workqueuePart) drawRedrive() args {
	a := p.drawQueueThat(func(q *wqueue) bool { return q.fed })
	if a != nil && p.w.chance(3) {
		a["rate"] = oneOf(p.w, "1", "100")
	}
	if a != nil {
		p.w.drawFilter(a)
	}
	return a
}

// redriveWait is how long a step waits for a redrive.
const redriveWait = 5 * time.Minute

// redrive moves the dead letters of a queue back, and waits until that has ended.
func (p *workqueuePart) redrive(c *client, a args) {
	q := p.usable(a["queue"])
	if q == nil || !q.fed {
		return
	}
	q.refresh(p)
	filter := p.w.filterOf(a)
	moving, most := p.mayMove(q, filter)
	running := q.redrives
	q.redrives++
	q.redriven = true
	var info workqueue.RedriveInfo
	started := false
	end := q.use()
	o := callWith(c, q.q, func(ctx context.Context, queue *workqueue.Queue) error {
		options := &workqueue.RedriveOptions{Rate: float64(a.int("rate"))}
		if filter != nil {
			options.Filter = func(b *workqueue.Browsed) bool { return filter(nameOf(&workqueue.Delivery{Message: b.Message})) }
		}
		r, err := queue.Redrive(ctx, options)
		if started = err == nil; !started {
			return err
		}
		ctx, stop := context.WithTimeout(ctx, redriveWait)
		defer stop()
		info, err = r.Wait(ctx)
		return unclearWait(ctx, err)
	})
	quiet := end(o)
	c.tellCall("redrive %s: %+v, %v", q.name, info, o.err)
	switch {
	case lost(o.err, workqueue.ErrRedriveRunning) && (running > 0 || !quiet):
	case errors.Is(o.err, context.DeadlineExceeded): // it goes on
	default:
		c.expects(o, "redrive "+q.name, workqueue.ErrQueueDeleted)
	}
	if o.done() && info.State == workqueue.RedriveFailed {
		q.redrives--
	}
	if o.done() && info.State == workqueue.RedriveCompleted {
		q.redrives--
		p.judgeRedrive(c, o, q, moving, most, info, quiet && running == 0)
	}
	if o.refused() && !started {
		if q.redrives--; running == 0 && quiet {
			for x, target := range moving {
				delete(x.moved, target)
			}
		}
	}
}

// mayMove marks what a redrive may move: each dead letter to the queue of its latest death. It
// returns what was not marked before, and how many there may be. A filter takes some of them.
func (p *workqueuePart) mayMove(q *wqueue, filter func(name string) bool) (moving map[*wcopy]*wqueue, most int) {
	moving = make(map[*wcopy]*wqueue)
	for _, x := range q.copies {
		if !x.mayBeHere || len(x.deaths) == 0 || filter != nil && !filter(x.m.name) {
			continue
		}
		target := p.queueNamed(x.deaths[0].queue)
		if target == nil {
			continue
		}
		if most++; target == q {
			x.putAnew()
			continue
		}
		if x.moved == nil {
			x.moved = make(map[*wqueue]bool)
		}
		if !x.moved[target] {
			moving[x] = target
		}
		x.moved[target] = true
		target.fed = true
		target.squeeze()
	}
	return moving, most + p.arrivals(q, wall())
}

// putAnew notes that a dead letter that is in the queue where it died may be put there once more.
func (x *wcopy) putAnew() {
	x.astray, x.count.least, x.expires.last = true, 0, someday
}

// judgeRedrive compares what a redrive that is over says with what it can have moved.
func (p *workqueuePart) judgeRedrive(c *client, o outcome, q *wqueue, moving map[*wcopy]*wqueue, most int, info workqueue.RedriveInfo, quiet bool) {
	if quiet && int(info.Moved) > most {
		c.fail("a redrive of %s has moved %d messages, there were at most %d", q.name, info.Moved, most)
	}
	for x, target := range moving {
		unmoved := *x
		unmoved.moved = nil
		if quiet && target.fate == here && target.config.MaxLength == 0 && unmoved.surelyReady(o.to) && q.spare(nil) == 0 && x.holder == nil {
			p.arrive(x, target)
		}
	}
}
