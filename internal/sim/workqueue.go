package main

import (
	"context"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/workqueue"
)

// workqueuePart is the broker of a world, with its exchanges and work queues.
type workqueuePart struct {
	w         *world
	broker    *workqueue.Broker
	exchanges []*wexchange
	queues    []*wqueue
	ghosts    []*wqueue // that were deleted; what died in them before may be somewhere
	bindings  []*wbinding
	messages  map[string]*wmessage // by name, which is at the beginning of the body
	consumers map[string]*wconsumer
	doubts    []*wtransaction // that a crash may have taken back
	since     time.Time       // when the life began
	version   int             // of the topology: it rises with each change
	changed   time.Time       // when that was the last time
	applying  int             // calls under way that make again what is deleted meanwhile
	drawn     int             // names of queues, exchanges and consumers
	sent      int             // names of messages
}

// wqueue is what is known of a work queue.
type wqueue struct {
	fate
	name     string
	config   workqueue.QueueConfig
	q        *workqueue.Queue // nil until it was seen
	copies   []*wcopy         // in the order in which they came to be here
	held     []*wdelivery     // that the application has and nobody is settling
	open     []*wconsumer     // consumers that hold or may hold something
	deduped  []*wcopy         // all that came with a MessageID
	calls    int              // ever made that change something
	under    int              // of these, how many are under way
	cut      bool             // one of these ended after its life
	paused   fate             // here means that it is; see setPause
	pauses   int              // calls ever made that pause or resume it
	pausing  int              // of these, how many are under way
	fed      bool             // it may get dead letters of others, at any time
	attended uint64           // the clock, when it had a consumer last
	blurs    int              // how often somebody may have had any message of it, and nobody was told
	touched  uint64           // the clock, when a call of a consumer or a Get was made last
	implicit bool             // it is made when it is first needed
	redrives int              // that may be running
	purging  int              // purges under way
	redriven bool             // there was one
	altering bool             // a call is under way that gives it another config
	doubtful bool             // it was given up, and may come back in another life; see bury
	jammed   time.Time        // when it may have been full of dead letters last; see jam
}

// wmessage is what is known of a message that was published.
type wmessage struct {
	name     string
	exchange string
	key      string
	message  workqueue.Message
	batch    uint64 // the clock, when its batch was begun
	begun    uint64 // the clock
	ended    uint64 // 0 if nobody knows
	version  int    // of the topology then
	moved    bool   // that has changed while it was being published
	sent     moment
	copies   []*wcopy
	handled  int  // calls of handlers
	circles  bool // dead letters of it came to a queue again, so that copies cannot be told apart
}

// wcopy is what is known of a message in a queue. A dead letter is another copy, in another queue.
type wcopy struct {
	fate
	waddress
	wplace
	whistory
	m       *wmessage
	q       *wqueue
	number  int
	due     moment // when a delay is over
	delayed bool
	expires moment
	holder  *wdelivery
	dying   map[string]bool  // reasons for which it may be dead
	born    *wcopy           // what it was before it died
	letters []*wcopy         // what became of it when it died
	moved   map[*wqueue]bool // where a redrive may have moved it
	coupled bool             // it is here if none of its letters is
	choice  *wchoice
	sure    bool // it came to its queue if its message was published
	touched bool // something may have removed it while it was being published
	undone  bool // a crash may have taken back that it came here, and nobody has seen it since
}

// waddress is how a copy was published.
type waddress struct {
	exchange string
	key      string
	cc       []string
	priority uint8
	deaths   []wdeath
	strange  bool // it has come on ways that nobody has seen, and may have had others
}

// wplace is where a copy stands in the order of its queue.
type wplace struct {
	place  span   // when it took it
	front  span   // when it was put before all others since
	ready  span   // since when it could be delivered
	astray bool   // its place is not known
	batch  uint64 // that its place is in, 0 if it has another one
}

