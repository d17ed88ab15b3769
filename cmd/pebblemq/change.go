package main

import (
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/spf13/cobra"
)

type purged struct {
	Queue  string `json:"queue"`
	Purged int    `json:"purged"`
}

func purgeCommand(f *flags) *cobra.Command {
	var x choice
	kinds := []string{"work", "visibility"}
	c := &cobra.Command{
		Use: "purge DIR QUEUE", Short: "Delete the messages of a queue that wait for a consumer", Args: cobra.ExactArgs(2),
		Long: "Delete the ready messages of a work queue, or the visible and delayed ones of a visibility queue.\nThose in flight stay.",
		RunE: func(c *cobra.Command, args []string) error {
			return withStore(args[0], func(db *pebblemq.DB) error {
				o, err := x.find(c.Context(), db, args[1], kinds...)
				if err != nil {
					return err
				}
				if err := f.confirm(c, o.Name, fmt.Sprintf("purge deletes %s of %s", count(waiting(o), "message"), title(o))); err != nil {
					return err
				}
				m, err := openMailbox(c.Context(), db, o)
				if err != nil {
					return err
				}
				n, err := m.purge(c.Context())
				if err != nil {
					return err
				}
				return printOne(c.OutOrStdout(), f.json, purged{o.Name, n})
			})
		},
	}
	x.addFlags(c, kinds...)
	return c
}

// waiting is how many messages a purge would delete.
func waiting(o pebblemq.Object) uint64 {
	switch i := o.Info.(type) {
	case workqueue.QueueInfo:
		return i.Stats.Ready
	case visibility.QueueInfo:
		return i.Stats.Visible + i.Stats.Delayed
	}
	return 0
}

type paused struct {
	Broker string `json:"broker"`
	Queue  string `json:"queue"`
	Paused bool   `json:"paused"`
}

func pauseCommand(f *flags) *cobra.Command {
	return pausing(f, "pause DIR QUEUE", "Stop a work queue from handing out messages, over restarts", true)
}

func resumeCommand(f *flags) *cobra.Command {
	return pausing(f, "resume DIR QUEUE", "End the pause of a work queue", false)
}

func pausing(f *flags, use, short string, pause bool) *cobra.Command {
	var x choice
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return withStore(args[0], func(db *pebblemq.DB) error {
				o, err := x.find(c.Context(), db, args[1], "work")
				if err != nil {
					return err
				}
				b, err := workqueue.LookupBroker(c.Context(), db, o.Parent)
				if err != nil {
					return err
				}
				q, err := b.Queue(c.Context(), o.Name)
				if err != nil {
					return err
				}
				change := q.Resume
				if pause {
					change = q.Pause
				}
				if err := change(c.Context()); err != nil {
					return err
				}
				return printOne(c.OutOrStdout(), f.json, paused{o.Parent, o.Name, pause})
			})
		},
	}
	x.addFlags(c, "work")
	return c
}
