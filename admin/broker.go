package admin

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq/workqueue"
)

// brokerSection has the pages of the brokers.
type brokerSection struct{ ground }

func brokerPath(broker string) string { return "/brokers/" + url.PathEscape(broker) }

// brokerRow is a broker in the list.
type brokerRow struct {
	Name      string    `json:"name"`
	Created   time.Time `json:"created"`
	Exchanges int       `json:"exchanges"`
	Queues    int       `json:"queues"`
	Open      bool      `json:"open" about:"Whether this process has opened it. What follows is 0 otherwise."`
	Bindings  int       `json:"bindings"`
	Jobs      int       `json:"jobs"`
	Unrouted  uint64    `json:"unrouted" about:"Messages that were accepted although no binding matched."`
}

type brokersPage struct {
	Brokers table[brokerRow] `json:"brokers"`
}

var brokerColumns = columns[brokerRow]{
	by("name", func(b brokerRow) string { return b.Name }),
	by("exchanges", func(b brokerRow) int { return b.Exchanges }),
	by("queues", func(b brokerRow) int { return b.Queues }),
	by("bindings", func(b brokerRow) int { return b.Bindings }),
	by("jobs", func(b brokerRow) int { return b.Jobs }),
	by("unrouted", func(b brokerRow) uint64 { return b.Unrouted }),
}

func (s brokerSection) brokers(ctx context.Context, in listIn) (brokersPage, error) {
	i, err := s.census.take(ctx)
	if err != nil {
		return brokersPage{}, err
	}
	rows := make([]brokerRow, 0, len(i.brokers))
	for _, b := range i.brokers {
		rows = append(rows, newBrokerRow(b))
	}
	t, err := brokerColumns.page(rows, in, func(b brokerRow) string { return b.Name })
	return brokersPage{t}, err
}

func newBrokerRow(b workqueue.BrokerInfo) brokerRow {
	return brokerRow{b.Name, b.Created, b.Exchanges, b.Queues, b.Open, b.Bindings, b.Jobs, b.Unrouted}
}

type brokerIn struct {
	listIn
	Broker string `in:"broker" about:"Name of the broker."`
}

type brokerPage struct {
	brokerRow
	ExchangeList []exchangeView     `json:"exchangeList"`
	BindingList  table[bindingView] `json:"bindingList"`
	JobList      []jobView          `json:"jobList"`
}

type exchangeView struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Bindings int    `json:"bindings" about:"That lead from it."`
	Flags    string `json:"flags,omitempty" about:"internal, autoDelete, alternate and its name"`
	Problem  string `json:"problem,omitempty"`
}

// bindingView leads from an exchange to a destination.
type bindingView struct {
	Exchange  string              `json:"exchange"`
	Key       string              `json:"key"`
	Kind      string              `json:"kind" about:"queue, exchange, topic or visibility queue"`
	To        string              `json:"to"`
	Arguments workqueue.Arguments `json:"arguments,omitempty"`
}

var bindingColumns = columns[bindingView]{
	by("exchange", func(b bindingView) string { return b.Exchange }),
	by("key", func(b bindingView) string { return b.Key }),
	by("to", func(b bindingView) string { return b.Kind + b.To }),
}

type jobView struct {
	Name         string    `json:"name"`
	EverySeconds float64   `json:"everySeconds,omitempty"`
	Schedule     string    `json:"schedule,omitempty"`
	Next         time.Time `json:"next,omitzero" about:"When the message is published next."`
	Exchange     string    `json:"exchange"`
	Key          string    `json:"key"`
}

func (s brokerSection) broker(ctx context.Context, in brokerIn) (brokerPage, error) {
	b, err := workqueue.LookupBroker(ctx, s.db, in.Broker)
	if err != nil {
		return brokerPage{}, err
	}
	info, err := b.Info(ctx)
	if err != nil {
		return brokerPage{}, err
	}
	page := brokerPage{brokerRow: newBrokerRow(info), ExchangeList: []exchangeView{}}
	exchanges, err := b.Exchanges(ctx)
	if err != nil {
		return brokerPage{}, err
	}
	for _, e := range exchanges {
		page.ExchangeList = append(page.ExchangeList, newExchangeView(e))
	}
	bindings, err := b.Bindings(ctx)
	if err != nil && !isDamage(err) { // that of an exchange is in its view
		return brokerPage{}, err
	}
	views := make([]bindingView, 0, len(bindings))
	for _, to := range bindings {
		views = append(views, newBindingView(to))
	}
	text := func(v bindingView) string { return v.Exchange + " " + v.Key + " " + v.To }
	if page.BindingList, err = bindingColumns.page(views, in.listIn, text); err != nil {
		return brokerPage{}, err
	}
	page.JobList, err = s.jobs(ctx, b)
	return page, err
}

func newExchangeView(e workqueue.ExchangeInfo) exchangeView {
	v := exchangeView{Name: e.Name, Kind: string(e.Kind), Bindings: e.Bindings}
	var flags []string
	if e.Config.Internal {
		flags = append(flags, "internal")
	}
	if e.Config.AutoDelete {
		flags = append(flags, "autoDelete")
	}
	if e.Config.Alternate != "" {
		flags = append(flags, "alternate "+e.Config.Alternate)
	}
	v.Flags = strings.Join(flags, ", ")
	if e.Err != nil {
		v.Problem = e.Err.Error()
	}
	return v
}

func newBindingView(b workqueue.Binding) bindingView {
	v := bindingView{Exchange: b.Exchange, Key: b.Key, Arguments: b.Arguments}
	switch {
	case b.Queue != "":
		v.Kind, v.To = "queue", b.Queue
	case b.ToExchange != "":
		v.Kind, v.To = "exchange", b.ToExchange
	case b.Topic != "":
		v.Kind, v.To = "topic", b.Topic
	default:
		v.Kind, v.To = "visibility queue", b.VisibilityQueue
	}
	return v
}

// Label is what the drawing writes on the line.
func (b bindingView) Label() string {
	if len(b.Arguments) > 0 {
		return strings.TrimSpace(b.Key + " " + strings.TrimPrefix(fmt.Sprint(map[string]any(b.Arguments)), "map"))
	}
	return b.Key
}

// Path is that of the page of the destination, none for an exchange.
func (b bindingView) Path(broker string) string {
	switch b.Kind {
	case "queue":
		return queuePath(broker, b.To)
	case "topic":
		return topicPath(b.To)
	case "visibility queue":
		return queuePath("", b.To)
	}
	return ""
}

func (s brokerSection) jobs(ctx context.Context, b *workqueue.Broker) ([]jobView, error) {
	list, err := b.Jobs(ctx)
	views := []jobView{}
	for _, j := range list {
		v := jobView{Name: j.Name, EverySeconds: seconds(j.Every), Next: j.Next, Exchange: j.Exchange, Key: j.Key}
		if j.Schedule != nil {
			v.Schedule = j.Schedule.String()
		}
		views = append(views, v)
	}
	return views, err
}
