package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/spf13/cobra"
)

type browseOptions struct {
	choice
	limit     int
	filter    string
	state     string
	partition int
	from      string
}

func browseCommand(f *flags) *cobra.Command {
	var o browseOptions
	kinds := []string{"topic", "work", "visibility"}
	c := &cobra.Command{
		Use: "browse DIR NAME", Short: "Print the messages of a queue or the records of a topic, and take none", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return usageError{err}
			}
			return withStore(args[0], func(db *pebblemq.DB) error {
				object, err := o.find(c.Context(), db, args[1], kinds...)
				if err != nil {
					return err
				}
				if object.Kind == "topic" {
					rows, err := o.records(c.Context(), db, object.Name)
					return errors.Join(printPage(c, f, &o, rows), err)
				}
				rows, err := o.messages(c.Context(), db, object)
				return errors.Join(printPage(c, f, &o, rows), err)
			})
		},
	}
	o.addFlags(c, kinds...)
	c.Flags().IntVarP(&o.limit, "limit", "n", 50, "most messages or records to print, 0 for all")
	c.Flags().StringVar(&o.filter, "filter", "", "print those that contain this text in key, body, value, ID or headers")
	c.Flags().StringVar(&o.state, "state", "", "print messages in this state: ready, in-flight, delayed")
	c.Flags().IntVar(&o.partition, "partition", -1, "partition of a topic; all by default")
	c.Flags().StringVar(&o.from, "from", "start", "where to begin in a topic: start, end, an offset or a time as 2026-01-02T15:04:05Z")
	return c
}

// printPage prints rows, and says if there may be more.
func printPage[T any](c *cobra.Command, f *flags, o *browseOptions, rows []T) error {
	if err := printRows(c.OutOrStdout(), f.json, rows); err != nil {
		return err
	}
	if o.full(len(rows)) {
		fmt.Fprintf(c.ErrOrStderr(), "pebblemq: these are the first %d; --limit 0 prints all\n", o.limit)
	}
	return nil
}

func (o *browseOptions) check() error {
	if o.limit < 0 {
		return errors.New("--limit must not be negative")
	}
	switch o.state {
	case "", "ready", "in-flight", "delayed":
		return nil
	}
	return fmt.Errorf("--state %q is not one of ready, in-flight, delayed", o.state)
}

func (o *browseOptions) records(ctx context.Context, db *pebblemq.DB, name string) (rows []recordRow, err error) {
	from, err := parseFrom(o.from)
	if err != nil {
		return nil, err
	}
	t, err := log.LookupTopic(ctx, db, name)
	if err != nil {
		return nil, err
	}
	partitions, err := o.partitions(t)
	if err != nil {
		return nil, err
	}
	for _, p := range partitions {
		for r, err := range partition(ctx, t, p, from) {
			if o.full(len(rows)) {
				return rows, nil
			}
			if err != nil {
				return rows, err
			}
			if row := newRecordRow(r); row.contains(o.filter) {
				rows = append(rows, row)
			}
		}
	}
	return rows, nil
}

func (o *browseOptions) partitions(t *log.Topic) ([]int, error) {
	if o.partition >= t.Partitions() {
		return nil, fmt.Errorf("%w: topic %q has %s, there is no partition %d", pebblemq.ErrNotFound, t.Name(), count(t.Partitions(), "partition"), o.partition)
	}
	if o.partition >= 0 {
		return []int{o.partition}, nil
	}
	all := make([]int, t.Partitions())
	for p := range all {
		all[p] = p
	}
	return all, nil
}

// messages returns messages, and the errors of those that are damaged.
func (o *browseOptions) messages(ctx context.Context, db *pebblemq.DB, object pebblemq.Object) (rows []messageRow, damage error) {
	m, err := openMailbox(ctx, db, object)
	if err != nil {
		return nil, err
	}
	for row, err := range m.browse(ctx) {
		if o.full(len(rows)) {
			break
		}
		if err != nil {
			damage = errors.Join(damage, err)
			continue
		}
		if o.state != "" && strings.ReplaceAll(o.state, "-", " ") != row.State {
			continue
		}
		if row.contains(o.filter) {
			rows = append(rows, row)
		}
	}
	return rows, damage
}

func (o *browseOptions) full(n int) bool { return o.limit > 0 && n >= o.limit }

// parseFrom reads a position of a topic.
func parseFrom(text string) (log.From, error) {
	var offset int64
	if _, err := fmt.Sscanf(text+"\n", "%d\n", &offset); err == nil {
		return log.Offset(offset), nil
	}
	switch text {
	case "start":
		return log.Start(), nil
	case "end":
		return log.End(), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return log.From{}, usageError{fmt.Errorf("%q is not a position: start, end, an offset, or a time as 2026-01-02T15:04:05Z", text)}
	}
	return log.At(t), nil
}
