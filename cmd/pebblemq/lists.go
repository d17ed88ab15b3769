package main

import (
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/spf13/cobra"
)

type topicRow struct {
	Name       string    `json:"name"`
	Partitions int       `json:"partitions"`
	Kept       int64     `json:"kept"`
	Appended   int64     `json:"appended"`
	Bytes      int64     `json:"bytes"`
	Created    time.Time `json:"created"`
}

func newTopicRow(o pebblemq.Object) topicRow {
	i := o.Info.(log.TopicInfo)
	row := topicRow{Name: i.Name, Partitions: len(i.Partitions), Kept: i.Kept, Appended: i.Appended, Created: i.Created}
	for _, p := range i.Partitions {
		row.Bytes += p.Bytes
	}
	return row
}

type queueRow struct {
	Kind     string `json:"kind"`
	Broker   string `json:"broker"`
	Name     string `json:"name"`
	Ready    uint64 `json:"ready"`
	InFlight uint64 `json:"inFlight"`
	Delayed  uint64 `json:"delayed"`
	Bytes    uint64 `json:"bytes"`
	Paused   bool   `json:"paused"`
	Problem  string `json:"problem"`
}

func newQueueRow(o pebblemq.Object) queueRow {
	row := queueRow{Kind: "visibility", Name: o.Name}
	switch i := o.Info.(type) {
	case workqueue.QueueInfo:
		row.Kind, row.Broker = "work", o.Parent
		row.Ready, row.InFlight, row.Delayed, row.Bytes = i.Stats.Ready, i.Stats.Unacked, i.Stats.Delayed, i.Stats.Bytes
		row.Paused = i.Stats.Paused
		if i.Err != nil {
			row.Problem = i.Err.Error()
		}
	case visibility.QueueInfo:
		row.Ready, row.InFlight, row.Delayed, row.Bytes = i.Stats.Visible, i.Stats.InFlight, i.Stats.Delayed, i.Stats.Bytes
		if !i.Open {
			row.Problem = "cannot be read; see verify"
		}
	}
	return row
}

type groupRow struct {
	Topic   string    `json:"topic"`
	Name    string    `json:"name"`
	Lag     int64     `json:"lag"`
	Blocked int       `json:"blocked"`
	Expired bool      `json:"expired"`
	Created time.Time `json:"created"`
}

func newGroupRow(o pebblemq.Object) groupRow {
	i := o.Info.(log.GroupInfo)
	return groupRow{Topic: o.Parent, Name: i.Name, Lag: i.Lag, Blocked: i.Blocked, Expired: i.Expired, Created: i.Created}
}

func topicsCommand(f *flags) *cobra.Command {
	return listCommand(f, "topics DIR", "List the topics", newTopicRow, "topic")
}

func queuesCommand(f *flags) *cobra.Command {
	return listCommand(f, "queues DIR", "List the queues of both kinds", newQueueRow, "work queue", "visibility queue")
}

func groupsCommand(f *flags) *cobra.Command {
	return listCommand(f, "groups DIR", "List the groups of all topics", newGroupRow, "group")
}

// listCommand lists the objects of some kinds.
func listCommand[T any](f *flags, use, short string, row func(pebblemq.Object) T, kinds ...string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return withStore(args[0], func(db *pebblemq.DB) error {
				d, err := describe(c.Context(), db)
				if err != nil {
					return err
				}
				var rows []T
				for _, kind := range kinds {
					for _, o := range d.Objects {
						if o.Kind == kind {
							rows = append(rows, row(o))
						}
					}
				}
				return printRows(c.OutOrStdout(), f.json, rows)
			})
		},
	}
}
