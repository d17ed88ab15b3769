package main

import (
	"context"
	"time"
)

// Durability is what an acknowledgement means.
type Durability string

const (
	// Durable is acknowledged after the fsync that covers it.
	Durable Durability = "durable"
	// Relaxed is acknowledged any time before.
	Relaxed Durability = "relaxed"
	// Either is for workloads that write nothing.
	Either Durability = "reading"
)

// Env is where a peer is opened, and how.
type Env struct {
	Dir        string // empty at first; it is the peer's alone
	Durability Durability
	Reopen     bool // Dir holds what the peer stored before
}

func (e Env) durable() bool { return e.Durability == Durable }

// Peer is a competitor, or we. What it does not offer is nil. It has a row only
// in the tables of what it can honestly promise: see Durable and Relaxed.
type Peer struct {
	Name    string
	About   string   // what it is and how it is used
	Modules []string // whose versions the report states
	Server  *Server  // nil for what runs in our process
	Missing string   // why it cannot be measured in this build; empty if it can

	// Durable and Relaxed say how the peer is set to keep that promise. An
	// empty one is not offered.
	Durable, Relaxed string

	Log        func(Env) (Log, error)
	Groups     bool // the Log is a GroupLog
	Queue      func(Env) (Queue, error)
	Visibility func(Env) (Visibility, error)
	FIFO       bool // the Visibility honours groups
	Fanout     func(Env) (Fanout, error)
	Router     func(Env) (Router, error)
	Dedupe     func(Env) (Dedupe, error)
	Tx         func(Env) (Tx, error)
}

func (p *Peer) offers(d Durability) bool {
	switch d {
	case Durable:
		return p.Durable != ""
	case Relaxed:
		return p.Relaxed != ""
	}
	return true
}

// Log is an ordered log of records that stay. Append is safe for concurrent
// use, copies the records and returns when they are acknowledged.
type Log interface {
	Append(records [][]byte) error
	// Replay passes n records to f from the first on, in their order. They are
	// valid during the call.
	Replay(n int, f func([]byte) error) error
	Close() error
}

// GroupLog is a Log with named consumers whose positions it keeps.
type GroupLog interface {
	Log
	// ReplayGroup is Replay by a new consumer, which commits its position after
	// each commitEvery records.
	ReplayGroup(name string, n, commitEvery int, f func([]byte) error) error
}

// Message is a message in the hands of a consumer.
type Message struct {
	Body   []byte
	handle any    // what the peer needs to settle it
	id     uint64 // the same, where a number will do
}

// Queue hands each message to one of its consumers until it is acknowledged.
type Queue interface {
	// Publish returns when all are acknowledged to the publisher. It is safe
	// for concurrent use and copies the bodies.
	Publish(bodies [][]byte) error
	// Consumer returns a consumer for one goroutine that holds at most
	// prefetch messages.
	Consumer(prefetch int) (Consumer, error)
	Close() error
}

// Consumer is one consumer of a Queue.
type Consumer interface {
	// Receive waits for a message and returns at most limit of those that come
	// soon after it (see gather). When ctx ends it returns what it has, without
	// an error.
	Receive(ctx context.Context, limit int) ([]Message, error)
	Ack(messages []Message) error
	Close() error
}

// gatherTime is how long a consumer of many may wait for the rest of them.
const gatherTime = 2 * time.Millisecond

// gather is Receive for a peer that has only a call for the next message.
func gather(ctx context.Context, limit int, next func(context.Context) (Message, error)) ([]Message, error) {
	m, err := next(ctx)
	if err != nil {
		return nil, ended(ctx, err)
	}
	if limit == 1 {
		return []Message{m}, nil
	}
	got := append(make([]Message, 0, limit), m)
	ctx, cancel := context.WithTimeout(ctx, gatherTime)
	defer cancel()
	for len(got) < limit {
		m, err := next(ctx)
		if err != nil {
			return got, ended(ctx, err)
		}
		got = append(got, m)
	}
	return got, nil
}

// ended drops the error that ctx had to end.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Visibility is a queue whose messages are hidden from others when received,
// and deleted by their receipt. Its methods are safe for concurrent use.
type Visibility interface {
	// Send returns when the messages are acknowledged. Messages of one group
	// are received in order, by one receiver at a time; 0 is no group.
	Send(bodies [][]byte, group int) error
	// Receive returns at most limit, at once, and may return none.
	Receive(limit int) ([]Message, error)
	Delete(messages []Message) error
	Close() error
}

// Fanout is an exchange that copies each message to all its queues.
type Fanout interface {
	Bind(queues int) error
	Publish(body []byte) error // safe for concurrent use
	// Take removes and returns the next message of a queue, nil if it is empty.
	Take(queue int) ([]byte, error)
	Close() error
}

// Router is an exchange that sends messages on by patterns.
type Router interface {
	// Bind binds queue i%queues to the pattern "*.site.<i>.#", for each i below
	// bindings.
	Bind(bindings, queues int) error
	Publish(key string, body []byte) error // safe for concurrent use
	Take(queue int) ([]byte, error)
	Close() error
}

// Dedupe remembers keys with a result.
type Dedupe interface {
	// Fill stores keys in bulk, as fast as the peer can.
	Fill(keys [][]byte, result []byte) error
	// Once stores the key with the result, or finds it there: then fresh is
	// false and found is what was stored. It is safe for concurrent use.
	Once(key, result []byte) (fresh bool, found []byte, err error)
	Close() error
}

// Tx commits five changes as one: an application key, a log record, a message
// published, one acknowledged, a dedupe key.
type Tx interface {
	// Worker returns a function for one goroutine. Each call of it receives the
	// message that the call before has published, and commits all five.
	Worker(n int) (func(i int, record []byte) error, error)
	// Check returns how many log records and dedupe keys are stored, and how
	// many messages wait.
	Check() (records, keys, waiting int, err error)
	Close() error
}
