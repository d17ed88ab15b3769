package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/spf13/cobra"
)

// resetRow is what a reset does, or would do, to one partition.
type resetRow struct {
	Partition int   `json:"partition"`
	From      int64 `json:"from"`
	To        int64 `json:"to"`
	Replayed  int64 `json:"replayed"` // offsets that are read again; negative if they are passed over
}

func resetCommand(f *flags) *cobra.Command {
	var to string
	var only []int
	var dryRun bool
	c := &cobra.Command{
		Use: "reset DIR TOPIC GROUP --to POSITION", Short: "Move a group to another position, to replay records or to pass over them",
		Args: cobra.ExactArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			from, err := parseFrom(to)
			if err != nil {
				return err
			}
			return withStore(args[0], func(db *pebblemq.DB) error {
				t, err := log.LookupTopic(c.Context(), db, args[1])
				if err != nil {
					return err
				}
				g, err := t.LookupGroup(c.Context(), args[2])
				if err != nil {
					return err
				}
				rows, err := preview(c.Context(), g, from, only)
				if err != nil {
					return err
				}
				if !dryRun {
					if err := f.confirm(c, g.Name(), resetting(g, to, rows)); err != nil {
						return err
					}
					if err := g.Seek(c.Context(), from, only...); err != nil {
						return err
					}
				}
				return printRows(c.OutOrStdout(), f.json, rows)
			})
		},
	}
	c.Flags().StringVar(&to, "to", "", "where to: start, end, an offset or a time as 2026-01-02T15:04:05Z (required)")
	c.Flags().IntSliceVar(&only, "partition", nil, "partitions to move; all by default")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be moved, and move nothing")
	return c
}

func preview(ctx context.Context, g *log.Group, to log.From, only []int) (rows []resetRow, err error) {
	committed, err := g.Committed(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range only {
		if n < 0 || n >= len(committed) {
			return nil, fmt.Errorf("%w: topic %q has no partition %d", pebblemq.ErrNotFound, g.Topic().Name(), n)
		}
	}
	for _, at := range committed {
		if len(only) > 0 && !slices.Contains(only, at.Partition) {
			continue
		}
		r, err := g.Topic().NewReader(at.Partition, to)
		if err != nil {
			return nil, usageError{err}
		}
		rows = append(rows, resetRow{at.Partition, at.Next, r.Offset(), at.Next - r.Offset()})
	}
	return rows, nil
}

// resetting says what a reset is about to do.
func resetting(g *log.Group, to string, rows []resetRow) string {
	var replayed, passed int64
	for _, r := range rows {
		replayed += max(r.Replayed, 0)
		passed += max(-r.Replayed, 0)
	}
	return fmt.Sprintf("reset moves group %q of topic %q to %s: %d offsets are read again, %d are passed over",
		g.Name(), g.Topic().Name(), to, replayed, passed)
}
