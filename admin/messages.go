package admin

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A search in a queue reads this much at most; then the page says where to go on.
const (
	scanMessages     = 5_000
	scanMessageBytes = 16 << 20
)

// message is a message of a queue of either kind.
type message struct {
	ID         string    `json:"id"`
	Position   string    `json:"position"`
	State      string    `json:"state" about:"ready, in flight or delayed"`
	Deliveries int       `json:"deliveries" about:"How often it was delivered."`
	Priority   int       `json:"priority"`
	Group      string    `json:"group,omitempty" about:"Of a visibility queue."`
	Sent       time.Time `json:"sent"`
	Due        time.Time `json:"due,omitzero" about:"When a delay or a visibility timeout ends."`
	Expires    time.Time `json:"expires,omitzero"`
	Exchange   string    `json:"exchange,omitempty"`
	RoutingKey string    `json:"routingKey,omitempty"`
	Headers    []header  `json:"headers"`
	Properties []header  `json:"properties,omitempty"`
	Body       payload   `json:"body"`
	Deaths     []death   `json:"deaths,omitempty" about:"Why it is a dead letter, the latest first."`

	body []byte // all that may be shown of it
}

type death struct {
	Queue  string    `json:"queue"`
	Reason string    `json:"reason"`
	Count  int       `json:"count"`
	Time   time.Time `json:"time"`
	Error  string    `json:"error,omitempty" about:"Of the handler that failed last."`
}

func (m *message) addHeader(name string, value []byte) {
	m.Headers = append(m.Headers, header{name, newPayload(value, previewBytes)})
}

func (m *message) sortHeaders() {
	if m.Headers == nil {
		m.Headers = []header{}
	}
	byName := func(a, b header) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(m.Headers, byName)
	slices.SortFunc(m.Properties, byName)
}

// contains reports whether a text is in the ID, the body, a header or an error.
func (m *message) contains(text string) bool {
	if strings.Contains(m.ID, text) || bytes.Contains(m.body, []byte(text)) {
		return true
	}
	for _, h := range m.Headers {
		if strings.Contains(h.Name, text) || strings.Contains(h.Value.Text, text) {
			return true
		}
	}
	return slices.ContainsFunc(m.Deaths, func(d death) bool { return strings.Contains(d.Error, text) })
}

type messagesIn struct {
	queueIn
	State  string `in:"state" enum:"ready in-flight delayed" about:"Keep the messages in this state."`
	After  string `in:"after" about:"Position to begin behind."`
	ID     string `in:"id" about:"Keep the messages with this ID."`
	Filter string `in:"filter" about:"Keep the messages that contain this text in ID, body, headers or error."`
	Size   int    `in:"size" about:"Messages of a page, 50 by default and 1000 at most."`
}

type messagesPage struct {
	Broker   string     `json:"broker,omitempty"`
	Queue    string     `json:"queue"`
	Messages []*message `json:"messages"`
	Scanned  int        `json:"scanned" about:"Messages that were read to find these."`
	Next     string     `json:"next" about:"Position after which to go on."`
	More     bool       `json:"more" about:"Whether messages may follow."`
	Damage   []string   `json:"damage,omitempty" about:"Messages that cannot be read."`
	In       messagesIn `json:"-"`
}

func (s queueSection) messages(ctx context.Context, in messagesIn) (messagesPage, error) {
	m, err := s.mailbox(ctx, in.queueIn)
	if err != nil {
		return messagesPage{}, err
	}
	in.Size = cmp.Or(in.Size, defaultSize)
	if in.Size < 1 || in.Size > maxSize {
		return messagesPage{}, invalid("size %d is not between 1 and %d", in.Size, maxSize)
	}
	page := messagesPage{Broker: in.Broker, Queue: in.Queue, Messages: []*message{}, In: in}
	read := scanning(m.browse(ctx, browseOptions{in.After, strings.ReplaceAll(in.State, "-", " "), in.ID}))
	for v, err := range read.all {
		if err != nil {
			page.Damage = append(page.Damage, err.Error())
			continue
		}
		page.Next = v.Position
		if in.Filter != "" && !v.contains(in.Filter) {
			continue
		}
		v.Body = newPayload(v.body, previewBytes)
		if page.Messages = append(page.Messages, v); len(page.Messages) == in.Size {
			page.More = true
			break
		}
	}
	page.Scanned, page.More = read.n, page.More || read.cut
	return page, read.err
}

