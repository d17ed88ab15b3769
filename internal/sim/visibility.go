package main

import (
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/visibility"
)

// visibilityPart is the visibility queues of a world.
type visibilityPart struct {
	w      *world
	bank   *bank
	queues []*vqueue
	byID   map[string]*vmessage
	drawn  int  // names of queues
	sent   int  // names of messages
	batch  int  // batches that were sent
	hidden bool // there may be queues that nobody knows
}

// vqueue is what is known of a visibility queue.
type vqueue struct {
	part     *visibilityPart
	name     string
	config   visibility.QueueConfig
	dead     *vqueue
	q        *visibility.Queue
	messages []*vmessage // in the order of sending, without those that are gone for good
	deduped  []*vmessage // all that were sent with a DedupeID
	held     []vreceipt  // of receives, not used yet
	calls    int         // ever made that change something
	under    int         // of these, how many are under way
	running  int         // Runs under way
	purging  int         // purges under way
	moving   int         // redrives under way
	tenants  bool        // a standard queue whose messages have groups

	unclearUntil time.Time // when the visibility timeouts of those are over

	mayBeLost bool                   // in the crash that has just been
	altering  int                    // calls under way that give it another config, or perhaps
	next      visibility.QueueConfig // of these
	alteredAt uint64                 // the clock
	deleting  bool                   // or it is deleted
	attempts  map[string]vattempt    // by AttemptID
}

// vmessage is what is known of a message.
type vmessage struct {
	fate
	vflight
	id       string
	home     *vqueue
	first    *vqueue // to which it was sent
	group    string
	priority counted // that it has taken
	body     []byte
	dedupe   string

	begun, ended uint64    // the clock, of its send; ended is 0 if nobody knows
	wentAt       uint64    // the clock, when it was deleted
	batch, place int       // in which it was sent, and where
	changed      uint64    // the clock, when somebody changed it last or tried to
	others       []*vqueue // where it may be instead of home
	sent         moment
	due          moment
	delayed      bool
	delay        time.Duration
	touched      bool // somebody has tried to remove it
	purged       bool // since it was sent, or perhaps
	died         bool // it was seen in the dead-letter queue
}

// vflight is what is known of the receives of a message.
type vflight struct {
	free     moment // when the visibility timeout is over
	receives counted
	receipt  visibility.Receipt // the latest
	unsure   bool               // it may have been received since, or that may be lost
	handling int                // handlers of Run
	entered  uint64             // the clock, when the latest of them began
}

// vreceipt is a receipt that somebody holds.
type vreceipt struct {
	m       *vmessage
	receipt visibility.Receipt
	life    int
	at      uint64 // the clock
}

func newVisibilityPart(w *world, b *bank) *visibilityPart {
	return &visibilityPart{w: w, bank: b, byID: make(map[string]*vmessage)}
}

func (p *visibilityPart) verbs() []*verb {
	return []*verb{
		form("open visibility queue {queue} [fifo] [timeout {timeout}] [retention {retention}] [receives {receives}] [dead {dead}] [priorities {priorities}] [dedupe {dedupe}] [body] [pergroup] [blocking] [flying {flying}] [restarts] [expired]",
			4, p.drawOpen, p.open),
		form("alter visibility queue {queue} [timeout {timeout}] [retention {retention}] [receives {receives}] [dead {dead}] [flying {flying}] [restarts] [expired] [ensured]",
			2, p.drawAlter, p.alter),
		form("delete visibility queue {queue}", 1, p.drawQueue, p.deleteQueue),
		form("send {n} messages to {queue} [group {group}] [priority {priority}] [delay {delay}] [dedupe {dedupe}] [size {size}] [body {body}] [async] [atomic] [bad]",
			30, p.drawSend, p.send),
		form("receive {n} messages from {queue} [hidden {hidden}] [wait {wait}] [again {attempt}] [emptying]", 40, p.drawReceive, p.receive),
		form("delete {n} messages of {queue}", 30, p.drawSettle(nil), p.each(p.delete)),
		form("release {n} messages of {queue} [after {after}]", 6, p.drawSettle(p.drawAfter), p.each(p.release)),
		form("hide {n} messages of {queue} for {hidden}", 6, p.drawSettle(p.drawHidden), p.each(p.hide)),
		form("delete {n} messages of {queue} at once [twice] [atomic]", 8, p.drawSettle(p.drawBatch), p.batched(p.deleteBatch)),
		form("hide {n} messages of {queue} at once for {hidden} [atomic]", 3, p.drawSettle(p.drawHiddenBatch), p.batched(p.hideBatch)),
		form("redrive {queue} [to {to}] [rate {rate}] [cancel {cancel}] [filter {filter}]", 3, p.drawRedrive, p.redrive),
		form("move {amount} from account {from} to account {to} and send {n} messages to {queue} and delete one of {source} [group {group}] [refused]",
			8, p.drawTransfer, p.transfer),
		form("run {n} handlers on {queue} for {span} [attempts {attempts}] [batches] [calm]", 4, p.drawRun, p.run),
		form("purge {queue}", 1, p.drawQueue, p.purge),
		form("glance at {queue}", 3, p.drawQueue, p.glance),
		form("cancel a message of {queue}", 3, p.drawQueue, p.cancel),
	}
}

func (p *visibilityPart) taken(name string) bool {
	return slices.ContainsFunc(p.queues, func(q *vqueue) bool { return q.name == name })
}

// named returns a queue, nil if the step that opens it is missing.
func (p *visibilityPart) named(name string) *vqueue {
	for _, q := range p.queues {
		if q.name == name && q.q != nil {
			return q
		}
	}
	return nil
}

func (p *visibilityPart) drawQueue() args {
	var open []string
	for _, q := range p.queues {
		if q.q != nil {
			open = append(open, q.name)
		}
	}
	if len(open) == 0 {
		return nil
	}
	return args{"queue": oneOf(p.w, open...)}
}

// hiddenFor is the visibility timeout of a receive.
func (q *vqueue) hiddenFor(a args) time.Duration {
	if a.has("hidden") {
		return a.span("hidden")
	}
	return q.config.VisibilityTimeout
}

// use notes a call that changes the queue; the function that it returns ends it, and reports
// whether no other one was made in the meantime.
func (q *vqueue) use() (end func() (quiet bool)) {
	q.calls++
	q.under++
	mine, alone := q.calls, q.under == 1
	return func() bool {
		q.under--
		return alone && q.calls == mine
	}
}
