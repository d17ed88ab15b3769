// Reminders is a service that reminds people of things, and is down for a while in
// the middle. A reminder is a delayed message, which can be shown and cancelled by its
// id; once a day, which passes quickly here, a periodic job asks for a summary.
//
//	go run ./examples/reminders
//
// The exit status is 0 only if each reminder came once, none early, in order if it was in time,
// and none that was cancelled. The missed summaries must have been made up for by one.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

const day = 200 * time.Millisecond

func main() {
	dir, err := os.MkdirTemp("", "reminders")
	if err == nil {
		err = errors.Join(demonstrate(context.Background(), dir, os.Stdout), os.RemoveAll(dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "reminders:", err)
		os.Exit(1)
	}
}

func demonstrate(ctx context.Context, dir string, out io.Writer) error {
	var heard diary
	err := live(ctx, dir, func(s *service) error {
		for _, r := range []struct {
			what string
			in   time.Duration
		}{{"pay the rent", 12 * day}, {"call Ann", day / 2}, {"water the plants", 3 * day}, {"buy milk", day}, {"see the dentist", 3 * day}} {
			if err := s.remind(ctx, r.what, r.in); err != nil {
				return err
			}
		}
		if err := s.cancel(ctx, "see the dentist"); err != nil { // who has called
			return err
		}
		left, err := s.reminders(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "to come: %q\n", left)
		return s.work(ctx, &heard, func() bool { return len(heard.reminders) == 2 && heard.summaries > 0 })
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "first life: %q, some summaries\n", heard.reminders)

	select { // the service is down
	case <-time.After(8 * day):
	case <-ctx.Done():
		return ctx.Err()
	}
	before := heard.summaries
	err = live(ctx, dir, func(s *service) error {
		return s.work(ctx, &heard, func() bool { return len(heard.reminders) == 3 && heard.summaries > before })
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "second life: %q, %d summary for eight days\n", heard.reminders[2:], heard.summaries-before)

	err = live(ctx, dir, func(s *service) error {
		return s.work(ctx, &heard, func() bool { return len(heard.reminders) == 4 })
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "third life: %q\n", heard.reminders[3:])
	if heard.early > 0 {
		return fmt.Errorf("%d reminders came early", heard.early)
	}
	return nil
}

// diary is what came.
type diary struct {
	reminders []string
	summaries int
	early     int
}

// service is one life of the program.
type service struct {
	broker *workqueue.Broker
	due    *workqueue.Queue
}

// live opens the store, lets f work with it and closes it.
func live(ctx context.Context, dir string, f func(*service) error) (err error) {
	db, err := pebblemq.Open(dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	broker, err := workqueue.OpenBroker(ctx, db, "main")
	if err != nil {
		return err
	}
	due, err := broker.DeclareQueue(ctx, "due", nil)
	if err != nil {
		return err
	}
	if err := broker.PutJob(ctx, workqueue.Job{ // the same in each life
		Name: "summary", Every: day, Key: "due", Message: workqueue.Message{Type: "summary"},
	}); err != nil {
		return err
	}
	return f(&service{broker, due})
}

func (s *service) remind(ctx context.Context, what string, in time.Duration) error {
	return s.broker.Publish(ctx, "", "due", workqueue.Message{
		MessageID: what, Type: "reminder", Body: []byte(what), Delay: in,
		Headers: map[string]string{"due": time.Now().Add(in).Format(time.RFC3339Nano)},
	})
}

// cancel takes a reminder back that is not due yet.
func (s *service) cancel(ctx context.Context, what string) error {
	return s.due.Cancel(ctx, what)
}

// reminders returns what is to come, in its order.
func (s *service) reminders(ctx context.Context) (list []string, err error) {
	for m, err := range s.due.Browse(ctx, &workqueue.BrowseOptions{State: workqueue.Delayed}) {
		if err != nil {
			return nil, err
		}
		list = append(list, m.MessageID)
	}
	return list, nil
}

// work handles what is due until enough has come.
func (s *service) work(ctx context.Context, heard *diary, enough func() bool) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	return s.due.Run(ctx, func(_ context.Context, d *workqueue.Delivery) error {
		if enough() {
			return errors.New("enough for today") // it is there the next time
		}
		switch d.Type {
		case "summary":
			heard.summaries++
		case "reminder":
			due, err := time.Parse(time.RFC3339Nano, d.Headers["due"])
			if err != nil {
				return err
			}
			if time.Now().Before(due) {
				heard.early++
			}
			heard.reminders = append(heard.reminders, string(d.Body))
		}
		if enough() {
			stop()
		}
		return nil
	}, &workqueue.RunOptions{Prefetch: 1})
}
