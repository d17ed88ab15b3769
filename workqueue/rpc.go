package workqueue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/pebblemq/pebblemq/internal/store"
)

// HeaderProgress marks a message of Report. Its value is "1".
const HeaderProgress = "x-progress"

// Caller sends requests and waits for their replies. It has a queue of its own for replies,
// which is deleted when the caller is closed or the store is opened again. A later process has
// no use for a reply. It is safe for concurrent use; one for all requests is enough.
type Caller struct {
	b *Broker // owns the queue
	c *Consumer

	mu      sync.Mutex
	waiting map[string]*call // by correlation id
	err     error            // why there will be no more replies
}

// call is a request under way.
type call struct {
	progress func(*Delivery)
	reply    chan *Delivery // of one
	ended    chan struct{}  // closed with the caller

	mu   sync.Mutex // held while progress runs
	over bool       // Call returns
}

func (w *call) report(d *Delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.progress == nil || w.over {
		return
	}
	err := store.Call("Progress function", func() error {
		w.progress(d)
		return nil
	})
	if err != nil {
		d.b.s.Log().Error("progress of a call", "correlation_id", d.CorrelationID, "error", err)
	}
}

func (w *call) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
}

// NewCaller returns a caller that sends through b. Close it when done.
func (b *Broker) NewCaller(ctx context.Context) (*Caller, error) {
	own := &Broker{s: b.s, t: b.t}
	queue, err := own.DeclareNewQueue(ctx, &QueueConfig{Exclusive: true})
	if errors.Is(err, store.ErrUnknownOutcome) { // it is there now
		err = errors.Join(err, own.leave())
	}
	if err != nil {
		return nil, err
	}
	c := &Caller{b: own, waiting: make(map[string]*call)}
	if c.c, err = queue.Consume(ctx, &ConsumeOptions{Prefetch: UnlimitedPrefetch}); err == nil && !b.s.Spawn(c.receive) {
		err = b.s.Cause()
	}
	if err != nil {
		return nil, errors.Join(err, own.leave())
	}
	return c, nil
}

// leave deletes the queue of a caller. It does not wait for the disk, because the queue
// does not outlive the store.
func (b *Broker) leave() error {
	return b.s.Do(context.Background(), store.PromptFunc{OpFunc: b.dropExclusive}, store.NoSync)
}

// CallOptions are choices of one Call. Nil is the default.
type CallOptions struct {
	// Progress is called for each message of Delivery.Report, in order, before Call
	// returns, which waits for it. Calls of one caller take turns: it should be quick.
	// Nil drops them. If it panics or calls runtime.Goexit, that is logged.
	Progress func(*Delivery)
}

// Call publishes a request as Publish does, and waits for its reply, which it
// acknowledges. Of the request it sets ReplyTo, CorrelationID, which must be empty,
// and Mandatory: a request that leads nowhere is ErrUnroutable at once. When ctx ends
// first, Call returns its error; the request may be carried out all the same, and a
// reply that comes later is dropped. It returns ErrConsumerClosed once the caller is
// closed. Give ctx a time limit: a worker may never answer. One whose handler fails is
// not heard of either; a worker reports a failure as a reply, and what it means is for
// the two of them to agree on.
func (c *Caller) Call(ctx context.Context, exchange, key string, request Message, o *CallOptions) (*Delivery, error) {
	if request.ReplyTo != "" || request.CorrelationID != "" {
		return nil, store.Invalid("ReplyTo and CorrelationID of a request are the caller's to set")
	}
	w := &call{reply: make(chan *Delivery, 1), ended: make(chan struct{})}
	if o != nil {
		w.progress = o.Progress
	}
	request.ReplyTo, request.CorrelationID, request.Mandatory = c.c.q.name, rand.Text(), true
	if err := c.expect(request.CorrelationID, w); err != nil {
		return nil, err
	}
	defer w.finish()
	defer c.forget(request.CorrelationID)
	if err := c.b.Publish(ctx, exchange, key, request); err != nil {
		return nil, err
	}
	select {
	case d := <-w.reply:
		return d, nil
	case <-w.ended:
		return nil, c.cause()
	case <-ctx.Done():
		return nil, fmt.Errorf("workqueue: no reply: %w", ctx.Err())
	}
}

