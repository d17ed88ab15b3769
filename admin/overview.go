package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
)

// storeSection has what concerns the store as a whole.
type storeSection struct {
	ground
	history *history
	streams chan struct{} // a place for each live stream
}

// figure is a number of the overview. Its value is computed from a sample and the one before it.
type figure struct {
	name, title, unit string
	value             func(before, now *sample) float64
}

var figures = []figure{
	{"changes", "Changes", "/s", rate(func(s *sample) uint64 { return s.changes })},
	{"appended", "Records appended", "/s", rate(func(s *sample) uint64 { return s.appended })},
	{"published", "Published", "/s", rate(func(s *sample) uint64 { return s.published })},
	{"delivered", "Delivered", "/s", rate(func(s *sample) uint64 { return s.delivered })},
	{"ready", "Messages ready", "", level(func(s *sample) uint64 { return s.ready })},
	{"inFlight", "In flight", "", level(func(s *sample) uint64 { return s.inFlight })},
	{"delayed", "Delayed", "", level(func(s *sample) uint64 { return s.delayed })},
	{"dead", "Dead letters", "", level(func(s *sample) uint64 { return s.dead })},
	{"lag", "Lag of all groups", "records", level(func(s *sample) uint64 { return s.lag })},
	{"oldest", "Oldest waiting", "s", func(_, now *sample) float64 { return seconds(now.oldest) }},
	{"disk", "Disk", "bytes", level(func(s *sample) uint64 { return s.disk })},
	{"wal", "Write-ahead log", "bytes", level(func(s *sample) uint64 { return s.wal })},
	{"memory", "Engine memory", "bytes", level(func(s *sample) uint64 { return s.memory })},
	{"debt", "Compaction debt", "bytes", level(func(s *sample) uint64 { return s.debt })},
	{"fsync", "Wait for an fsync", "s", waitForSync},
}

func level(of func(*sample) uint64) func(before, now *sample) float64 {
	return func(_, now *sample) float64 { return float64(of(now)) }
}

func rate(of func(*sample) uint64) func(before, now *sample) float64 {
	return func(before, now *sample) float64 {
		elapsed := now.at.Sub(before.at).Seconds()
		if elapsed <= 0 || of(now) < of(before) { // something was deleted
			return 0
		}
		return float64(of(now)-of(before)) / elapsed
	}
}

func waitForSync(before, now *sample) float64 {
	if now.syncs <= before.syncs {
		return 0
	}
	return seconds(now.syncTime-before.syncTime) / float64(now.syncs-before.syncs)
}

// overview is the first page.
type overview struct {
	Time     time.Time      `json:"time"`
	Health   health         `json:"health"`
	Figures  []figureView   `json:"figures"`
	Problems []problem      `json:"problems" about:"What a person should look at."`
	Longest  []*queueRow    `json:"longest" about:"The queues with most messages."`
	Objects  map[string]int `json:"objects" about:"How many objects of each kind there are."`
}

type figureView struct {
	Name    string    `json:"name"`
	Title   string    `json:"title"`
	Unit    string    `json:"unit" about:"/s, s, bytes, records or none"`
	Value   float64   `json:"value"`
	History []float64 `json:"history" about:"Of the last hour, a value every ten seconds, the oldest first."`
}

type problem struct {
	Text string `json:"text"`
	Path string `json:"path" about:"Of the page that shows it, below the base path."`
}

const longestQueues = 10

func (s storeSection) overview(ctx context.Context, _ struct{}) (overview, error) {
	i, err := s.census.take(ctx)
	if err != nil {
		return overview{}, err
	}
	samples := s.history.with(takeSample(ctx, s.db, i))
	o := overview{
		Time: samples[len(samples)-1].at, Health: healthOf(s.db), Problems: problemsOf(i),
		Objects: map[string]int{"topics": len(i.topics), "groups": len(i.groups), "brokers": len(i.brokers), "queues": len(i.queues), "namespaces": len(i.namespaces)},
	}
	for _, f := range figures {
		o.Figures = append(o.Figures, f.view(samples))
	}
	o.Longest = longest(i.queues)
	for _, row := range o.Longest {
		row.OldestAgeSeconds = max(row.OldestAgeSeconds, seconds(headAge(ctx, s.db, row)))
	}
	return o, nil
}

func (f figure) view(samples []sample) figureView {
	v := figureView{Name: f.name, Title: f.title, Unit: f.unit, History: []float64{}}
	for n := range samples {
		v.Value = f.value(&samples[max(n-1, 0)], &samples[n])
		v.History = append(v.History, v.Value)
	}
	return v
}

// longest returns copies of the rows of the longest queues.
func longest(queues []*queueRow) []*queueRow {
	rows := []*queueRow{}
	sorted := slices.Clone(queues)
	slices.SortFunc(sorted, func(a, b *queueRow) int { return cmp.Compare(b.Messages(), a.Messages()) })
	for _, row := range sorted[:min(len(sorted), longestQueues)] {
		if row.Messages() == 0 {
			break
		}
		copied := *row
		rows = append(rows, &copied)
	}
	return rows
}

const maxProblems = 50

func problemsOf(i *inventory) (list []problem) {
	list = []problem{}
	note := func(path, format string, args ...any) {
		if len(list) < maxProblems {
			list = append(list, problem{fmt.Sprintf(format, args...), path})
		}
	}
	for _, d := range i.stats.Damaged {
		note("/", "file %s is damaged: %v", d.Path, d.Err)
	}
	for _, q := range i.queues {
		path := queuePath(q.Broker, q.Name)
		switch {
		case q.Problem != "":
			note(path, "queue %s cannot be used: %s", q.Name, q.Problem)
		case q.Unreadable > 0:
			note(path, "queue %s has %d messages that cannot be read", q.Name, q.Unreadable)
		case q.Stuck > 0:
			note(path, "queue %s has %d dead letters that have no place to go", q.Name, q.Stuck)
		case q.Dead() > 0:
			note(path+"/deaths", "%d dead letters of %s in %s", q.Dead(), strings.Join(q.DeadLettersOf, ", "), q.Name)
		case q.Paused:
			note(path, "queue %s is paused", q.Name)
		}
	}
	for _, g := range i.groups {
		if g.Blocked > 0 || g.Expired {
			note(groupPath(g.Topic, g.Name), "group %s of topic %s cannot read on", g.Name, g.Topic)
		}
	}
	for _, t := range i.deadTopics() {
		if t.Kept > 0 {
			note(topicPath(t.Name), "%d dead letters in topic %s", t.Kept, t.Name)
		}
	}
	return list
}

// health is whether the store does its work.
type health struct {
	OK            bool     `json:"ok"`
	Text          string   `json:"text" about:"What is worst, or ok."`
	Writable      bool     `json:"writable" about:"Whether the store takes changes."`
	BehindSeconds float64  `json:"behindSeconds" about:"How far fsyncs are behind, 0 if they are not."`
	Damaged       []string `json:"damaged" about:"Files in which a read met damage."`
}

func healthOf(db *pebblemq.DB) health {
	h := db.Health()
	v := health{OK: h.OK(), Text: h.String(), Writable: h.Err == nil, BehindSeconds: seconds(h.Behind), Damaged: []string{}}
	for _, d := range h.Damaged {
		v.Damaged = append(v.Damaged, d.Path)
	}
	return v
}

// serveHealth answers 503 while the store takes no changes or its fsyncs do not come, and for damage.
func (s storeSection) serveHealth(w http.ResponseWriter, _ *http.Request, _ struct{}) error {
	h := healthOf(s.db)
	status := http.StatusOK
	if !h.OK {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, h)
	return nil
}