// whistory is how often a copy was delivered.
type whistory struct {
	count    counted
	maybe    bool // it may have had it, or a consumer that the application did not ask
	returned bool // it came back, which no limit refuses
	crashed  bool // it was out in a crash, or before, perhaps
	suspect  bool // it was there in a crash
}

// span is an event that took from one value of the clock to another; the end is 0 if nobody
// knows it.
type span struct{ begun, ended uint64 }

// before reports that it was over when another one began.
func (s span) before(o span) bool { return s.ended != 0 && s.ended < o.begun }

// wdeath is an entry in the history of a dead letter.
type wdeath struct {
	queue, reason string
	count         int
}

// wchoice is the copies of which there is exactly one.
type wchoice struct {
	copies []*wcopy
	none   bool // or none
}

func newWorkqueuePart(w *world) *workqueuePart {
	return &workqueuePart{w: w, messages: make(map[string]*wmessage), consumers: make(map[string]*wconsumer)}
}

func (p *workqueuePart) verbs() []*verb {
	return append(p.topologyVerbs(), []*verb{
		form("declare work queue {queue} [limit {limit}] [ttl {ttl}] [length {length}] [overflow {overflow}] [total] [priorities {priorities}] [patience {patience}] [retry {retry}] [window {window}] [single] [dropping] [dead {dead}] [deadto {deadto}]",
			4, p.drawDeclare, p.declare),
		form("declare {kind} exchange {exchange} [alternate {alternate}] [window {window}] [header {header}]", 3, p.drawExchange, p.declareExchange),
		form("bind {target} to {exchange} [key {key}] [arguments {arguments}]", 8, p.drawBind, p.bind),
		form("unbind {target} from {exchange} [key {key}] [arguments {arguments}]", 2, p.drawUnbind, p.unbind),
		form("publish {n} messages to {exchange} with key {key} [priority {priority}] [delay {delay}] [ttl {ttl}] [cc {cc}] [bcc {bcc}] [headers {headers}] [size {size}] [id {id}] [unique {unique}] [mandatory] [async] [singly]",
			40, p.drawPublish, p.publish),
		form("get {n} deliveries from {queue}", 25, p.drawGet, p.get),
		form("consume {queue} as {consumer} [prefetch {prefetch}] [rank {rank}]", 4, p.drawConsume, p.consume),
		form("take {n} deliveries with {consumer} [wait {wait}] [together]", 30, p.drawTake, p.take),
		form("cancel consumer {consumer}", 1, p.drawConsumer, p.cancelConsumer),
		form("close consumer {consumer}", 2, p.drawConsumer, p.closeConsumer),
		form("ack {n} deliveries of {queue} [upto]", 25, p.drawSettle(p.drawUpTo), p.each(p.ack)),
		form("nack {n} deliveries of {queue} [upto]", 8, p.drawSettle(p.drawUpTo), p.each(p.nack)),
		form("reject {n} deliveries of {queue} [upto]", 4, p.drawSettle(p.drawUpTo), p.each(p.reject)),
		form("give back {n} deliveries of {queue} [after {after}]", 5, p.drawSettle(p.drawReleaseAfter), p.each(p.release)),
		form("requeue {n} deliveries of {queue} [front] [after {after}]", 5, p.drawSettle(p.drawRequeue), p.each(p.requeue)),
		form("extend {n} deliveries of {queue}", 3, p.drawSettle(nil), p.each(p.extend)),
		form("purge work queue {queue}", 1, p.drawQueue, p.purge),
		form("delete work queue {queue} [empty] [unused]", 1, p.drawDelete, p.delete),
		form("delete exchange {exchange}", 1, p.drawDeleteExchange, p.deleteExchange),
		form("pause work queue {queue}", 1, p.drawQueue, p.pause),
		form("resume work queue {queue}", 4, p.drawResume, p.resume),
		form("recall a delayed message of {queue}", 3, p.drawQueue, p.recall),
		form("look for a message of {queue}", 3, p.drawQueue, p.find),
		form("redrive {queue} [rate {rate}] [filter {filter}]", 3, p.drawRedrive, p.redrive),
		form("run {n} handlers on {queue} for {span} [attempts {attempts}] [by {by}] [timeout {timeout}] [batch {batch}]", 4, p.drawRun, p.run),
		form("transact with {queue} {acks} acks {nacks} nacks {rejects} rejects and {n} messages to {exchange} with key {key} [failing]", 12, p.drawTransact, p.transact),
	}...)
}

