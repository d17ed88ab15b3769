package admin

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// queueSection has the pages of the queues.
type queueSection struct{ ground }

// mailbox is a queue of either kind.
type mailbox interface {
	object() string
	row(ctx context.Context) (row *queueRow, config any, totals map[string]uint64, err error)
	browse(ctx context.Context, o browseOptions) iter.Seq2[*message, error]
	peek(ctx context.Context, position string) (*message, error)
	put(ctx context.Context, in putIn) (id string, err error)
	purge(ctx context.Context) (n int, err error)
	cancel(ctx context.Context, m *message) error
	redrive(ctx context.Context, in redriveIn, filter func(*message) bool) error
	redrives(ctx context.Context) ([]redrive, error)
}

// browseOptions say which messages to look at. State is "ready", "in flight" or "delayed"; none is all.
type browseOptions struct{ after, state, id string }

// queueIn are the parameters of the path of a queue. A visibility queue has no broker.
type queueIn struct {
	Broker string `in:"broker" about:"Name of the broker."`
	Queue  string `in:"queue" about:"Name of the queue."`
}

func (s queueSection) mailbox(ctx context.Context, in queueIn) (mailbox, error) {
	if in.Broker == "" {
		return s.visibilityQueue(ctx, in.Queue)
	}
	return s.workQueue(ctx, in.Broker, in.Queue)
}

func (s queueSection) workQueue(ctx context.Context, broker, queue string) (*workQueue, error) {
	b, err := workqueue.LookupBroker(ctx, s.db, broker)
	if err != nil {
		return nil, err
	}
	q, err := b.Queue(ctx, queue)
	if err != nil {
		return nil, err
	}
	return &workQueue{s.ground, b, q, broker}, nil
}

func (s queueSection) visibilityQueue(ctx context.Context, queue string) (*visibilityQueue, error) {
	q, err := visibility.LookupQueue(ctx, s.db, queue)
	if err != nil {
		return nil, err
	}
	return &visibilityQueue{s.ground, q}, nil
}

func queuePath(broker, queue string) string {
	if broker == "" {
		return "/visibility/" + url.PathEscape(queue)
	}
	return brokerPath(broker) + "/queues/" + url.PathEscape(queue)
}

// Path is that of the page of the queue.
func (q *queueRow) Path() string { return queuePath(q.Broker, q.Name) }

type queuesIn struct {
	listIn
	Kind   string `in:"kind" enum:"work visibility" about:"Keep the queues of this kind."`
	Broker string `in:"broker" about:"Keep the queues of this broker."`
}

type queuesPage struct {
	Queues table[*queueRow] `json:"queues"`
	Kind   string           `json:"-"`
	Broker string           `json:"-"`
}

var queueColumns = columns[*queueRow]{
	by("name", func(q *queueRow) string { return q.Name }),
	by("broker", func(q *queueRow) string { return q.Kind + q.Broker }),
	by("ready", func(q *queueRow) uint64 { return q.Ready }),
	by("inFlight", func(q *queueRow) uint64 { return q.InFlight }),
	by("delayed", func(q *queueRow) uint64 { return q.Delayed }),
	by("dead", func(q *queueRow) uint64 { return q.Dead() + q.Stuck }),
	by("bytes", func(q *queueRow) uint64 { return q.Bytes }),
	by("consumers", func(q *queueRow) int { return q.Consumers }),
}

func (s queueSection) queues(ctx context.Context, in queuesIn) (queuesPage, error) {
	i, err := s.census.take(ctx)
	if err != nil {
		return queuesPage{}, err
	}
	rows := i.queues
	if in.Kind != "" || in.Broker != "" {
		rows = nil
		for _, q := range i.queues {
			if (in.Kind == "" || q.Kind == in.Kind) && (in.Broker == "" || q.Broker == in.Broker) {
				rows = append(rows, q)
			}
		}
	}
	page := queuesPage{Kind: in.Kind, Broker: in.Broker}
	page.Queues, err = queueColumns.page(rows, in.listIn, func(q *queueRow) string { return q.Name })
	for n, row := range page.Queues.Rows { // only those that are shown are asked for the age of their head
		copied := *row
		copied.OldestAgeSeconds = max(row.OldestAgeSeconds, seconds(headAge(ctx, s.db, row)))
		page.Queues.Rows[n] = &copied
	}
	return page, err
}

