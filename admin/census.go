package admin

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// censusAge is how old the inventory that a page shows may be. Thousands of objects take a tenth of a
// second to list, and every open page asks for them anew when something has changed.
const censusAge = time.Second

// census keeps the inventory of the store for a moment.
type census struct {
	db     *pebblemq.DB
	turn   chan struct{} // held by the caller that asks the store, or looks at what follows
	latest *inventory
	taken  time.Time
	stale  chan struct{} // has a token after a change
}

// inventory is everything that is in the store at one moment.
type inventory struct {
	stats      pebblemq.Stats
	topics     []log.TopicInfo
	groups     []groupRow
	brokers    []workqueue.BrokerInfo
	queues     []*queueRow
	namespaces []idempotency.NamespaceInfo
}

func newCensus(db *pebblemq.DB) *census {
	return &census{db: db, turn: make(chan struct{}, 1), stale: make(chan struct{}, 1)}
}

// forget has the next caller ask the store.
func (c *census) forget() {
	select {
	case c.stale <- struct{}{}:
	default:
	}
}

// take returns an inventory that is not older than censusAge.
func (c *census) take(ctx context.Context) (*inventory, error) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-c.turn }()
	select {
	case <-c.stale:
		c.latest = nil
	default:
	}
	if c.latest != nil && time.Since(c.taken) < censusAge {
		return c.latest, nil
	}
	d, err := c.db.Describe(ctx)
	if err != nil {
		return nil, err
	}
	c.latest, c.taken = takeInventory(d), time.Now()
	return c.latest, nil
}

func takeInventory(d pebblemq.Description) *inventory {
	i := &inventory{stats: d.Stats}
	for _, o := range d.Objects {
		switch info := o.Info.(type) {
		case log.TopicInfo:
			i.topics = append(i.topics, info)
		case log.GroupInfo:
			i.groups = append(i.groups, newGroupRow(o.Parent, info))
		case workqueue.BrokerInfo:
			i.brokers = append(i.brokers, info)
		case workqueue.QueueInfo:
			i.queues = append(i.queues, workRow(o.Parent, info))
		case visibility.QueueInfo:
			i.queues = append(i.queues, visibilityRow(info))
		case idempotency.NamespaceInfo:
			i.namespaces = append(i.namespaces, info)
		}
	}
	i.findDeadLetters()
	return i
}

// findDeadLetters notes which queues hold the dead letters of others.
func (i *inventory) findDeadLetters() {
	rows := make(map[[2]string]*queueRow, len(i.queues)) // by broker and name
	for _, q := range i.queues {
		rows[[2]string{q.Broker, q.Name}] = q
	}
	for _, q := range i.queues {
		if place := rows[[2]string{q.Broker, q.deadPlace}]; place != nil && place != q {
			place.DeadLettersOf = append(place.DeadLettersOf, q.Name)
		}
	}
}

// deadTopics returns the topics that hold dead letters of groups.
func (i *inventory) deadTopics() (dead []log.TopicInfo) {
	for _, t := range i.topics {
		of, ok := strings.CutSuffix(t.Name, ".dead")
		if ok && slices.ContainsFunc(i.topics, func(t log.TopicInfo) bool { return t.Name == of }) {
			dead = append(dead, t)
		}
	}
	return dead
}

// queueRow is a queue of either kind in a list.
type queueRow struct {
	Kind             string   `json:"kind" about:"work or visibility"`
	Broker           string   `json:"broker,omitempty" about:"Of a work queue."`
	Name             string   `json:"name"`
	Ready            uint64   `json:"ready" about:"Messages that wait for a consumer."`
	InFlight         uint64   `json:"inFlight" about:"Messages that were delivered and are not settled."`
	Delayed          uint64   `json:"delayed"`
	Bytes            uint64   `json:"bytes"`
	Consumers        int      `json:"consumers" about:"Of a work queue."`
	Paused           bool     `json:"paused"`
	Open             bool     `json:"open" about:"Whether this process has opened the queue. The counters of others are not known."`
	Stuck            uint64   `json:"stuck" about:"Dead letters that have no place to go."`
	Unreadable       uint64   `json:"unreadable"`
	DeadLettersOf    []string `json:"deadLettersOf,omitempty" about:"Queues whose dead letters come here."`
	OldestAgeSeconds float64  `json:"oldestAgeSeconds" about:"Age of the message that is next, or of the oldest one of a visibility queue; 0 if there is none."`
	Problem          string   `json:"problem,omitempty" about:"Why the queue cannot be used."`

	published, delivered, acked uint64
	deadPlace                   string // name of the queue that its dead letters go to
}

func workRow(broker string, info workqueue.QueueInfo) *queueRow {
	row := &queueRow{
		Kind: "work", Broker: broker, Name: info.Name, Ready: info.Stats.Ready, InFlight: info.Stats.Unacked, Delayed: info.Stats.Delayed,
		Bytes: info.Stats.Bytes, Consumers: info.Stats.Consumers, Paused: info.Stats.Paused, Open: true,
		Stuck: info.Stats.Stuck.Total(), Unreadable: info.Stats.Unreadable,
		published: info.Totals.Published, delivered: info.Totals.Delivered, acked: info.Totals.Acked,
	}
	switch d := info.Config.DeadLetter; {
	case d != nil && d.Exchange == "":
		row.deadPlace = d.Key
	case d == nil && !info.Config.DropDead:
		row.deadPlace = info.Name + ".dead"
	}
	if info.Err != nil {
		row.Problem = info.Err.Error()
	}
	return row
}

func visibilityRow(info visibility.QueueInfo) *queueRow {
	row := &queueRow{
		Kind: "visibility", Name: info.Name, Ready: info.Stats.Visible, InFlight: info.Stats.InFlight, Delayed: info.Stats.Delayed,
		Bytes: info.Stats.Bytes, Open: info.Open, Unreadable: info.Stats.Unreadable, OldestAgeSeconds: seconds(info.Stats.OldestAge),
		deadPlace: info.Config.DeadLetterQueue,
	}
	if row.deadPlace == "" {
		row.deadPlace = info.Name + ".dead"
	}
	return row
}

// Messages is how many messages the queue holds.
func (q *queueRow) Messages() uint64 { return q.Ready + q.InFlight + q.Delayed }

// Dead is how many dead letters of other queues it holds.
func (q *queueRow) Dead() uint64 {
	if len(q.DeadLettersOf) == 0 {
		return 0
	}
	return q.Messages()
}