// changes notes that the topology changes.
func (p *workqueuePart) changes() { p.version, p.changed = p.version+1, wall() }

// queueNamed returns a queue that may be there, nil if the step that declares it is missing.
func (p *workqueuePart) queueNamed(name string) *wqueue {
	for _, q := range p.queues {
		if q.name == name && q.mayBeHere {
			return q
		}
	}
	return nil
}

// usable returns a queue that there is a handle for.
func (p *workqueuePart) usable(name string) *wqueue {
	if q := p.queueNamed(name); q != nil && q.q != nil {
		return q
	}
	return nil
}

func (p *workqueuePart) exchangeNamed(name string) *wexchange {
	for _, x := range p.exchanges {
		if x.name == name {
			return x
		}
	}
	return nil
}

// drawQueue draws a queue that has been seen.
func (p *workqueuePart) drawQueue() args {
	return p.drawQueueThat(func(*wqueue) bool { return true })
}

func (p *workqueuePart) drawQueueThat(suits func(*wqueue) bool) args {
	var names []string
	for _, q := range p.queues {
		if q.q != nil && q.mayBeHere && suits(q) {
			names = append(names, q.name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return args{"queue": oneOf(p.w, names...)}
}

// use notes a call that changes the queue; the function that it returns ends it, and reports
// whether no other one was made in the meantime.
func (q *wqueue) use() (end func(o outcome) (quiet bool)) {
	q.calls++
	q.under++
	mine, alone := q.calls, q.under == 1
	return func(o outcome) bool {
		q.under--
		q.cut = q.cut || o.other
		return alone && q.calls == mine
	}
}

// openBroker makes sure that there is one.
func (p *workqueuePart) openBroker(c *client) bool {
	if p.broker != nil {
		return true
	}
	var b *workqueue.Broker
	o := c.call(func(ctx context.Context) (err error) {
		b, err = workqueue.OpenBroker(ctx, c.db, "main")
		return err
	})
	if c.expects(o, "open the broker"); o.done() && p.broker == nil { // or another client was first, and uses it
		p.broker = b
	}
	return o.done()
}

// opened begins a life: no consumer is left, and what was unacknowledged is back.
func (p *workqueuePart) opened(c *client) {
	p.consumers, p.since = make(map[string]*wconsumer), wall()
	if len(p.queues)+len(p.exchanges) > 0 || p.broker != nil {
		p.broker = nil
		p.openBroker(c)
	}
	p.applying = 0
	p.changes() // whoever is under way still belongs to another life
	p.bury(c)
	for _, q := range slices.Clone(p.queues) {
		p.reopened(c, q)
	}
	p.resolve(c)
}

// reopened looks up a queue again, and notes that its deliveries have come back.
func (p *workqueuePart) reopened(c *client, q *wqueue) {
	if q.implicit && c.unclean {
		q.fate = unknown
	}
	if q.q = nil; q.mayBeHere {
		p.lookUp(c, q)
	}
	now := c.event()
	for _, x := range q.copies {
		out := x.holder != nil || len(q.open) > 0 || q.under > 0 || q.cut
		x.crashed, x.suspect = x.crashed || c.unclean && (out || x.maybe), x.suspect || c.unclean
		if x.holder != nil {
			unsure := x.holder.unsure
			if x.holder.unsure || x.holder.over.maybe(wall()) {
				x.mayHaveBeen(q)
			}
			if x.giveBack(span{now, c.event()}); unsure {
				x.blur()
			}
		} else if out {
			x.mayHaveBeen(q)
		}
		if c.unclean && x.count.least == 1 { // a crash may lose the count of a first delivery
			x.count.least = 0
		}
		if c.unclean && x.delayed { // it may take its place again
			x.place.ended, x.ready.ended = 0, 0
		}
		x.maybe = x.maybe || c.unclean // nobody knows whether it was delivered, if that was not durable
		x.front, x.returned = span{}, x.returned || x.maybe
	}
	if q.under > 0 || q.cut {
		q.blurs++ // so may one that nobody has seen there yet
	}
	q.held, q.open, q.cut, q.altering = nil, nil, false, false
	q.touched = c.event()
}

// mayHaveBeen notes that a consumer may have had a copy that nobody told the world of.
func (x *wcopy) mayHaveBeen(q *wqueue) {
	if x.maybe = true; q.under > 0 || q.cut {
		x.count.most++
	}
}

// lookUp finds out whether a queue is there that may be.
func (p *workqueuePart) lookUp(c *client, q *wqueue) {
	if p.broker == nil {
		return
	}
	var found *workqueue.Queue
	var info workqueue.QueueInfo
	o := callWith(c, p.broker, func(ctx context.Context, broker *workqueue.Broker) (err error) {
		if found, err = broker.Queue(ctx, q.name); err != nil {
			return err
		}
		info, err = found.Info(ctx)
		return err
	})
	switch {
	case lost(o.err, workqueue.ErrUnknownQueue) && q.mayBeGone:
		if !q.implicit {
			p.forgetQueue(q)
		}
	case o.done():
		q.q, q.config, q.fate = found, info.Config, here
	default:
		c.expects(o, "look up "+q.name)
	}
}

// forgetQueue goes on without a queue that is gone.
func (p *workqueuePart) forgetQueue(q *wqueue) {
	p.changes()
	q.fate, q.q = gone, nil
	p.queues = slices.DeleteFunc(p.queues, func(o *wqueue) bool { return o == q })
	p.bindings = slices.DeleteFunc(p.bindings, func(b *wbinding) bool { return b.target == q.name })
	now := wall()
	for _, x := range q.copies {
		if x.mayBeGone = true; !x.mayDie(now) && len(x.moved) == 0 {
			x.mayBeHere = false
		}
	}
	p.ghosts = append(p.ghosts, q)
	for name, k := range p.consumers {
		if k.q == q {
			delete(p.consumers, name)
		}
	}
}

// bury deletes the queues that were given up because nobody knew whether they are there. They would
// get messages.
func (p *workqueuePart) bury(c *client) {
	for _, q := range p.ghosts {
		if !q.doubtful || p.broker == nil || p.queueNamed(q.name) != nil {
			continue
		}
		o := callWith(c.surely(), p.broker, func(ctx context.Context, broker *workqueue.Broker) error {
			found, err := broker.Queue(ctx, q.name)
			if err != nil {
				return err
			}
			return found.Delete(ctx)
		})
		c.expects(o, "bury "+q.name, workqueue.ErrUnknownQueue)
		q.doubtful = !o.done() && !lost(o.err, workqueue.ErrUnknownQueue)
	}
}

// refresh does so for all queues.
func (p *workqueuePart) refresh() {
	for _, q := range p.queues {
		q.refresh(p)
	}
}

// refresh notes what has happened by itself: deliveries whose AckTimeout is over are back, and
// delayed messages are ready.
func (q *wqueue) refresh(p *workqueuePart) {
	w := p.w
	now := wall()
	for _, d := range q.held {
		if w.disk.isWell() && d.over.surely(now) && d.x.holder == d {
			d.x.giveBack(span{d.taken, w.event()})
		}
	}
	p.jam(q, now)
	came := false
	for _, x := range q.copies {
		came = came || x.delayed && x.mayBeHere && x.due.maybe(now)
		placed := x.due.last.Add(3 * w.disk.slowSince(x.due.last)) // it takes its place with a commit
		if x.delayed && x.ready.ended == 0 && x.m.ended != 0 && placed.Before(now) && w.disk.caughtUp() {
			x.place.ended, x.ready.ended = w.event(), w.event()
		}
	}
	if came {
		q.squeeze()
	}
}
