package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"text/tabwriter"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
)

// accounts is what became of the events.
type accounts struct {
	received, duplicates, distinct int
	processed, twice, dead         int
	notices, noticesDue            int
	replayed, unaccounted          int
}

// times are how long the parts of the demonstration took.
type times struct {
	requests, replay time.Duration
}

const readOn = `
Read on: README.md says which queue is for what and what is guaranteed.
         examples/quickstart/intake.go and workers.go are this program; examples/ has more.
         docs/guide has recipes, and pages for people who know Kafka, RabbitMQ or SQS.
`

// audit opens the store that the intake left, has a late consumer replay the
// log, holds every event against what was done with it, and prints the result.
func audit(ctx context.Context, dir string, sent int, times *times) (err error) {
	db, err := pebblemq.Open(dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	a, err := openApp(ctx, db)
	if err != nil {
		return err
	}
	var acc accounts
	dead, err := a.deadLetters(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	events, err := a.replay(ctx)
	times.replay = time.Since(begin)
	if err != nil {
		return err
	}
	if err := a.settle(ctx, &acc, events, dead); err != nil {
		return err
	}
	acc.print(times)
	if err := acc.balance(sent); err != nil {
		return err
	}
	fmt.Print(readOn)
	return nil
}

// deadLetters takes everything out of the dead-letter queue, by delivery id.
func (a *app) deadLetters(ctx context.Context) (map[string]int, error) {
	found := make(map[string]int)
	for {
		messages, err := a.dead.Receive(ctx, &visibility.ReceiveOptions{Max: 100})
		if err != nil || len(messages) == 0 {
			return found, err
		}
		for _, m := range messages {
			found[m.ID]++
			if err := a.dead.Delete(ctx, m.Receipt); err != nil {
				return nil, err
			}
		}
	}
}

// replay reads the whole log as a consumer group that comes late, and returns
// the routing key of each record by delivery id, and how often it was there.
func (a *app) replay(ctx context.Context) (map[string][]string, error) {
	group, err := a.events.OpenGroup(ctx, "late", nil)
	if err != nil {
		return nil, err
	}
	member, err := group.Join(ctx, nil)
	if err != nil {
		return nil, err
	}
	events := make(map[string][]string)
	for {
		lag, err := group.Lag(ctx)
		if err != nil {
			return nil, err
		}
		if total(lag) == 0 {
			return events, member.Leave(ctx)
		}
		records, err := member.Poll(ctx, 100)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			id := string(r.Key)
			events[id] = append(events[id], header(r, "routing-key"))
		}
		if err := member.Commit(ctx, records...); err != nil {
			return nil, err
		}
	}
}

func total(lag []log.Lag) (n int64) {
	for _, l := range lag {
		n += l.Records
	}
	return n
}

func header(r log.Record, name string) string {
	for _, h := range r.Headers {
		if h.Name == name {
			return string(h.Value)
		}
	}
	return ""
}

// settle fills in the accounts.
func (a *app) settle(ctx context.Context, acc *accounts, events map[string][]string, dead map[string]int) error {
	return a.db.View(ctx, func(tx *pebblemq.Tx) error {
		for name, n := range map[string]*int{
			"received": &acc.received, "duplicates": &acc.duplicates, "done twice": &acc.twice, "notices": &acc.notices,
		} {
			var err error
			if *n, err = counter(tx, name); err != nil {
				return err
			}
		}
		for id, keys := range events {
			done, err := tx.Get([]byte("done/" + id))
			if err != nil {
				return err
			}
			acc.book(keys, done != nil, dead[id])
			delete(dead, id)
		}
		acc.unaccounted += len(dead) // dead letters of no event
		return nil
	})
}

// book adds one event of the log.
func (acc *accounts) book(keys []string, done bool, dead int) {
	acc.distinct++
	acc.replayed += len(keys)
	acc.dead += dead
	if done {
		acc.processed++
	}
	if done == (dead > 0) || dead > 1 || len(keys) > 1 {
		acc.unaccounted++
	}
	for _, pattern := range bindings[notices] {
		if ok, _ := path.Match(pattern, keys[0]); ok {
			acc.noticesDue++
		}
	}
}

func (acc *accounts) print(times *times) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	row := func(what string, n int, why string) { fmt.Fprintf(w, "%s\t%6d\t%s\n", what, n, why) }
	rate := func(n int, d time.Duration) int { return int(float64(n) / max(d.Seconds(), 1e-3)) }
	fmt.Fprintln(w)
	row("received", acc.received, "requests, each answered exactly once over both lives")
	row("duplicate", acc.duplicates, "of them repeated a delivery id, and were dropped by namespace \"deliveries\"")
	row("distinct", acc.distinct, "events in topic \"events\", each a job in work queue \"jobs\" in the same commit")
	row("processed once", acc.processed, "jobs, the slow ones by way of visibility queue \"slow\"")
	row("dead-lettered", acc.dead, "jobs of event \""+broken+"\", which are meant to fail; they were in queue \"slow-dead\"")
	row("replayed", acc.replayed, "events, read from the log by group \"late\"")
	row("notices", acc.notices, "messages in work queue \"notices\", which is bound to *.opened and *.created")
	row("unaccounted", acc.unaccounted, "events without an outcome, or with two")
	row("requests/s", rate(acc.received, times.requests), "each answer after an fsync, 8 requests at a time")
	row("replayed/s", rate(acc.replayed, times.replay), "records, with a durable commit for each batch")
	_ = w.Flush() // standard output
	fmt.Println()
}

// balance says what does not add up.
func (acc *accounts) balance(sent int) error {
	var errs []error
	check := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	check(acc.received == sent, "received is not what was sent")
	check(acc.received == acc.distinct+acc.duplicates, "received is not distinct + duplicate")
	check(acc.distinct == acc.processed+acc.dead, "distinct is not processed + dead-lettered")
	check(acc.replayed == acc.distinct, "replayed is not distinct")
	check(acc.notices == acc.noticesDue, "a notice is missing or was given twice")
	check(acc.twice == 0, "a job was done twice")
	check(acc.unaccounted == 0, "an event is unaccounted for")
	if len(errs) > 0 {
		return fmt.Errorf("the accounts do not balance: %w", errors.Join(errs...))
	}
	fmt.Println("every event is accounted for exactly once")
	return nil
}
