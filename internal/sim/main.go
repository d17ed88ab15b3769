package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var (
	seed    = flag.Uint64("seed", 0, "the only seed to play; 0 takes fresh ones")
	long    = flag.Duration("for", time.Minute, "how long to play fresh seeds")
	steps   = flag.Int("steps", 400, "how many steps a world has")
	hang    = flag.Duration("hang", time.Minute, "how long a world may make no progress")
	small   = flag.Duration("shrink", time.Minute, "how long to look for a smaller scenario")
	shorten = flag.Bool("shorten", false, "look for smaller scenarios with the faults of those that are played")
	tries   = flag.Int("tries", 2, "how often a smaller scenario is played before it is given up, because what a seed does not determine may hide the fault")
	rewrite = flag.Bool("rewrite", false, "write the scenarios that are played anew, with what happens in them")
	talks   = flag.Bool("talk", false, "print what happens")
	without = flag.String("without", "", "parts whose verbs are not drawn, with commas between them")
)

// main is a test for package testing, because bubbles need one.
func main() {
	always := func(string, string) (bool, error) { return true, nil }
	testing.Main(always, []testing.InternalTest{{Name: "sim", F: func(t *testing.T) {
		if err := simulate(t); err != nil {
			t.Fatal(err)
		}
	}}}, nil, nil)
}

func simulate(t *testing.T) error {
	p := playOptions{t: t, talks: *talks, hang: *hang, shrink: *small, without: strings.Split(*without, ",")}
	switch {
	case flag.NArg() > 0:
		return playFiles(p, flag.Args())
	case *seed != 0:
		r := swarm(*seed, *steps, p)
		return report(p, r)
	default:
		return playFresh(p, *steps, *long)
	}
}

// playFiles plays scenarios that were saved. With -rewrite it writes each of them anew, with
// what the calls of each step have returned as comments.
func playFiles(p playOptions, names []string) error {
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		s, err := parseFile(string(text))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r, err := s.check(p)
		for n := 1; *shorten && r.fault == "" && n < *tries; n++ {
			r, err = s.check(p)
		}
		if *shorten && r.fault != "" {
			return report(p, r)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if *rewrite {
			if err := os.WriteFile(name, []byte(s.head()+strings.Join(r.story, "\n")+"\n"), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// playFresh plays one seed after the other until the time is over or one fails.
func playFresh(p playOptions, steps int, long time.Duration) error {
	begin := time.Now()
	fmt.Printf("seeds from %d\n", begin.UnixNano())
	var worlds int
	var lived time.Duration
	for seed := uint64(begin.UnixNano()); time.Since(begin) < long; seed++ {
		fmt.Fprintf(os.Stderr, "\rseed %d ", seed) // a panic of another goroutine stands beside it
		r := swarm(seed, steps, p)
		worlds, lived = worlds+1, lived+r.took
		if r.fault != "" {
			fmt.Fprintln(os.Stderr)
			return report(p, r)
		}
	}
	fmt.Fprintln(os.Stderr)
	fmt.Printf("%d worlds of %d steps, %s of their time, no fault\n", worlds, steps, lived.Round(time.Hour))
	return nil
}

// report shrinks the scenario of a fault and prints it.
func report(p playOptions, r result) error {
	if r.fault == "" {
		return nil
	}
	fmt.Printf("seed %d fails after %d steps: %s\n", r.seed, len(r.steps), r.fault)
	small := shrink(p, r)
	return fmt.Errorf("%s\n# %s", small.scenario, small.fault)
}
