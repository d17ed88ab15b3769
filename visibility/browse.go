package visibility

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
	Visible  MessageState = "visible"   // can be received
	InFlight MessageState = "in flight" // was received, and its visibility timeout runs
	Delayed  MessageState = "delayed"
)

// Position is where a message stands in its queue, as a short text that can be stored
// and compared for equality. A message has another one when it becomes due; none is
// given twice, but for what a crash takes back.
type Position string

func (p Position) parse() (queue.Position, error) { return queue.ParsePosition(string(p)) }

// Browsed is a message that was looked at and not received: it has no receipt. It is a
// copy and belongs to who gets it. Delay is not set.
type Browsed struct {
	Message

	Position     Position
	State        MessageState
	ReceiveCount int
	Sequence     uint64 // as in Received; 0 for one that is delayed

	SentAt          time.Time
	FirstReceivedAt time.Time // zero if it was not
	VisibleAt       time.Time // when the visibility timeout or the delay ends; zero if none runs

	// DeadLetter is as in Received.
	DeadLetter *DeadLetterInfo
}

// BrowseOptions say which messages to look at. Nil is all of them.
type BrowseOptions struct {
	// After is the position to begin behind, for one page after another.
	After Position
	// State, if set, leaves out the messages in another one.
	State MessageState
	// ID, if set, leaves out those with another one. Delayed messages are found by
	// an index, so with State Delayed the cost does not depend on how many there
	// are; else all that are visible or in flight are read.
	ID string
}

// Browse goes through the messages of the queue without receiving any: nothing in the
// queue changes, no receive is counted, and receivers do not notice. Those that are
// visible or in flight come first, in the order of the queue, then those that are
// delayed, by the time when they are due. SQS has no such thing.
//
// It reads a chunk at a time and holds nothing in between, so it may take as long as it likes.
// Each message comes at most once, with the state that it had when its chunk was read. Messages
// that are in the queue throughout all come. Messages sent meanwhile may or may not come.
//
// A message that is damaged comes as pebblemq.ErrCorrupt, and the loop may go on. Any
// other error ends it: that of ctx, or ErrQueueDeleted.
func (q *Queue) Browse(ctx context.Context, o *BrowseOptions) iter.Seq2[*Browsed, error] {
	if o == nil {
		o = &BrowseOptions{}
	}
	begin := func() (*queue.Browse, error) {
		query, err := o.query()
		query.Alive = q.alive
		return q.core.Browse(query), err
	}
	return queue.All(ctx, begin, func(s *queue.Seen) (*Browsed, error) {
		m, err := q.browsed(s)
		if m != nil && o.State != "" && m.State != o.State {
			return nil, nil
		}
		return m, err
	})
}

func (o *BrowseOptions) query() (query queue.Query, err error) {
	query.Waiting, query.Delayed = o.State != Delayed, o.State == "" || o.State == Delayed
	switch o.State {
	case "", Visible, InFlight, Delayed:
	default:
		return query, store.Invalid("State %q is none of %q, %q and %q", o.State, Visible, InFlight, Delayed)
	}
	if o.ID != "" {
		query.ID = []byte(o.ID)
	}
	if o.After != "" {
		var after queue.Position
		after, err = o.After.parse()
		query.After = &after
	}
	return query, err
}

// Peek returns the message at a position, as Browse would, or ErrUnknownMessage if it is
// not there any more.
func (q *Queue) Peek(ctx context.Context, at Position) (*Browsed, error) {
	p, err := at.parse()
	if err != nil {
		return nil, err
	}
	s, err := q.core.Peek(ctx, q.alive, p)
	if err != nil {
		return nil, err
	}
	if s != nil {
		if m, err := q.browsed(s); m != nil || err != nil {
			return m, err
		}
	}
	return nil, fmt.Errorf("%w at position %s of queue %q", ErrUnknownMessage, at, q.name)
}

// Find returns a message by its ID, one that is delayed first, or ErrUnknownMessage. It is
// Browse with an ID: an index tells of what is delayed, else the queue is read until
// there is one.
func (q *Queue) Find(ctx context.Context, id string) (*Browsed, error) {
	if id == "" {
		return nil, store.Invalid("find in queue %q without a message ID", q.name)
	}
	for _, state := range []MessageState{Delayed, ""} {
		for m, err := range q.Browse(ctx, &BrowseOptions{ID: id, State: state}) {
			return m, err
		}
	}
	return nil, fmt.Errorf("%w with ID %q in queue %q", ErrUnknownMessage, id, q.name)
}

// browsed returns nil if the message is gone by now, and its shared body with it.
func (q *Queue) browsed(s *queue.Seen) (*Browsed, error) {
	var r *Received
	err := s.Err
	if err == nil {
		r, err = q.decode(handout{data: s.Data, payload: s.Payload})
	}
	if err != nil {
		return nil, fmt.Errorf("message at %v of queue %q: %w", s.Position, q.name, err)
	}
	if r == nil {
		return nil, nil
	}
	r.Priority = s.Lane
	m := &Browsed{
		Message: r.Message, Position: Position(s.Position.String()), State: Visible, ReceiveCount: int(s.Count), Sequence: s.Sequence(),
		SentAt: r.SentAt, FirstReceivedAt: s.First.Time(), DeadLetter: r.DeadLetter,
	}
	switch {
	case s.Delayed():
		m.State, m.Sequence, m.VisibleAt = Delayed, 0, time.Unix(0, s.Due)
	case s.Taken:
		m.State, m.VisibleAt = InFlight, s.Until.Time()
	case s.Untried:
		m.State = InFlight // since the process died; when it is visible depends on others
	}
	return m, nil
}

// alive is called under the baton.
func (q *Queue) alive() error {
	if q.dropped {
		return q.gone()
	}
	return nil
}
