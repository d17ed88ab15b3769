package main

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"time"
)

// Report is all that a run found. Its JSON form is what -json writes.
type Report struct {
	Machine Machine   `json:"machine"`
	Args    string    `json:"args"`
	Quick   bool      `json:"quick,omitempty"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Peers   []About   `json:"peers"`
	Rows    []Row     `json:"rows"`
}

// About says what a peer is and how it is set.
type About struct {
	Name    string            `json:"name"`
	About   string            `json:"about"`
	Durable string            `json:"durable,omitempty"`
	Relaxed string            `json:"relaxed,omitempty"`
	Version map[string]string `json:"version,omitempty"`
	Missing string            `json:"missing,omitempty"` // why it was not measured
}

// Row is one peer at one variant of a workload. It has figures, or it says why
// there are none: NotOffered, Missing, Unfinished or Error.
type Row struct {
	Workload   string     `json:"workload"`
	Title      string     `json:"title"`
	Variant    string     `json:"variant"`
	Params     Params     `json:"params"`
	Durability Durability `json:"durability"`
	Peer       string     `json:"peer"`
	Unit       string     `json:"unit"`

	Median  *Sample  `json:"median,omitempty"` // the round with the median rate
	Spread  float64  `json:"spread,omitempty"` // highest rate less lowest, by the median
	Samples []Sample `json:"samples,omitempty"`
	Error   string   `json:"error,omitempty"`
	Missing string   `json:"missing,omitempty"` // a server that is not there

	// Unfinished is that the peer was too slow for the workload's preparation.
	Unfinished string `json:"unfinished,omitempty"`

	// NotOffered is that the peer does not have it, or not as durably.
	NotOffered bool `json:"not_offered,omitempty"`
}

// absent is that there is nothing to measure, or no more.
func (r *Row) absent() bool { return r.NotOffered || r.Missing+r.Error+r.Unfinished != "" }

func (r *Row) summarise() {
	if r.absent() || len(r.Samples) == 0 {
		return
	}
	s := slices.Clone(r.Samples)
	slices.SortFunc(s, func(a, b Sample) int { return compare(r.value(a), r.value(b)) })
	m := s[(len(s)-1)/2]
	r.Median = &m
	if v := r.value(m); v > 0 {
		r.Spread = (r.value(s[len(s)-1]) - r.value(s[0])) / v
	}
}

// doubt marks a durable figure that is better than the disk: a lone producer
// that waits for an fsync each time cannot be much faster than a file is, in the
// same rounds.
func (r *Row) doubt(file *Row) {
	lone := r.Durability == Durable && r.Params.Workers == 1 && r.Params.Batch <= 1
	if !lone || !r.timed() || !file.timed() {
		return
	}
	if r.Median.Latency.P50 < file.Median.Latency.P50/2 {
		r.Median.Note = "faster than an fsync: is this durable? " + r.Median.Note
	}
}

func (r *Row) timed() bool { return r != nil && r.Median != nil && r.Median.Latency != nil }

// value is what peers are compared by: the rate, or where that is given the
// median latency.
func (r *Row) value(s Sample) float64 {
	if r.byLatency() && s.Latency != nil {
		return s.Latency.P50
	}
	return s.Rate
}

// byLatency says that less is better.
func (r *Row) byLatency() bool { return r.Params.Rate > 0 }

// ratio is how many times better than o the row is.
func (r *Row) ratio(o *Row) float64 {
	if r.Median == nil || o == nil || o.Median == nil {
		return 0
	}
	a, b := r.value(*r.Median), r.value(*o.Median)
	if r.byLatency() {
		a, b = b, a
	}
	if b == 0 {
		return 0
	}
	return a / b
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// table is the rows of one variant and durability, the best first.
type table struct {
	rows     []*Row
	engine   *Row // bare Pebble
	best     *Row // of the others but ourselves
	workload string
}

// tables groups the rows, in their order.
func (rep *Report) tables() []table {
	var found []table
	for i := range rep.Rows {
		r := &rep.Rows[i]
		if n := len(found); n == 0 || !sameTable(found[n-1].rows[0], r) {
			found = append(found, table{workload: r.Workload})
		}
		t := &found[len(found)-1]
		t.rows = append(t.rows, r)
		switch {
		case r.Peer == pebblePeer.Name:
			t.engine = r
		case r.Peer != mqPeer.Name && !floors[r.Peer] && r.Median != nil && (t.best == nil || r.ratio(t.best) > 1):
			t.best = r
		}
	}
	for _, t := range found {
		slices.SortStableFunc(t.rows, func(a, b *Row) int {
			if a.Median == nil || b.Median == nil {
				return compare(b2f(a.Median == nil), b2f(b.Median == nil))
			}
			return compare(b.ratio(a), 1)
		})
	}
	return found
}

func b2f(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func sameTable(a, b *Row) bool {
	return a.Workload == b.Workload && a.Variant == b.Variant && a.Durability == b.Durability
}

// write puts each row on a line of its own, for those who compare two reports.
func (rep *Report) write(file string) error {
	head := *rep
	head.Rows = nil
	text, err := json.Marshal(head)
	if err != nil {
		return err
	}
	b := bytes.NewBuffer(bytes.TrimSuffix(text, []byte("null}")))
	sep := "[\n"
	for _, r := range rep.Rows {
		row, err := json.Marshal(r)
		if err != nil {
			return err
		}
		b.WriteString(sep)
		b.Write(row)
		sep = ",\n"
	}
	if len(rep.Rows) == 0 {
		b.WriteString("[")
	}
	b.WriteString("\n]}\n")
	return os.WriteFile(file, b.Bytes(), 0o644)
}

func readReport(file string) (*Report, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	rep := new(Report)
	return rep, json.Unmarshal(text, rep)
}

// readReports takes each table from the last report that has it, so that a part
// can be measured again. A table is never made of two runs.
func readReports(files []string) (*Report, error) {
	var all *Report
	for _, file := range files {
		rep, err := readReport(file)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = rep
			continue
		}
		all.replace(rep)
	}
	return all, nil
}

func (rep *Report) replace(later *Report) {
	for _, t := range later.tables() {
		at := slices.IndexFunc(rep.Rows, func(r Row) bool { return sameTable(&r, t.rows[0]) })
		rep.Rows = slices.DeleteFunc(rep.Rows, func(r Row) bool { return sameTable(&r, t.rows[0]) })
		if at < 0 {
			at = len(rep.Rows)
		}
		for i := range t.rows {
			rep.Rows = slices.Insert(rep.Rows, at+i, *t.rows[i])
		}
	}
	rep.Seconds += later.Seconds
	rep.Args += "; then " + later.Args
}
