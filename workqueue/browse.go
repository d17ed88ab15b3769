package workqueue

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// MessageState is what a message in a queue is doing.
type MessageState string

// The states of a message.
const (
	Ready   MessageState = "ready"   // waits for a consumer
	Unacked MessageState = "unacked" // is delivered and not settled
	Delayed MessageState = "delayed" // waits for its time
)

// Position is where a message stands in its queue, as a short text that can be stored
// and compared for equality. A message has another one when it becomes due or is put
// elsewhere; none is given twice, but for what a crash takes back.
type Position string

func (p Position) parse() (queue.Position, error) { return queue.ParsePosition(string(p)) }

// Browsed is a message that was looked at. It is a copy and belongs to who gets it:
// changing it changes nothing in the queue. Delay, BCC and Mandatory are not known any
// more.
type Browsed struct {
	Message

	Exchange   string // that it was published to
	RoutingKey string

	Position Position
	State    MessageState
	// DeliveryCount is how often it has been delivered, the one under way included.
	DeliveryCount int
	// Deaths is the history of a dead letter, the latest first.
	Deaths []Death

	Due     time.Time // when a delayed one will be ready
	Expires time.Time // when its time to live is over; zero is never
}

// BrowseOptions say which messages to look at. Nil is all of them.
type BrowseOptions struct {
	// After is the position to begin behind, for one page after another.
	After Position
	// State, if set, leaves out the messages in another one.
	State MessageState
	// MessageID, if set, leaves out those with another one. Delayed messages are
	// found by an index, so with State Delayed the cost does not depend on how many
	// there are; else all that are ready or unacknowledged are read.
	MessageID string
}

// Browse goes through the messages of a queue without taking any: nothing in the queue
// changes, and consumers do not notice. Those that are ready or unacknowledged come
// first, by priority and in the order of the queue, then those that are delayed, by the
// time when they are due. RabbitMQ has only a get that requeues.
//
// It reads a chunk at a time and holds nothing in between, so it may take as long as it likes.
// Each message comes at most once, with the state that it had when its chunk was read. Messages
// that are in the queue throughout all come. Messages published meanwhile may or may not come.
// A message that is requeued to another place than its own, or with a delay, counts as another
// one.
//
// A message that is damaged comes as pebblemq.ErrCorrupt, and the loop may go on. Any
// other error ends it: that of ctx, or ErrQueueDeleted.
func (q *Queue) Browse(ctx context.Context, o *BrowseOptions) iter.Seq2[*Browsed, error] {
	if o == nil {
		o = &BrowseOptions{}
	}
	begin := func() (*queue.Browse, error) {
		query, err := o.query()
		if err != nil {
			return nil, err
		}
		if err := q.look(ctx); err != nil {
			return nil, err
		}
		query.Alive = q.queue.alive
		return q.queue.core.Browse(query), nil
	}
	return queue.All(ctx, begin, func(s *queue.Seen) (*Browsed, error) {
		m, err := q.queue.browsed(s)
		if m != nil && o.State != "" && m.State != o.State {
			return nil, nil
		}
		return m, err
	})
}

func (o *BrowseOptions) query() (query queue.Query, err error) {
	query.Waiting, query.Delayed = o.State != Delayed, o.State == "" || o.State == Delayed
	switch o.State {
	case "", Ready, Unacked, Delayed:
	default:
		return query, store.Invalid("State %q is none of %q, %q and %q", o.State, Ready, Unacked, Delayed)
	}
	if o.MessageID != "" {
		query.ID = []byte(o.MessageID)
	}
	if o.After != "" {
		var after queue.Position
		after, err = o.After.parse()
		query.After = &after
	}
	return query, err
}

// Peek returns the message at a position, as Browse would, or ErrUnknownMessage if it
// is not there any more.
func (q *Queue) Peek(ctx context.Context, at Position) (*Browsed, error) {
	p, err := at.parse()
	if err != nil {
		return nil, err
	}
	if err := q.look(ctx); err != nil {
		return nil, err
	}
	s, err := q.queue.core.Peek(ctx, q.queue.alive, p)
	if err != nil {
		return nil, err
	}
	if s != nil {
		if m, err := q.queue.browsed(s); m != nil || err != nil {
			return m, err
		}
	}
	return nil, fmt.Errorf("%w: queue %q, position %s", ErrUnknownMessage, q.Name(), at)
}

// Find returns a message by its MessageID, or ErrUnknownMessage. It returns a delayed one
// first, by an index. Otherwise it reads the queue in order until it finds one. It is Browse
// with a MessageID.
func (q *Queue) Find(ctx context.Context, messageID string) (*Browsed, error) {
	if messageID == "" {
		return nil, store.Invalid("find in queue %q without a MessageID", q.Name())
	}
	for _, state := range []MessageState{Delayed, ""} {
		for m, err := range q.Browse(ctx, &BrowseOptions{MessageID: messageID, State: state}) {
			return m, err
		}
	}
	return nil, fmt.Errorf("%w: queue %q, message id %q", ErrUnknownMessage, q.Name(), messageID)
}

// browsed returns nil if the message is gone by now, and its shared body with it.
func (q *declaredQueue) browsed(s *queue.Seen) (*Browsed, error) {
	if s.Err != nil {
		return nil, fmt.Errorf("message at %v of queue %q: %w", s.Position, q.name, s.Err)
	}
	e, err := decodeMessage(s.Data)
	if err != nil {
		return nil, fmt.Errorf("message at %v of queue %q: %w", s.Position, q.name, err)
	}
	m := &Browsed{
		Message: e.Message, Exchange: e.exchange, RoutingKey: e.key, Deaths: e.deaths,
		Position: Position(s.Position.String()), State: Ready, DeliveryCount: int(s.Count),
	}
	if s.Expires != 0 {
		m.Expires = time.Unix(0, s.Expires)
	}
	switch {
	case s.Delayed():
		m.State, m.Due = Delayed, time.Unix(0, s.Due)
	case s.Taken:
		m.State = Unacked
	}
	if s.Payload.Shared() {
		if m.Body, err = q.topology.s.Payload(s.Payload); m.Body == nil {
			return nil, err
		}
	}
	return m, err
}

// alive is called under the baton.
func (q *declaredQueue) alive() error {
	if q.deleted {
		return fmt.Errorf("%w: %q", ErrQueueDeleted, q.name)
	}
	return nil
}
