// Quickstart is a webhook intake as a single binary, which is the main job that pebblemq is for.
// It accepts HTTP POSTs in the format of GitHub's webhooks on loopback and drops repeated
// deliveries. It appends every event to a log, and publishes it as a job through a topic exchange.
// Slow jobs go to a visibility queue, where the handler is meant to fail for some of them. The
// intake is killed with SIGKILL in the middle. In the end a late consumer replays the log, and
// every event must be accounted for.
//
//	go run ./examples/quickstart                      # with its own samples
//	go run ./examples/quickstart -stdin < events.ndjson
//	go run ./examples/quickstart -serve localhost:8080   # the intake with its admin page, until Ctrl-C
//
// The first build takes a few minutes, the program some seconds. A line of the input is
// {"event": …, "delivery": …, "payload": {…}}. The exit status is 0 only if the accounts balance.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

//go:embed samples.ndjson
var samples string

func main() {
	stdin := flag.Bool("stdin", false, "read events from standard input, one JSON object a line")
	dir := flag.String("intake", "", "run as the intake, on the store in this directory (used by quickstart itself)")
	address := flag.String("serve", "", "serve the intake and its admin page at this address, on a store with the samples")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *address == "" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 10*time.Minute)
		defer cancel()
	}
	var err error
	switch {
	case *address != "":
		err = show(ctx, *address)
	case *dir != "":
		err = serve(ctx, *dir, "127.0.0.1:0", nil)
	case *stdin:
		err = demonstrate(ctx, os.Stdin)
	default:
		err = demonstrate(ctx, strings.NewReader(samples))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// demonstrate sends the input to an intake in a child process, kills that in
// the middle, starts it again, and audits the store that it leaves.
func demonstrate(ctx context.Context, input io.Reader) error {
	events, err := readEvents(input)
	if err != nil {
		return err
	}
	fmt.Printf("quickstart: %d webhooks through a log and three queues, a SIGKILL in the middle, no event lost"+
		" (the first build takes minutes, the run seconds)\n\n", len(events))
	temp, err := os.MkdirTemp("", "quickstart-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	dir := filepath.Join(temp, "store")
	shown, times := newProgress(os.Stdout), new(times)

	unanswered, err := firstLife(ctx, dir, events, shown, times)
	if err != nil {
		return err
	}
	if err := secondLife(ctx, dir, unanswered, shown, times); err != nil {
		return err
	}
	return audit(ctx, dir, len(events), times)
}

// firstLife sends the events to an intake that is killed after half of them, and returns those
// that got no answer.
func firstLife(ctx context.Context, dir string, events []event, shown *progress, times *times) (unanswered []event, err error) {
	life, err := startIntake(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer life.kill()
	sender := newSender(life.url)
	sender.killAfter(len(events)/2, life.kill)
	begin := time.Now()
	err = shown.during(sender.state("first life", len(events)), func() (string, error) {
		unanswered = sender.sendAll(ctx, events)
		times.requests += time.Since(begin)
		life.kill() // if the input was too short for a middle
		return fmt.Sprintf("first life:  %d of %d requests answered, then SIGKILL", len(events)-len(unanswered), len(events)), nil
	})
	return unanswered, err
}

// secondLife sends the other events to an intake that goes on with the same store, and waits for
// its workers.
func secondLife(ctx context.Context, dir string, events []event, shown *progress, times *times) error {
	life, err := startIntake(ctx, dir)
	if err != nil {
		return err
	}
	defer life.kill()
	sender := newSender(life.url)
	begin := time.Now()
	err = shown.during(sender.state("second life", len(events)), func() (string, error) {
		left := sender.sendAll(ctx, events)
		times.requests += time.Since(begin)
		if len(left) > 0 {
			return "", fmt.Errorf("%d requests were not answered: %w", len(left), sender.failure())
		}
		return fmt.Sprintf("second life: the other %d requests answered", len(events)), nil
	})
	if err != nil {
		return err
	}
	return shown.during(func() string { return life.work(ctx) }, func() (string, error) {
		return "workers:     all jobs are done or dead letters", life.finish(ctx)
	})
}
