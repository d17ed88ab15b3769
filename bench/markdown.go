package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// The tables go between these two lines, if the file has them.
const (
	tablesBegin = "<!-- tables: written by bench -markdown, do not edit -->\n"
	tablesEnd   = "<!-- end of tables -->\n"
)

// writeMarkdown writes the tables into a file and leaves the text around them.
func writeMarkdown(file string, rep *Report) error {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var b bytes.Buffer
	before, rest, found := strings.Cut(string(text), tablesBegin)
	_, after, closed := strings.Cut(rest, tablesEnd)
	if found && !closed {
		return fmt.Errorf("%s: no line %q", file, tablesEnd)
	}
	if !found {
		before, after = "", ""
	}
	b.WriteString(before + tablesBegin)
	markdown(&b, rep)
	b.WriteString(tablesEnd + after)
	return os.WriteFile(file, b.Bytes(), 0o644)
}

// sheet is the tables of one workload and durability, side by side.
type sheet struct {
	workload, title, unit string
	durability            Durability
	tables                []table
}

func (rep *Report) sheets() []*sheet {
	var found []*sheet
	for _, t := range rep.tables() {
		r := t.rows[0]
		var s *sheet
		for _, o := range found {
			if o.workload == r.Workload && o.durability == r.Durability {
				s = o
			}
		}
		if s == nil {
			s = &sheet{workload: r.Workload, title: r.Title, unit: r.Unit, durability: r.Durability}
			found = append(found, s)
		}
		s.tables = append(s.tables, t)
	}
	return found
}

func (t table) row(peer string) *Row {
	for _, r := range t.rows {
		if r.Peer == peer {
			return r
		}
	}
	return nil
}

// present are the peers with a figure or a failure in any column.
func (s *sheet) present(rep *Report) []string {
	var names []string
	for _, a := range rep.Peers {
		for _, t := range s.tables {
			if r := t.row(a.Name); r != nil && (r.Median != nil || r.Error+r.Unfinished != "") {
				names = append(names, a.Name)
				break
			}
		}
	}
	return names
}

func markdown(b *bytes.Buffer, rep *Report) {
	fmt.Fprintf(b, "\nMachine: %v.\n", rep.Machine)
	fmt.Fprintf(b, "Run of %s, %.0f minutes, `%s`.\n", rep.Began.UTC().Format("2006-01-02"), rep.Seconds/60, strings.TrimSpace("go run . "+rep.Args))
	workload := ""
	for _, s := range rep.sheets() {
		names := s.present(rep)
		if len(names) == 0 {
			continue
		}
		if s.workload != workload {
			workload = s.workload
			fmt.Fprintf(b, "\n### %s: %s\n", s.workload, s.title)
		}
		s.markdown(b, names)
	}
	markdownPeers(b, rep)
}

func (s *sheet) markdown(b *bytes.Buffer, names []string) {
	fmt.Fprintf(b, "\n**%s**\n\n| %s |", s.durability, s.unit)
	for _, t := range s.tables {
		fmt.Fprintf(b, " %s |", t.rows[0].Variant)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(s.tables)) + "\n")
	for _, name := range names {
		fmt.Fprintf(b, "| %s |", name)
		for _, t := range s.tables {
			fmt.Fprintf(b, " %s |", t.row(name).cell())
		}
		b.WriteString("\n")
	}
	s.ratios(b, "pebblemq to bare pebble", func(t table) *Row { return t.engine })
	s.ratios(b, "pebblemq to the best of the others", func(t table) *Row { return t.best })
}

// cell is a figure with its spread.
func (r *Row) cell() string {
	switch {
	case r == nil || r.NotOffered:
		return "–"
	case r.Median == nil:
		return r.absence()
	}
	spread := fmt.Sprintf("±%.0f%%", r.Spread*50)
	if r.byLatency() && r.Median.Latency != nil {
		l := r.Median.Latency
		return fmt.Sprintf("p50 %s, p99 %s, p99.9 %s", duration(l.P50), duration(l.P99), duration(l.P999))
	}
	if x := r.Median.Extra; x != nil {
		return fmt.Sprintf("in %s, out %s; %s at peak; disk %s full, %s drained", rate(x["published/s"]), rate(x["drained/s"]),
			size(r.Median.Memory), size(uint64(x["disk when full bytes"])), size(uint64(x["drained bytes"])))
	}
	return fmt.Sprintf("%s %s", rate(r.Median.Rate), spread)
}

func (s *sheet) ratios(b *bytes.Buffer, name string, to func(table) *Row) {
	cells, any := "", false
	for _, t := range s.tables {
		text := "–"
		if r, o := t.row(mqPeer.Name), to(t); r != nil && o != nil && r.ratio(o) > 0 {
			any = true
			text = "**" + times(r.ratio(o)) + "**"
			if name != "" && o != t.engine {
				text += " (" + o.Peer + ")"
			}
		}
		cells += " " + text + " |"
	}
	if any {
		fmt.Fprintf(b, "| *%s* |%s\n", name, cells)
	}
}

func markdownPeers(b *bytes.Buffer, rep *Report) {
	b.WriteString("\n### The peers, and how they were set\n\n| | what | durable | relaxed | versions |\n|---|---|---|---|---|\n")
	for _, a := range rep.Peers {
		what := a.About
		if a.Missing != "" {
			what = "*missing in this run*; " + what
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", a.Name, what, a.Durable, a.Relaxed, a.versions())
	}
	b.WriteString("\n")
}
