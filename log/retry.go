package log

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Retry has records that were given up wait in a topic, and be handled again.
type Retry struct {
	// Topic is where they wait, of the same store. Run reads it, as the group of
	// the same name, along with its own: what waits is in the Lag of that group, and
	// DeleteGroup has to be called for both. It is for the groups of one topic, which
	// may share it: each handles what it gave up itself. A record without a key goes to
	// any of its partitions, so it may have any number of them.
	Topic *Topic
	// Delay is how long they wait. Default 1 minute.
	Delay time.Duration
	// Times is how often a record goes there before it is dead. Default 1.
	Times int
}

// MaxRetryDelay is the longest Delay of a Retry.
const MaxRetryDelay = 365 * 24 * time.Hour

func (c *Retry) check(g *Group) (*Retry, error) {
	if c == nil {
		return nil, nil
	}
	n := *c
	if n.Delay == 0 {
		n.Delay = time.Minute
	}
	if n.Times == 0 {
		n.Times = 1
	}
	switch {
	case n.Topic == nil || n.Topic.s != g.topic.s || n.Topic == g.topic:
		return nil, store.Invalid("Retry.Topic is missing, the group's own, or of another store")
	case n.Delay < 0 || n.Delay > MaxRetryDelay:
		return nil, store.Invalid("Retry.Delay %v is not between 0 and %v", n.Delay, MaxRetryDelay)
	case n.Times < 0 || n.Times > MaxAttempts:
		return nil, store.Invalid("Retry.Times %d is not between 1 and %d", n.Times, MaxAttempts)
	}
	return &n, nil
}

// Headers of records in a Retry or DeadLetter topic, after their own. The origin is
// where the record was first.
const (
	HeaderError           = "pebblemq-error"            // what the handler returned last
	HeaderAttempts        = "pebblemq-attempts"         // how often it was called, in all
	HeaderRetries         = "pebblemq-retries"          // how often the record went to the Retry topic
	HeaderDue             = "pebblemq-due"              // when it is to be handled again, RFC 3339
	HeaderGroup           = "pebblemq-group"            // that gave it up
	HeaderOriginTopic     = "pebblemq-origin-topic"     //
	HeaderOriginPartition = "pebblemq-origin-partition" //
	HeaderOriginOffset    = "pebblemq-origin-offset"    //
)

// maxErrorBytes is how much of an error's text a header keeps.
const maxErrorBytes = 1 << 10

// giveUp moves a record to where it belongs now, in one commit with its
// acknowledgement. It returns why if there is no such place.
func (r *runner) giveUp(ctx context.Context, j job, failure error) error {
	retries := 0
	if j.feed.delayed { // else the headers are of another time
		retries = int(number(&j.r, HeaderRetries, 0))
	}
	to := r.o.DeadLetter
	retry := r.o.Retry != nil && retries < r.o.Retry.Times
	if retry {
		to, retries = r.o.Retry.Topic, retries+1
	}
	if to == nil {
		return fmt.Errorf("log: group %q of topic %q, partition %d, offset %d: %w",
			r.g.name, j.feed.m.g.topic.name, j.r.Partition, j.r.Offset, failure)
	}
	moved := j.r.Clone()
	moved.Headers = append(ownHeaders(moved.Headers),
		text(HeaderError, cut(failure.Error(), maxErrorBytes)),
		text(HeaderAttempts, strconv.FormatInt(number(&j.r, HeaderAttempts, 0)+int64(r.o.Attempts), 10)),
		text(HeaderRetries, strconv.Itoa(retries)),
		text(HeaderGroup, r.g.name),
		text(HeaderOriginTopic, value(&j.r, HeaderOriginTopic, j.feed.m.g.topic.name)),
		text(HeaderOriginPartition, strconv.FormatInt(number(&j.r, HeaderOriginPartition, int64(j.r.Partition)), 10)),
		text(HeaderOriginOffset, strconv.FormatInt(number(&j.r, HeaderOriginOffset, j.r.Offset), 10)),
	)
	if retry {
		moved.Headers = append(moved.Headers, text(HeaderDue, r.g.topic.s.Now().Add(r.o.Retry.Delay).UTC().Format(time.RFC3339Nano)))
	}
	r.g.topic.s.Log().Warn("record was given up", "topic", r.g.topic.name, "group", r.g.name, "partition", j.r.Partition,
		"offset", j.r.Offset, "to", to.name, "error", failure)
	return relocate(ctx, to, moved, j)
}

// relocate appends a record and acknowledges the one that it was, in one commit.
func relocate(ctx context.Context, to *Topic, moved Record, j job) error {
	put, err := to.encode(anyPartition, []Record{moved}, exactBuffer) // its headers may be one too many
	if err != nil {
		return err
	}
	if err := put.ready(ctx); err != nil {
		return err
	}
	ack, err := j.feed.m.ack([]Record{j.r})
	if err != nil {
		return err
	}
	x, err := to.s.Begin(ctx)
	if err != nil {
		return err
	}
	defer x.End()
	if err := x.Add(put, put.size()); err != nil {
		return err
	}
	if err := x.Add(ack, commitSize); err != nil {
		return err
	}
	return x.Commit()
}

func text(name, v string) Header { return Header{Name: name, Value: []byte(v)} }

func cut(s string, n int) string { return s[:min(len(s), n)] }

// ownHeaders drops those of an earlier move.
func ownHeaders(headers []Header) []Header {
	return slices.DeleteFunc(headers, func(h Header) bool {
		switch h.Name {
		case HeaderError, HeaderAttempts, HeaderRetries, HeaderDue, HeaderGroup,
			HeaderOriginTopic, HeaderOriginPartition, HeaderOriginOffset:
			return true
		}
		return false
	})
}

// value returns the last header of a name, or what it is otherwise.
func value(r *Record, name, otherwise string) string {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Name == name {
			return string(r.Headers[i].Value)
		}
	}
	return otherwise
}

// number is value for a number; a text that is none counts as missing.
func number(r *Record, name string, otherwise int64) int64 {
	if n, err := strconv.ParseInt(value(r, name, ""), 10, 64); err == nil {
		return n
	}
	return otherwise
}

// ofGroup reports whether a record of a Retry topic is for a group to handle.
func ofGroup(r *Record, name string) bool { return value(r, HeaderGroup, name) == name }

// dueOf returns when a record of a Retry topic is to be handled; at once if it does
// not say.
func dueOf(r *Record) time.Time {
	due, _ := time.Parse(time.RFC3339Nano, value(r, HeaderDue, ""))
	return due
}
