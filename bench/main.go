// Command bench measures pebblemq and its peers at the same work, in the same
// run, and prints what it found.
//
//	go run .                      everything that runs in process, about half an hour
//	go run . -quick               that it works, in two minutes; the figures mean nothing
//	go run . -run L1,Q1 -peers pebblemq,pebble,file
//	./servers.sh run go run .     with the servers too
//
// A cell is one peer at one variant of a workload. It runs in a process of its
// own. The rounds of a variant are interleaved, so that a disturbance of the
// machine meets all peers alike, and the median is shown. Each cell checks that
// what was acknowledged is there: a peer that loses a message has an error
// instead of a figure.
//
// Durable and relaxed are apart: durable is acknowledged after the fsync that
// covers it, relaxed at any time before.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if os.Getenv(cellEnv) != "" {
		runCell()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	o, err := parseOptions(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.replot != "" {
		return show(o)
	}
	r, err := newRun(o)
	if err != nil {
		return err
	}
	rep, err := r.do(ctx) // what was measured until an error is not thrown away
	return errors.Join(err, os.RemoveAll(r.dir), output(o, rep), rep.failures())
}

// show writes the outputs of earlier runs again.
func show(o options) error {
	rep, err := readReports(split(o.replot))
	if err != nil {
		return err
	}
	writeTables(os.Stdout, rep)
	return output(o, rep)
}

// output writes the files that were asked for.
func output(o options, rep *Report) error {
	var errs []error
	if o.json != "" {
		errs = append(errs, rep.write(o.json))
	}
	if o.markdown != "" {
		errs = append(errs, writeMarkdown(o.markdown, rep))
	}
	if o.plot != "" {
		errs = append(errs, writePlots(o.plot, rep))
	}
	return errors.Join(errs...)
}

type options struct {
	quick     bool
	rounds    int
	measure   time.Duration
	warm      time.Duration
	budget    time.Duration
	fill      time.Duration
	workloads []string
	peers     []string
	only      Durability
	dir       string
	json      string
	markdown  string
	plot      string
	replot    string
	profile   string
	args      string
}

func parseOptions(args []string) (options, error) {
	var o options
	var run, peers, only string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.BoolVar(&o.quick, "quick", false, "one short round of everything, to see that it works")
	f.IntVar(&o.rounds, "rounds", 3, "how often each cell is measured")
	f.DurationVar(&o.measure, "time", 700*time.Millisecond, "how long a round measures")
	f.DurationVar(&o.warm, "warm", 200*time.Millisecond, "how long a round warms up")
	f.DurationVar(&o.budget, "budget", 10*time.Second, "the longest that a peer may publish a backlog of a million; then it has fewer")
	f.StringVar(&run, "run", "", "workloads, as in L1,Q1/latency: variants whose names have that part (default all)")
	f.StringVar(&peers, "peers", "", "peers, by name (default all)")
	f.StringVar(&only, "durability", "", "durable or relaxed (default both)")
	f.StringVar(&o.dir, "dir", os.TempDir(), "where stores are put, in a directory that is removed at the end")
	f.StringVar(&o.json, "json", "", "write the report to this `file`")
	f.StringVar(&o.markdown, "markdown", "", "write the tables to this `file`")
	f.StringVar(&o.plot, "plot", "", "write SVG charts to this `directory`")
	f.DurationVar(&o.fill, "fill", 80*time.Second, "the longest that a peer may take to store what a workload starts with")
	f.StringVar(&o.profile, "profile", "", "write a CPU profile of each cell of the first round to this `directory`")
	f.StringVar(&o.replot, "from", "", "measure nothing, show the reports in these `files`; a table in a later one replaces an earlier one")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if o.quick {
		o.rounds, o.measure, o.warm, o.budget = 1, 40*time.Millisecond, 20*time.Millisecond, 300*time.Millisecond
	}
	o.workloads, o.peers, o.only = split(run), split(peers), Durability(only)
	o.args = relevant(f)
	return o, o.check()
}

// relevant are the flags that what is measured depends on; where results go is
// nobody else's business.
func relevant(f *flag.FlagSet) string {
	var args []string
	f.Visit(func(g *flag.Flag) {
		switch g.Name {
		case "dir", "json", "markdown", "plot", "profile", "from":
		case "quick":
			args = append(args, "-quick")
		default:
			args = append(args, "-"+g.Name+" "+g.Value.String())
		}
	})
	return strings.Join(args, " ")
}

func (o options) check() error {
	for _, p := range o.peers {
		if findPeer(p) == nil {
			return fmt.Errorf("unknown peer %q", p)
		}
	}
	for _, id := range o.workloads {
		if !slices.ContainsFunc(workloads(), func(w Workload) bool { return w.chosen(id) }) {
			return fmt.Errorf("unknown workload %q", id)
		}
	}
	if !slices.Contains([]Durability{"", Durable, Relaxed}, o.only) {
		return fmt.Errorf("unknown durability %q", o.only)
	}
	if o.rounds < 1 || o.measure <= 0 || o.warm < 0 || o.budget <= 0 || o.fill <= 0 {
		return errors.New("rounds and times must be positive")
	}
	return nil
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// chosen reports whether a -run argument means this workload, or a variant of it.
func (w Workload) chosen(id string) bool {
	return slices.ContainsFunc(w.Variants, func(v Variant) bool { return v.chosen(w, id) })
}

// chosen takes "Q1", or "Q1/" and a part of the variant's name.
func (v Variant) chosen(w Workload, id string) bool {
	id, part, _ := strings.Cut(id, "/")
	return id == w.ID && strings.Contains(v.Name, part)
}