func (c *Caller) expect(id string, w *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.waiting[id] = w
	}
	return c.err
}

func (c *Caller) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

func (c *Caller) cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// receive hands replies to who waits for them.
func (c *Caller) receive(ctx context.Context) {
	for {
		d, err := c.c.nextReadable(ctx)
		if err == nil {
			err = d.Ack(store.WithDurability(ctx, store.NoSync))
		}
		if err != nil {
			c.end(err)
			return
		}
		c.mu.Lock()
		w := c.waiting[d.CorrelationID]
		c.mu.Unlock()
		switch {
		case w == nil: // nobody waits any more
		case d.Headers[HeaderProgress] == "":
			select {
			case w.reply <- d:
			default: // a second reply
			}
		default:
			w.report(d)
		}
	}
}

// end lets all go who wait.
func (c *Caller) end(err error) {
	if cause := c.b.s.Cause(); cause != nil {
		err = cause
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	for _, w := range c.waiting {
		close(w.ended)
	}
}

// Close ends the caller and deletes its queue. Calls under way return
// ErrConsumerClosed. After the store is closed it is not needed.
func (c *Caller) Close() error {
	err := errors.Join(c.c.Close(), c.b.leave())
	if c.b.s.Cause() != nil {
		return nil
	}
	return err
}

// Reply publishes the answer to a request, under its CorrelationID, to the queue
// named by its ReplyTo. A caller that is gone is no error: the answer leads nowhere,
// and is counted as such. To answer and acknowledge in one commit use BrokerTx.
func (d *Delivery) Reply(ctx context.Context, answer Message) error {
	answer, err := d.answer(answer)
	if err != nil {
		return err
	}
	headers, end := tracePublish(ctx, d.b, store.StepSend, "", d.ReplyTo, &answer)
	answer.Headers = headers
	op, err := d.b.answering(d, answer)
	if err == nil {
		err = d.b.s.Do(ctx, op, store.Default)
	}
	end(err)
	return err
}

// Report is Reply with something that is not the answer yet: how far the work has
// come. It carries HeaderProgress.
func (d *Delivery) Report(ctx context.Context, progress Message) error {
	progress = progress.clone()
	if progress.Headers == nil {
		progress.Headers = make(map[string]string)
	}
	progress.Headers[HeaderProgress] = "1"
	return d.Reply(ctx, progress)
}

// Reply is Delivery.Reply as a part of the transaction.
func (t BrokerTx) Reply(d *Delivery, answer Message) error {
	if err := t.own(d); err != nil {
		return err
	}
	answer, err := d.answer(answer)
	if err != nil {
		return t.x.Fail(err)
	}
	answer.Headers = maps.Clone(answer.Headers) // routed by at the commit
	return t.add(t.b.answering(d, answer))
}

func (b *Broker) answering(d *Delivery, answer Message) (*publishOp, error) {
	op, err := b.publishing("", d.ReplyTo, answer)
	if err == nil {
		op.answer = true
	}
	return op, err
}

// answer addresses a message to who sent the request.
func (d *Delivery) answer(m Message) (Message, error) {
	if err := d.real(); err != nil {
		return m, err
	}
	if d.ReplyTo == "" {
		return m, store.Invalid("the delivery of queue %q has no ReplyTo", d.Queue)
	}
	if m.CorrelationID != "" && m.CorrelationID != d.CorrelationID {
		return m, store.Invalid("CorrelationID of an answer is that of the request")
	}
	m.CorrelationID = d.CorrelationID
	return m, nil
}