type queuePage struct {
	*queueRow
	Config   any               `json:"config" about:"As of package workqueue or visibility. Durations are in nanoseconds."`
	Totals   map[string]uint64 `json:"totals" about:"Since the store was opened."`
	Redrives []redrive         `json:"redrives"`
}

func (s queueSection) queue(ctx context.Context, in queueIn) (queuePage, error) {
	m, err := s.mailbox(ctx, in)
	if err != nil {
		return queuePage{}, err
	}
	row, config, totals, err := m.row(ctx)
	if err != nil {
		return queuePage{}, err
	}
	copied := *row
	copied.OldestAgeSeconds = max(row.OldestAgeSeconds, seconds(headAge(ctx, s.db, row)))
	list, err := m.redrives(ctx)
	if i, err := s.census.take(ctx); err == nil { // who sends dead letters here is seen from the others only
		for _, q := range i.queues {
			if q.Broker == in.Broker && q.Name == in.Queue {
				copied.DeadLettersOf = q.DeadLettersOf
			}
		}
	}
	return queuePage{&copied, config, totals, list}, err
}

type putIn struct {
	queueIn
	Body     string            `in:"body" about:"Body of the message."`
	Base64   bool              `in:"base64" about:"Whether the body is in base64."`
	ID       string            `in:"id" about:"Message ID."`
	Group    string            `in:"group" about:"Group of a message for a visibility queue."`
	Priority int               `in:"priority" about:"Priority, 0 to 255."`
	Delay    time.Duration     `in:"delay" about:"How long the message waits before it is ready."`
	Headers  map[string]string `in:"headers" about:"Headers, or attributes of type String. In a form, a line for each: name: value."`
}

func (s queueSection) put(ctx context.Context, in putIn) (changed, error) {
	m, err := s.mailbox(ctx, in.queueIn)
	if err != nil {
		return changed{}, err
	}
	if in.Priority < 0 || in.Priority > 255 {
		return changed{}, invalid("priority %d is not between 0 and 255", in.Priority)
	}
	id, err := m.put(ctx, in)
	after := map[string]any{"bytes": len(in.Body)}
	if id != "" {
		after["id"] = id
	}
	return changed{Done: "The message is in the queue.", Object: m.object(), After: after}, err
}

func (s queueSection) purge(ctx context.Context, in queueIn) (changed, error) {
	m, err := s.mailbox(ctx, in)
	if err != nil {
		return changed{}, err
	}
	n, err := m.purge(ctx)
	return changed{
		Done: fmt.Sprintf("%d messages were removed.", n), Object: m.object(),
		Before: map[string]any{"removed": n}, After: map[string]any{"ready": 0},
	}, err
}

func (s queueSection) pause(ctx context.Context, in queueIn) (changed, error) {
	return s.setPaused(ctx, in, true)
}
func (s queueSection) resume(ctx context.Context, in queueIn) (changed, error) {
	return s.setPaused(ctx, in, false)
}

func (s queueSection) setPaused(ctx context.Context, in queueIn, paused bool) (changed, error) {
	w, err := s.workQueue(ctx, in.Broker, in.Queue)
	if err != nil {
		return changed{}, err
	}
	stats, err := w.q.Stats(ctx)
	if err != nil {
		return changed{}, err
	}
	done, verb := "The queue hands out messages again.", w.q.Resume
	if paused {
		done, verb = "The queue is paused.", w.q.Pause
	}
	return changed{
		Done: done, Object: w.object(),
		Before: map[string]any{"paused": stats.Paused}, After: map[string]any{"paused": paused},
	}, verb(ctx)
}

type positionIn struct {
	queueIn
	Position string `in:"position" about:"Position of the message, as the list has it."`
}

func (s queueSection) cancel(ctx context.Context, in positionIn) (changed, error) {
	m, err := s.mailbox(ctx, in.queueIn)
	if err != nil {
		return changed{}, err
	}
	found, err := m.peek(ctx, in.Position)
	if err != nil {
		return changed{}, err
	}
	return changed{
		Done: "The delayed message was cancelled.", Object: m.object(),
		Before: map[string]any{"id": found.ID, "position": in.Position},
	}, m.cancel(ctx, found)
}

// stateNames are the words of the page for the states of either kind.
var stateNames = strings.NewReplacer("unacked", "in flight", "visible", "ready")
