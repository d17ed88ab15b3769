package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/spf13/cobra"
)

type redriveOptions struct {
	to     string
	rate   float64
	filter string
}

// move is a redrive under way. A redrive is moved by the process that has the store open, so the
// command waits for its end.
type move struct {
	info func() redriven
	wait func(context.Context) error
	stop func(context.Context) error
}

type redriven struct {
	Queue     string `json:"queue"`
	State     string `json:"state"`
	Moved     uint64 `json:"moved"`
	Skipped   uint64 `json:"skipped"`
	Failed    uint64 `json:"failed"`
	Reason    string `json:"reason"`
	Remaining uint64 `json:"remaining"`
}

func redriveCommand(f *flags) *cobra.Command {
	var x choice
	var o redriveOptions
	kinds := []string{"work", "visibility"}
	c := &cobra.Command{
		Use: "redrive DIR QUEUE", Short: "Move dead letters back to the queues that they died in, or to another one", Args: cobra.ExactArgs(2),
		Long: "Move the messages that are ready in a queue back to the queues that they died in. The command waits\n" +
			"for the end. If it is interrupted, it ends the redrive: moved messages stay moved.",
		RunE: func(c *cobra.Command, args []string) error {
			return withStore(args[0], func(db *pebblemq.DB) error {
				object, err := x.find(c.Context(), db, args[1], kinds...)
				if err != nil {
					return err
				}
				if err := f.confirm(c, object.Name, fmt.Sprintf("redrive moves up to %s of %s", count(waiting(object), "message"), title(object))); err != nil {
					return err
				}
				m, err := openMailbox(c.Context(), db, object)
				if err != nil {
					return err
				}
				r, err := m.redrive(c.Context(), o)
				if err != nil {
					return err
				}
				err = follow(c.Context(), r)
				return errors.Join(printOne(c.OutOrStdout(), f.json, r.info()), err)
			})
		},
	}
	x.addFlags(c, kinds...)
	c.Flags().StringVar(&o.to, "to", "", "queue to move the messages to, of the same broker; the queues that they died in by default")
	c.Flags().Float64Var(&o.rate, "rate", 0, "messages a second; no limit by default")
	c.Flags().StringVar(&o.filter, "filter", "", "move those that contain this text in ID, body, headers or error")
	return c
}

// follow waits for the end of a redrive, and shows how far it is.
func follow(ctx context.Context, r move) error {
	bar := newProgress("redrive", -1, inItems())
	defer bar.end()
	ended := make(chan error, 1)
	go func() { ended <- r.wait(ctx) }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return finished(ctx, r, err)
		case <-tick.C:
			i := r.info()
			done := i.Moved + i.Skipped + i.Failed
			bar.set(int64(done), int64(done+i.Remaining))
		}
	}
}

// finished ends a redrive that was interrupted, and returns why one has not moved all.
func finished(ctx context.Context, r move, err error) error {
	if err != nil {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return errors.Join(err, r.stop(stopping))
	}
	if i := r.info(); i.Failed > 0 || i.State != "completed" {
		return fmt.Errorf("the redrive is %s; %s could not be moved: %s", i.State, count(i.Failed, "message"), i.Reason)
	}
	return nil
}

func (m workMailbox) redrive(ctx context.Context, o redriveOptions) (move, error) {
	options := &workqueue.RedriveOptions{Rate: o.rate}
	if o.to != "" {
		options.To = &workqueue.RedriveTo{Key: o.to}
	}
	if o.filter != "" {
		options.Filter = func(b *workqueue.Browsed) bool { return workRow(b).contains(o.filter) }
	}
	r, err := m.q.Redrive(ctx, options)
	if err != nil {
		return move{}, err
	}
	return move{
		info: func() redriven {
			i := r.Info()
			return redriven{m.q.Name(), string(i.State), i.Moved, i.Skipped, i.Failed, i.Reason, i.Remaining}
		},
		wait: func(ctx context.Context) error { _, err := r.Wait(ctx); return err },
		stop: r.Cancel,
	}, nil
}

func (m visibilityMailbox) redrive(ctx context.Context, o redriveOptions) (move, error) {
	options := &visibility.RedriveOptions{Rate: o.rate, To: o.to}
	if o.filter != "" {
		options.Filter = func(b *visibility.Browsed) bool { return visibilityRow(b).contains(o.filter) }
	}
	r, err := m.q.Redrive(ctx, options)
	if err != nil {
		return move{}, err
	}
	return move{
		info: func() redriven {
			i := r.Info()
			return redriven{m.q.Name(), string(i.State), i.Moved, i.Skipped, i.Failed, i.Reason, i.Remaining}
		},
		wait: func(ctx context.Context) error { _, err := r.Wait(ctx); return err },
		stop: r.Cancel,
	}, nil
}

// contains reports whether a text is in the message.
func (m messageRow) contains(text string) bool {
	if text == "" {
		return true
	}
	for _, s := range []string{m.ID, m.Key, m.Body.String(), m.Died} {
		if strings.Contains(s, text) {
			return true
		}
	}
	for name, value := range m.Headers {
		if strings.Contains(name, text) || strings.Contains(value, text) {
			return true
		}
	}
	return false
}