// reading goes through the messages of a queue within the limits of a search.
type reading struct {
	from func(yield func(*message, error) bool)
	n    int
	cut  bool  // whether a limit was reached
	err  error // that ended it
}

func scanning(from func(yield func(*message, error) bool)) *reading { return &reading{from: from} }

// all returns the messages, and an error for each that is damaged.
func (r *reading) all(yield func(*message, error) bool) {
	deadline := time.Now().Add(scanTime)
	size := 0
	for m, err := range r.from {
		if err != nil && !isDamage(err) {
			r.err = err
			return
		}
		if r.n++; m != nil {
			size += len(m.body)
		}
		if !yield(m, err) {
			return
		}
		if r.cut = r.n >= scanMessages || size > scanMessageBytes || time.Now().After(deadline); r.cut {
			return
		}
	}
}

type messagePage struct {
	Broker string `json:"broker,omitempty"`
	Queue  string `json:"queue"`
	message
}

// Name is what the page is called.
func (p messagePage) Name() string { return "Message " + cmp.Or(p.ID, p.Position) }

func (s queueSection) message(ctx context.Context, in positionIn) (messagePage, error) {
	m, err := s.mailbox(ctx, in.queueIn)
	if err != nil {
		return messagePage{}, err
	}
	v, err := m.peek(ctx, in.Position)
	if err != nil {
		return messagePage{}, err
	}
	v.Body = newPayload(v.body, fullBytes)
	return messagePage{in.Broker, in.Queue, *v}, nil
}

func (s queueSection) messageBody(w http.ResponseWriter, r *http.Request, in positionIn) error {
	m, err := s.mailbox(r.Context(), in.queueIn)
	if err != nil {
		return err
	}
	v, err := m.peek(r.Context(), in.Position)
	if err != nil {
		return err
	}
	return download(w, fmt.Sprintf("%s-%s", in.Queue, in.Position), v.body)
}

// leasesPage tells what holds a queue up.
type leasesPage struct {
	Broker  string         `json:"broker,omitempty"`
	Queue   string         `json:"queue"`
	Leases  []*message     `json:"leases" about:"Messages in flight, those whose lease ends soonest first."`
	Groups  []blockedGroup `json:"groups" about:"Groups of a FIFO queue of which a message is in flight or delayed, those with most waiting messages first."`
	Scanned int            `json:"scanned"`
	More    bool           `json:"more" about:"Whether messages follow that were not read."`
}

type blockedGroup struct {
	Group   string    `json:"group"`
	By      string    `json:"by" about:"ID of the message in flight."`
	At      string    `json:"at" about:"Its position."`
	Until   time.Time `json:"until,omitzero" about:"When its lease ends."`
	Waiting int       `json:"waiting" about:"Messages behind it that were read."`
}

const shownLeases = 50

func (s queueSection) leases(ctx context.Context, in queueIn) (leasesPage, error) {
	m, err := s.mailbox(ctx, in)
	if err != nil {
		return leasesPage{}, err
	}
	page := leasesPage{Broker: in.Broker, Queue: in.Queue, Leases: []*message{}, Groups: []blockedGroup{}}
	waiting, holders := make(map[string]int), make(map[string]*message)
	read := scanning(m.browse(ctx, browseOptions{}))
	for v, err := range read.all {
		switch {
		case err != nil:
		case v.State == "in flight":
			v.Body = newPayload(v.body, previewBytes)
			page.Leases = append(page.Leases, v)
			if v.Group != "" {
				holders[v.Group] = v
			}
		case v.State == "ready":
			waiting[v.Group]++
		}
	}
	for group, v := range holders {
		if waiting[group] > 0 {
			page.Groups = append(page.Groups, blockedGroup{group, v.ID, v.Position, v.Due, waiting[group]})
		}
	}
	slices.SortFunc(page.Leases, func(a, b *message) int { return a.Due.Compare(b.Due) })
	slices.SortFunc(page.Groups, func(a, b blockedGroup) int {
		return cmp.Or(cmp.Compare(b.Waiting, a.Waiting), cmp.Compare(a.Group, b.Group))
	})
	page.Leases = page.Leases[:min(len(page.Leases), shownLeases)]
	page.Groups = page.Groups[:min(len(page.Groups), shownLeases)]
	page.Scanned, page.More = read.n, read.cut
	return page, read.err
}
