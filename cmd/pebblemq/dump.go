package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/spf13/cobra"
)

const carries = `Carried: topics with all records and their times, groups with their positions, visibility queues and work
queues with all messages, exchanges, bindings, jobs, pauses, namespaces with their outcomes, and the
application's own keys. A loaded queue gives out its messages in the same order.

Not carried, because no call of the library sets it: offsets (they begin at 0 and have no gaps), single
records that a group has acknowledged beyond its position, producers and append IDs; how often messages
were delivered, why dead letters died (redrive them with --to), routing key and CC of messages that came
to another queue through the default exchange, send times of visibility queues (their
retention begins anew), messages in flight as such (they are ready); fencing tokens, expiry of keys (it
begins anew), keys whose handler runs or was interrupted; jobs with a schedule of the program; groups
whose offsets have expired; times of creation and IDs of objects. Load counts on standard error what it
meets of these in messages. A checkpoint carries everything.`

func dumpCommand(*flags) *cobra.Command {
	return &cobra.Command{
		Use: "dump DIR", Short: "Print a store as JSON lines, for load", Args: cobra.ExactArgs(1),
		Long: "Print a store as JSON lines, for load. A payload is a string if it is UTF-8, and {\"base64\": ...}\notherwise.\n\n" + carries,
		RunE: func(c *cobra.Command, args []string) error {
			return withStore(args[0], func(db *pebblemq.DB) error {
				out := bufio.NewWriter(c.OutOrStdout())
				d := &dumper{ctx: c.Context(), db: db, out: jsonLines(out), notes: make(notes)}
				err := d.all()
				d.notes.print(c.ErrOrStderr())
				return errors.Join(err, out.Flush())
			})
		},
	}
}

// dumper writes a store as lines.
type dumper struct {
	ctx   context.Context
	db    *pebblemq.DB
	out   *json.Encoder
	bar   *progress
	lines int64
	notes notes
}

func (d *dumper) put(l line) error {
	d.lines++
	d.bar.add(1)
	return d.out.Encode(l)
}

// all writes the objects in an order in which they can be made: brokers last, because their
// bindings lead to topics and visibility queues.
func (d *dumper) all() error {
	inventory, err := describe(d.ctx, d.db)
	if err != nil {
		return err
	}
	d.bar = newProgress("dump", expected(inventory), inItems())
	defer d.bar.end()
	if err := d.put(line{Format: dumpFormat}); err != nil {
		return err
	}
	for _, step := range []struct {
		kind string
		dump func(name string) error
	}{
		{"topic", d.topic}, {"visibility queue", d.visibilityQueue}, {"namespace", d.namespace}, {"broker", d.broker},
	} {
		for _, o := range inventory.Objects {
			if o.Kind != step.kind {
				continue
			}
			if err := step.dump(o.Name); err != nil {
				return err
			}
		}
	}
	if err := d.entries(); err != nil {
		return err
	}
	return d.put(line{End: &endLine{d.lines}})
}

// expected is about how many lines the dump will have.
func expected(inventory pebblemq.Description) int64 {
	n := int64(len(inventory.Objects))
	for _, o := range inventory.Objects {
		switch i := o.Info.(type) {
		case log.TopicInfo:
			n += i.Kept
		case workqueue.QueueInfo:
			n += int64(i.Stats.Ready + i.Stats.Unacked + i.Stats.Delayed)
		case visibility.QueueInfo:
			n += int64(i.Stats.Visible + i.Stats.InFlight + i.Stats.Delayed)
		case idempotency.NamespaceInfo:
			n += int64(i.Completed)
		}
	}
	return n
}

// entries writes the application's own keys.
func (d *dumper) entries() error {
	return d.db.View(d.ctx, func(tx *pebblemq.Tx) error {
		for e, err := range tx.Scan(nil) {
			if err != nil {
				return err
			}
			if err := d.put(line{Entry: &entryLine{e.Key, e.Value}}); err != nil {
				return err
			}
		}
		return nil
	})
}
