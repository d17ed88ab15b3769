package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/spf13/cobra"
)

// recordRow is a record of a topic in a list.
type recordRow struct {
	Partition int       `json:"partition"`
	Offset    int64     `json:"offset"`
	Time      time.Time `json:"time"`
	Key       payload   `json:"key"`
	Value     payload   `json:"value"`
	Headers   []header  `json:"headers,omitempty"`
}

type header struct {
	Name  string  `json:"name"`
	Value payload `json:"value"`
}

func (h header) String() string { return h.Name + "=" + h.Value.String() }

func newRecordRow(r log.Record) recordRow {
	row := recordRow{Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		row.Headers = append(row.Headers, header{h.Name, h.Value})
	}
	return row
}

// contains reports whether a text is in the record.
func (r recordRow) contains(text string) bool {
	return strings.Contains(r.Key.String(), text) || strings.Contains(r.Value.String(), text) ||
		slices.ContainsFunc(r.Headers, func(h header) bool { return strings.Contains(h.String(), text) })
}

func tailCommand(f *flags) *cobra.Command {
	var limit int64
	c := &cobra.Command{
		Use: "tail DIR TOPIC", Short: "Print the newest records of each partition of a topic", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if limit < 1 {
				return usageError{errors.New("--limit must be at least 1")}
			}
			return withStore(args[0], func(db *pebblemq.DB) error {
				rows, err := newest(c.Context(), db, args[1], limit)
				return errors.Join(printRows(c.OutOrStdout(), f.json, rows), err)
			})
		},
	}
	c.Flags().Int64VarP(&limit, "limit", "n", 10, "records of each partition")
	return c
}

func newest(ctx context.Context, db *pebblemq.DB, topic string, limit int64) (rows []recordRow, err error) {
	t, err := log.LookupTopic(ctx, db, topic)
	if err != nil {
		return nil, err
	}
	for p := range t.Partitions() {
		start, end, err := t.Offsets(ctx, p)
		if err != nil {
			return rows, err
		}
		for r, err := range partition(ctx, t, p, log.Offset(max(start, end-limit))) {
			if err != nil {
				return rows, err
			}
			rows = append(rows, newRecordRow(r))
		}
	}
	return rows, nil
}

// partition returns the records that a partition holds at the moment, from a position on.
func partition(ctx context.Context, t *log.Topic, p int, from log.From) func(yield func(log.Record, error) bool) {
	return func(yield func(log.Record, error) bool) {
		reader, err := t.NewReader(p, from)
		if err == nil {
			err = reader.Until(log.End())
		}
		if err != nil {
			yield(log.Record{}, err)
			return
		}
		reader.Records(ctx)(yield)
	}
}
