package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// run is one run of the command.
type run struct {
	options
	dir     string
	missing map[string]string // peers that are not there, with the reason
	began   time.Time
}

func newRun(o options) (*run, error) {
	dir, err := os.MkdirTemp(o.dir, "pebblemq-bench-")
	if err != nil {
		return nil, err
	}
	return &run{options: o, dir: dir, missing: missingPeers(), began: time.Now()}, nil
}

// do measures everything that was chosen. A cell that fails is in the report; an
// error is only that the run was broken off.
func (r *run) do(ctx context.Context) (*Report, error) {
	rep := &Report{Machine: describeMachine(r.dir), Args: r.args, Quick: r.quick, Began: r.began, Peers: describePeers(r.missing)}
	for _, w := range workloads() {
		for _, v := range w.Variants {
			if !r.wants(w, v) {
				continue
			}
			for _, d := range v.durabilities() {
				if r.only != "" && d != Either && d != r.only {
					continue
				}
				rows, err := r.variant(ctx, w, v, d)
				if err != nil {
					return rep, err
				}
				rep.Rows = append(rep.Rows, rows...)
			}
		}
	}
	r.progress("")
	rep.Seconds = time.Since(r.began).Seconds()
	return rep, nil
}

func (r *run) wants(w Workload, v Variant) bool {
	if r.quick && v.Large {
		return false
	}
	return len(r.workloads) == 0 || slices.ContainsFunc(r.workloads, func(id string) bool {
		return id == w.ID || id == w.ID+"/"+v.Name
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
	defer func() {
		for i := range rows {
			_ = os.RemoveAll(r.cellDir(i))
		}
	}()
	if v.Prepare != nil {
		for i := range rows {
			r.cell(ctx, &rows[i], v, i, -1)
		}
	}
	rounds := r.rounds
	if v.Rounds > 0 {
		rounds = min(rounds, v.Rounds)
	}
	for round := range rounds {
		for i := range rows {
			r.cell(ctx, &rows[i], v, i, round)
		}
	}
	for i := range rows {
		rows[i].summarise()
	}
	return rows, ctx.Err()
}

func (r *run) cellDir(i int) string { return filepath.Join(r.dir, fmt.Sprintf("peer%d", i)) }

// cell measures one round of a row, or prepares it. A row that failed once is
// done.
func (r *run) cell(ctx context.Context, row *Row, v Variant, i, round int) {
	if row.NotOffered || row.Missing != "" || row.Error != "" || ctx.Err() != nil {
		return
	}
	c := &Cell{
		Workload: row.Workload, Variant: row.Variant, Params: row.Params, Peer: row.Peer, Durability: row.Durability,
		Dir: r.cellDir(i), Round: round, Prepare: round < 0,
		Warm: r.warm, Measure: r.measure, Budget: r.budget,
	}
	r.progress(fmt.Sprintf("%v, round %d", c, round+1))
	if v.Prepare == nil {
		_ = os.RemoveAll(c.Dir)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		row.Error = err.Error()
		return
	}
	s, err := c.start(ctx, 4*r.budget+time.Minute)
	if v.Prepare == nil {
		_ = os.RemoveAll(c.Dir)
	}
	switch {
	case err != nil && ctx.Err() == nil:
		row.Error = err.Error()
	case round >= 0:
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
