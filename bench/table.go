package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// writeTables prints a table for each variant and durability, the best peer
// first.
func writeTables(out io.Writer, rep *Report) {
	writeHead(out, rep)
	for _, t := range rep.tables() {
		t.write(out)
	}
	writeFoot(out, rep)
}

func writeHead(out io.Writer, rep *Report) {
	fmt.Fprintf(out, "%v\n", rep.Machine)
	if rep.Machine.inMemory() {
		fmt.Fprintln(out, "WARNING: the stores are in memory, so the durable tables mean nothing; choose a disk with -dir")
	}
	if rep.Quick {
		fmt.Fprintf(out, "WARNING: -quick shows that everything works; counts are divided by %d and the figures mean nothing\n", quickScale)
	}
	for _, a := range rep.Peers {
		if a.Missing != "" {
			fmt.Fprintf(out, "missing: %s, %s\n", a.Name, a.Missing)
		}
	}
}

func writeFoot(out io.Writer, rep *Report) { fmt.Fprintf(out, "\n%.0f s\n", rep.Seconds) }

func (t table) write(out io.Writer) {
	r := t.rows[0]
	if !slices.ContainsFunc(t.rows, func(r *Row) bool { return !r.NotOffered }) {
		return
	}
	fmt.Fprintf(out, "\n%s %s, %s: %s\n", r.Workload, r.Title, r.Variant, r.Durability)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "peer\t%s\tspread\tto pebble\tto best\tp50\tp99\tp99.9\tallocs\tmemory\twritten\tdisk\t\n", r.Unit)
	var notes, absent []string
	for _, r := range t.rows {
		if r.NotOffered {
			absent = append(absent, r.Peer)
			continue
		}
		if r.Median == nil {
			fmt.Fprintf(w, "%s\t%s\t\t\t\t\t\t\t\t\t\t\t\n", r.Peer, r.absence())
			if why := r.Error + r.Unfinished; why != "" {
				notes = append(notes, r.Peer+": "+why)
			}
			continue
		}
		s := r.Median
		l := cmp.Or(s.Latency, &Latency{})
		fmt.Fprintf(w, "%s\t%s\t%.0f%%\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", r.Peer, rate(s.Rate), r.Spread*100,
			times(r.ratio(t.engine)), times(r.ratio(t.best)), duration(l.P50), duration(l.P99), duration(l.P999),
			plain(s.Allocs), size(s.Memory), size(s.Written), size(s.Disk))
		if note := s.remarks(); note != "" {
			notes = append(notes, r.Peer+": "+note)
		}
	}
	_ = w.Flush()
	for _, n := range notes {
		fmt.Fprintln(out, "  "+n)
	}
	if len(absent) > 0 {
		fmt.Fprintf(out, "  not offered by %s\n", strings.Join(absent, ", "))
	}
}

// absence is what stands in the place of a figure.
func (r *Row) absence() string {
	switch {
	case r.Missing != "":
		return "missing"
	case r.Error != "":
		return "failed"
	case r.Unfinished != "":
		return "too slow"
	}
	return "not measured"
}

// remarks is what a sample has to say beyond the columns.
func (s *Sample) remarks() string {
	var parts []string
	if s.Note != "" {
		parts = append(parts, s.Note)
	}
	for _, k := range sortedKeys(s.Extra) {
		v := s.Extra[k]
		switch {
		case strings.HasSuffix(k, "bytes"):
			parts = append(parts, fmt.Sprintf("%s %s", strings.TrimSuffix(k, " bytes"), size(uint64(v))))
		case strings.HasSuffix(k, "/s"):
			parts = append(parts, fmt.Sprintf("%s %s", k, rate(v)))
		default:
			parts = append(parts, fmt.Sprintf("%s %s", k, plain(v)))
		}
	}
	return strings.Join(parts, ", ")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// rate writes a number with three digits that count.
func rate(v float64) string {
	switch {
	case v >= 999.5e3:
		return digits(v/1e6) + " M"
	case v >= 999.5:
		return digits(v/1e3) + " k"
	}
	return digits(v)
}

func digits(v float64) string {
	switch {
	case v >= 99.5:
		return fmt.Sprintf("%.0f", v)
	case v >= 9.95:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func times(v float64) string {
	if v == 0 {
		return ""
	}
	return digits(v)
}

func plain(v float64) string {
	if v >= 999.5 {
		return rate(v)
	}
	return fmt.Sprintf("%.1f", v)
}

func duration(seconds float64) string {
	d := time.Duration(seconds * 1e9)
	switch {
	case d == 0:
		return ""
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d)
	case d < 100*time.Microsecond:
		return digits(seconds*1e6) + " µs"
	}
	return digits(seconds*1e3) + " ms"
}

func size(n uint64) string {
	switch {
	case n == 0:
		return ""
	case n >= 1<<30:
		return digits(float64(n)/(1<<30)) + " GiB"
	case n >= 1<<20:
		return digits(float64(n)/(1<<20)) + " MiB"
	}
	return digits(float64(n)/(1<<10)) + " KiB"
}
