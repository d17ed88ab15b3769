package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// run is one run of the command.
type run struct {
	options
	out     io.Writer
	dir     string
	machine Machine
	missing map[string]string // peers that are not there, with the reason
	began   time.Time
	serial  int // of the cell

	store    string // what is prepared
	prepared map[string]prepared
}

// prepared is how it went for a peer.
type prepared struct{ unfinished, err string }

func newRun(o options) (*run, error) {
	dir, err := os.MkdirTemp(o.dir, "pebblemq-bench-")
	if err != nil {
		return nil, err
	}
	return &run{options: o, out: os.Stdout, dir: dir, machine: describeMachine(dir), missing: missingPeers(), began: time.Now(), prepared: map[string]prepared{}}, nil
}

// do measures everything that was chosen, and prints a table as soon as it is
// complete. A cell that fails is in the report; an error is only that the run was
// broken off.
func (r *run) do(ctx context.Context) (*Report, error) {
	rep := &Report{Machine: r.machine, Args: r.args, Quick: r.quick, Began: r.began, Peers: describePeers(r.missing)}
	writeHead(r.out, rep)
	defer r.progress("")
	for _, w := range workloads() {
		for _, v := range w.Variants {
			for _, d := range r.wanted(w, v) {
				rows, err := r.variant(ctx, w, v, d)
				r.progress("")
				part := Report{Rows: rows}
				for _, t := range part.tables() {
					t.write(r.out)
				}
				rep.Rows = append(rep.Rows, rows...)
				rep.Seconds = time.Since(r.began).Seconds()
				if err != nil {
					return rep, err
				}
			}
		}
	}
	writeFoot(r.out, rep)
	return rep, nil
}

// wanted are the durabilities at which a variant was chosen.
func (r *run) wanted(w Workload, v Variant) []Durability {
	if !r.wants(w, v) {
		return nil
	}
	return slices.DeleteFunc(v.durabilities(), func(d Durability) bool {
		return r.only != "" && d != Either && d != r.only
	})
}

func (r *run) wants(w Workload, v Variant) bool {
	if r.quick && v.Large {
		return false
	}
	return len(r.workloads) == 0 || slices.ContainsFunc(r.workloads, func(id string) bool {
		return v.chosen(w, id)
	})
}

// variant measures all peers, a round of each before the next round.
func (r *run) variant(ctx context.Context, w Workload, v Variant, d Durability) ([]Row, error) {
	var rows []Row
	for _, p := range peers() {
		if len(r.peers) > 0 && !slices.Contains(r.peers, p.Name) {
			continue
		}
		rows = append(rows, Row{
			Workload: w.ID, Title: w.Title, Unit: w.Unit, Variant: v.Name, Params: r.scale(v.Params), Durability: d,
			Peer: p.Name, Missing: r.missing[p.Name], NotOffered: !v.Offered(p) || !p.offers(d),
		})
	}
	if v.Store != r.store || v.Store == "" {
		r.forget()
		r.store = v.Store
	}
	if v.Prepare != nil {
		for i := range rows {
			r.prepare(ctx, &rows[i], v)
		}
	}
	rounds := r.rounds
	if v.Rounds > 0 {
		rounds = min(rounds, v.Rounds)
	}
	for round := range rounds {
		for i := range rows {
			r.cell(ctx, &rows[i], v, round)
		}
	}
	for i := range rows {
		rows[i].summarise()
	}
	file := table{rows: pointers(rows)}.row(filePeer.Name)
	for i := range rows {
		rows[i].doubt(file)
	}
	return rows, ctx.Err()
}

func pointers(rows []Row) []*Row {
	found := make([]*Row, len(rows))
	for i := range rows {
		found[i] = &rows[i]
	}
	return found
}

// forget removes what was prepared.
func (r *run) forget() {
	for _, p := range peers() {
		_ = os.RemoveAll(r.cellDir(p.Name))
	}
	clear(r.prepared)
}

func (r *run) cellDir(peer string) string {
	return filepath.Join(r.dir, strings.ReplaceAll(peer, "/", "-"))
}

// prepare stores what the rounds of a row need, if that was not done for the
// variant before.
func (r *run) prepare(ctx context.Context, row *Row, v Variant) {
	if row.absent() {
		return
	}
	if _, done := r.prepared[row.Peer]; !done {
		r.cell(ctx, row, v, -1)
		r.prepared[row.Peer] = prepared{row.Unfinished, row.Error}
	}
	p := r.prepared[row.Peer]
	row.Unfinished, row.Error = p.unfinished, p.err
}

// cell measures one round of a row, or prepares it. A row that failed once is
// done.
func (r *run) cell(ctx context.Context, row *Row, v Variant, round int) {
	if row.absent() || ctx.Err() != nil {
		return
	}
	r.serial++
	c := &Cell{
		Workload: row.Workload, Variant: row.Variant, Params: row.Params, Peer: row.Peer, Durability: row.Durability,
		Dir: r.cellDir(row.Peer), Round: round, Serial: r.serial, Prepare: round < 0,
		Warm: r.warm, Measure: r.measure, Budget: r.budget, Fill: r.fill,
	}
	if r.profile != "" && round < 1 {
		c.Profile = filepath.Join(r.profile, strings.ReplaceAll(fmt.Sprintf("%v.pprof", c), "/", "-"))
	}
	if c.Prepare && findPeer(row.Peer).offers(Relaxed) {
		c.Durability = Relaxed
	}
	r.progress(fmt.Sprintf("%v, round %d", c, round+1))
	if v.Prepare == nil {
		defer os.RemoveAll(c.Dir)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		row.Error = err.Error()
		return
	}
	s, err := c.start(ctx, 5*r.budget+r.fill+time.Minute)
	switch {
	case errors.Is(err, errUnfinished):
		row.Unfinished = err.Error()
	case err != nil && ctx.Err() == nil:
		row.Error = err.Error()
	case err == nil && round >= 0:
		row.Samples = append(row.Samples, s)
	}
}

// quickScale is what -quick divides fixed counts by.
const quickScale = 50

func (r *run) scale(p Params) Params {
	if r.quick {
		p.Count = (p.Count + quickScale - 1) / quickScale
		p.Bindings = min(p.Bindings, 1000)
		p.Queues = min(p.Queues, 10)
	}
	return p
}

// progress shows what is being done, on a terminal in place.
func (r *run) progress(what string) {
	if st, err := os.Stderr.Stat(); err != nil || st.Mode()&os.ModeCharDevice == 0 {
		return
	}
	if what != "" {
		what = fmt.Sprintf("%5.0f s  %s", time.Since(r.began).Seconds(), what)
	}
	fmt.Fprintf(os.Stderr, "\r\x1b[K%s", what)
}

// failures is an error if any cell failed.
func (rep *Report) failures() error {
	var errs []error
	for _, row := range rep.Rows {
		if row.Error != "" {
			errs = append(errs, fmt.Errorf("%s %s, %s, %s: %s", row.Workload, row.Variant, row.Peer, row.Durability, row.Error))
		}
	}
	return errors.Join(errs...)
}
