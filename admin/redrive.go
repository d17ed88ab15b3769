package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// redrive is a move of dead letters.
type redrive struct {
	ID        int64     `json:"id"`
	State     string    `json:"state"`
	To        string    `json:"to,omitempty" about:"Empty for the queues that the messages died in."`
	Filtered  bool      `json:"filtered"`
	Rate      float64   `json:"rate" about:"Messages per second, 0 for no limit."`
	Started   time.Time `json:"started"`
	Ended     time.Time `json:"ended,omitzero"`
	Moved     uint64    `json:"moved"`
	Skipped   uint64    `json:"skipped"`
	Failed    uint64    `json:"failed"`
	Remaining uint64    `json:"remaining"`
	Waiting   bool      `json:"waiting"`
	Reason    string    `json:"reason,omitempty"`

	cancel func(context.Context) error
}

// Running reports whether the redrive goes on.
func (r redrive) Running() bool { return r.State == "running" }

// Seen is how many messages it has dealt with, and Total how many there were.
func (r redrive) Seen() uint64  { return r.Moved + r.Skipped + r.Failed }
func (r redrive) Total() uint64 { return r.Seen() + r.Remaining }

type redriveIn struct {
	queueIn
	To     string  `in:"to" about:"Queue to move to; by default each message goes to the queue that it died in."`
	Reason string  `in:"reason" about:"Move the messages that died for this reason."`
	Origin string  `in:"origin" about:"Move the messages that died in this queue."`
	Error  string  `in:"error" about:"Move the messages whose last error contains this text."`
	Filter string  `in:"filter" about:"Move the messages that contain this text in ID, body or headers."`
	Rate   float64 `in:"rate" about:"Messages per second; no limit by default."`
}

// filter returns which messages to move, nil for all.
func (in redriveIn) filter() func(*message) bool {
	if in.Reason == "" && in.Origin == "" && in.Error == "" && in.Filter == "" {
		return nil
	}
	return func(m *message) bool {
		var d death
		if len(m.Deaths) > 0 {
			d = m.Deaths[0]
		}
		return (in.Reason == "" || d.Reason == in.Reason) && (in.Origin == "" || d.Queue == in.Origin) &&
			strings.Contains(d.Error, in.Error) && m.contains(in.Filter)
	}
}

func (s queueSection) redrive(ctx context.Context, in redriveIn) (changed, error) {
	m, err := s.mailbox(ctx, in.queueIn)
	if err != nil {
		return changed{}, err
	}
	row, _, _, err := m.row(ctx)
	if err != nil {
		return changed{}, err
	}
	return changed{
		Done: "The redrive has begun.", Object: m.object(), Before: map[string]any{"ready": row.Ready},
		After: map[string]any{"to": in.To, "reason": in.Reason, "origin": in.Origin, "error": in.Error, "filter": in.Filter, "rate": in.Rate},
	}, m.redrive(ctx, in, in.filter())
}

type redriveCancelIn struct {
	queueIn
	Redrive int64 `in:"redrive" about:"ID of the redrive."`
}

func (s queueSection) redriveCancel(ctx context.Context, in redriveCancelIn) (changed, error) {
	m, err := s.mailbox(ctx, in.queueIn)
	if err != nil {
		return changed{}, err
	}
	list, err := m.redrives(ctx)
	if err != nil {
		return changed{}, err
	}
	for _, r := range list {
		if r.ID == in.Redrive {
			return changed{
				Done: "The redrive was cancelled.", Object: m.object(),
				Before: map[string]any{"state": r.State, "moved": r.Moved, "remaining": r.Remaining}, After: map[string]any{"state": "cancelled"},
			}, r.cancel(ctx)
		}
	}
	return changed{}, refusal{http.StatusNotFound, fmt.Sprintf("%s has no redrive %d", m.object(), in.Redrive)}
}

// deathsPage sums up dead letters.
type deathsPage struct {
	Broker   string    `json:"broker,omitempty"`
	Queue    string    `json:"queue"`
	Causes   []cause   `json:"causes" about:"Why messages died, the most frequent first."`
	Scanned  int       `json:"scanned"`
	More     bool      `json:"more" about:"Whether messages follow that were not read."`
	Redrives []redrive `json:"redrives"`
}

type cause struct {
	Origin string    `json:"origin" about:"Queue that they died in."`
	Reason string    `json:"reason"`
	Error  string    `json:"error,omitempty" about:"First line of the last error."`
	Count  int       `json:"count"`
	Latest time.Time `json:"latest"`
	Sample string    `json:"sample" about:"Position of one of them."`
}

const shownCauses = 100

func (s queueSection) deaths(ctx context.Context, in queueIn) (deathsPage, error) {
	m, err := s.mailbox(ctx, in)
	if err != nil {
		return deathsPage{}, err
	}
	page := deathsPage{Broker: in.Broker, Queue: in.Queue, Causes: []cause{}}
	if page.Redrives, err = m.redrives(ctx); err != nil {
		return deathsPage{}, err
	}
	counted := make(map[[3]string]cause)
	read := scanning(m.browse(ctx, browseOptions{}))
	for v, err := range read.all {
		if err == nil && len(v.Deaths) > 0 {
			count(counted, v)
		}
	}
	for _, c := range counted {
		page.Causes = append(page.Causes, c)
	}
	slices.SortFunc(page.Causes, func(a, b cause) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Error, b.Error))
	})
	page.Causes = page.Causes[:min(len(page.Causes), shownCauses)]
	page.Scanned, page.More = read.n, read.cut
	return page, read.err
}

// count adds a dead letter to those that died alike.
func count(counted map[[3]string]cause, m *message) {
	d := m.Deaths[0]
	line, _, _ := strings.Cut(d.Error, "\n")
	key := [3]string{d.Queue, d.Reason, line}
	c := counted[key]
	if c.Count++; d.Time.After(c.Latest) {
		c.Latest, c.Sample = d.Time, m.Position
	}
	c.Origin, c.Reason, c.Error = d.Queue, d.Reason, line
	counted[key] = c
}
