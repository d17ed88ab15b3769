// Quickstart is a webhook intake as a single binary: the main job that pebblemq
// is for. It takes HTTP POSTs in the format of GitHub's webhooks on loopback,
// drops repeated deliveries, appends every event to a log, routes it as a job
// through a topic exchange, hands slow jobs to a visibility queue whose handler
// fails for some of them, and is killed with SIGKILL in the middle. In the end
// a late consumer replays the log, and every event must be accounted for.
//
//	go run ./examples/quickstart                      # with samples of its own
//	go run ./examples/quickstart -stdin < events.ndjson
//
// A line of the input is {"event": …, "delivery": …, "payload": {…}}. The exit
// status is 0 only if the accounts balance.
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
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	var err error
	switch {
	case *dir != "":
		err = serve(ctx, *dir)
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
	temp, err := os.MkdirTemp("", "quickstart-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	dir := filepath.Join(temp, "store")

	life, err := startIntake(ctx, dir)
	if err != nil {
		return err
	}
	defer life.kill()
	sender := newSender(life.url)
	sender.killAfter(len(events)/2, life.kill)
	unanswered := sender.sendAll(ctx, events)
	life.kill() // if the input was too short for a middle
	fmt.Printf("first life: %d of %d requests answered, then SIGKILL\n", len(events)-len(unanswered), len(events))

	second, err := startIntake(ctx, dir)
	if err != nil {
		return err
	}
	defer second.kill()
	sender = newSender(second.url)
	if left := sender.sendAll(ctx, unanswered); len(left) > 0 {
		return fmt.Errorf("%d requests were not answered: %w", len(left), sender.failure())
	}
	fmt.Printf("second life: the other %d answered, waiting for the workers\n", len(unanswered))
	if err := second.finish(ctx); err != nil {
		return err
	}
	return audit(ctx, dir, len(events))
}
