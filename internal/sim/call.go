package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// callsPart is requests that clients make of workers, and their replies.
type callsPart struct {
	w       *world
	broker  *workqueue.Broker
	queue   *workqueue.Queue
	caller  *workqueue.Caller
	made    bool
	asked   int
	replies map[string]*wreply // by request
}

// wreply is what is known of the reply to a request.
type wreply struct {
	told    []string  // what was reported before it
	done    bool      // it was published for sure
	at      time.Time // when
	twice   bool      // it may have been answered twice
	touched bool      // a worker had it
}

func newCallsPart(w *world) *callsPart {
	return &callsPart{w: w, replies: make(map[string]*wreply)}
}

func (p *callsPart) verbs() []*verb {
	return []*verb{
		form("call a worker for {span}", 6, p.drawCall, p.callWorker),
		form("answer {n} calls [reports {reports}] [together]", 8, p.drawAnswer, p.answer),
		form("close the caller", 1, p.drawClose, p.closeCaller),
	}
}

func (p *callsPart) drawCall() args {
	if !p.w.likes("calls") {
		return nil
	}
	return args{"span": oneOf(p.w, "1ms", "5s", "1m")}
}

func (p *callsPart) drawAnswer() args {
	if !p.made {
		return nil
	}
	a := args{"n": fmt.Sprint(p.w.upTo(4))}
	if p.w.chance(2) {
		a["reports"] = oneOf(p.w, "1", "3")
	}
	if p.w.chance(2) {
		a["together"] = "yes"
	}
	return a
}

func (p *callsPart) drawClose() args {
	if p.caller == nil {
		return nil
	}
	return args{}
}

func (p *callsPart) open(c *client) bool {
	var b *workqueue.Broker
	var q *workqueue.Queue
	o := c.call(func(ctx context.Context) (err error) {
		ctx = pebblemq.WithDurability(ctx, pebblemq.Sync)
		if b, err = workqueue.OpenBroker(ctx, c.db, "calls"); err == nil {
			q, err = b.DeclareQueue(ctx, "requests", nil)
		}
		return err
	})
	if c.expects(o, "declare the queue of requests"); o.done() && p.queue == nil { // or another client was first
		p.broker, p.queue, p.made = b, q, true
	}
	return o.done()
}

// opened begins a life: callers and their replies are gone.
func (p *callsPart) opened(c *client) {
	p.broker, p.queue, p.caller = nil, nil, nil
	p.replies = make(map[string]*wreply)
	if p.made {
		p.open(c)
	}
}

func (p *callsPart) callWorker(c *client, a args) {
	if p.broker == nil && !p.open(c) {
		return
	}
	if p.caller == nil {
		var caller *workqueue.Caller
		o := callWith(c, p.broker, func(ctx context.Context, broker *workqueue.Broker) (err error) {
			caller, err = broker.NewCaller(ctx)
			return err
		})
		if c.expects(o, "make a caller"); !o.done() {
			return
		}
		p.caller = caller
	}
	p.asked++
	request, caller := fmt.Sprintf("request %d", p.asked), p.caller
	reply := new(wreply)
	p.replies[request] = reply
	var told []string
	var got *workqueue.Delivery
	o := c.call(func(ctx context.Context) (err error) {
		ctx, stop := context.WithTimeout(ctx, a.span("span"))
		defer stop()
		got, err = caller.Call(ctx, "", "requests", workqueue.Message{Body: []byte(request)}, &workqueue.CallOptions{
			Progress: func(d *workqueue.Delivery) { told = append(told, string(d.Body)) },
		})
		return err
	})
	c.tellCall("%s: %v, %v", request, told, o.err)
	p.judge(c, o, request, reply, told, got, caller != p.caller)
}

// judge compares the end of a call with what the worker has done.
func (p *callsPart) judge(c *client, o outcome, request string, reply *wreply, told []string, got *workqueue.Delivery, closed bool) {
	switch {
	case o.other:
	case errors.Is(o.err, context.DeadlineExceeded):
		if reply.done && c.disk.isWell() && o.to.Sub(later(reply.at, c.disk.wellSince)) > patience(c) {
			c.fail("%s was answered %s before its call ended in vain", request, o.to.Sub(reply.at))
		}
	case lost(o.err, workqueue.ErrConsumerClosed) && closed:
	case o.err != nil:
		c.expects(o, request)
	case !reply.touched:
		c.fail("%s has a reply, and no worker had it", request)
	case string(got.Body) != "reply to "+request:
		c.fail("%s has the reply %q", request, got.Body)
	case !reply.twice && strings.Join(told, ",") != strings.Join(reply.told, ","):
		c.fail("%s: %v was reported, not %v", request, told, reply.told)
	}
}

// answer takes requests and replies to them.
func (p *callsPart) answer(c *client, a args) {
	for n := a.int("n"); n > 0 && c.fault == "" && p.queue != nil && c.born == c.life; n-- {
		var d *workqueue.Delivery
		q := p.queue
		o := c.call(func(ctx context.Context) (err error) {
			d, _, err = q.Get(ctx)
			return err
		})
		if c.expects(o, "take a request"); !o.done() || d == nil {
			return
		}
		p.reply(c, d, a)
	}
}

func (p *callsPart) reply(c *client, d *workqueue.Delivery, a args) {
	reply, broker := p.replies[string(d.Body)], p.broker
	if reply == nil { // of another life
		reply = new(wreply)
	}
	reply.twice = reply.twice || reply.touched
	reply.touched = true
	for n := range a.int("reports") {
		report := fmt.Sprint(n)
		reply.told = append(reply.told, report)
		o := c.call(func(ctx context.Context) error { return d.Report(ctx, workqueue.Message{Body: []byte(report)}) })
		if c.expects(o, "report"); !o.done() {
			reply.twice = true // it may have been told or not
		}
	}
	answer := workqueue.Message{Body: []byte("reply to " + string(d.Body))}
	o := c.call(func(ctx context.Context) error {
		if a.has("together") {
			return c.db.Update(ctx, func(tx *pebblemq.Tx) error {
				return errors.Join(broker.In(tx).Reply(d, answer), broker.In(tx).Ack(d))
			})
		}
		if err := d.Reply(ctx, answer); err != nil {
			return err
		}
		return d.Ack(ctx)
	})
	if c.expects(o, "reply to "+string(d.Body)); o.done() && !reply.done {
		reply.done, reply.at = true, o.to
	}
}

func (p *callsPart) closeCaller(c *client, _ args) {
	caller := p.caller
	if caller == nil {
		return
	}
	p.caller = nil
	o := c.callFree(caller.Close)
	c.expects(o, "close the caller")
}

func (p *callsPart) check(*client)  {}
func (p *callsPart) settle(*client) {}
