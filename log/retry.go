package log

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// Retry moves records that were given up to a topic, where they wait and are handled again.
type Retry struct {
	// Topic is where they wait, of the same store. Run reads it, as the group of the same name,
	// along with its own. The Lag of that group counts the waiting records, and DeleteGroup is
	// needed for both. It is for the groups of one topic, or of the Topics of one Run, which
	// may share it: each handles what it gave up itself. A record without a key goes to any of
	// its partitions, so it may have any number of them.
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
	case n.Times < 0 || n.Times > worker.MaxAttempts:
		return nil, store.Invalid("Retry.Times %d is not between 1 and %d", n.Times, worker.MaxAttempts)
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

// giveUp moves a record to where it belongs now, in one commit with its
// acknowledgement.
func (s *source) giveUp(ctx context.Context, r Record, o worker.Outcome) error {
	retries := 0
	if s.again { // else the headers are of another time
		retries = int(number(&r, HeaderRetries, 0))
	}
	retry := s.o.Retry != nil && retries < s.o.Retry.Times && !o.Rejected
	to, err := s.o.DeadLetter, error(nil)
	switch {
	case retry:
		to, retries = s.o.Retry.Topic, retries+1
	case to == nil && s.o.DropDead:
		return s.m.finish(ctx, r)
	case to == nil:
		if to, err = s.origin(&r).defaultDead(ctx); err != nil {
			return err
		}
	}
	moved := r.Clone()
	moved.Headers = append(ownHeaders(moved.Headers),
		text(HeaderError, o.Note()),
		text(HeaderAttempts, strconv.FormatInt(number(&r, HeaderAttempts, 0)+int64(o.Attempts), 10)),
		text(HeaderRetries, strconv.Itoa(retries)),
		text(HeaderGroup, s.g.name),
		text(HeaderOriginTopic, value(&r, HeaderOriginTopic, s.m.g.topic.name)),
		text(HeaderOriginPartition, strconv.FormatInt(number(&r, HeaderOriginPartition, int64(r.Partition)), 10)),
		text(HeaderOriginOffset, strconv.FormatInt(number(&r, HeaderOriginOffset, r.Offset), 10)),
	)
	if retry {
		moved.Headers = append(moved.Headers, text(HeaderDue, s.g.topic.s.Now().Add(s.o.Retry.Delay).UTC().Format(time.RFC3339Nano)))
	}
	return s.relocate(ctx, to, moved, r)
}

// defaultDead returns the topic NAME.dead, which a topic without a DeadLetter has for the records
// that were given up. It is created when it is needed.
func (t *Topic) defaultDead(ctx context.Context) (dead *Topic, err error) {
	name := t.name + worker.DeadSuffix
	if err := store.CheckName("dead-letter topic", name); err != nil {
		return nil, err
	}
	own := t.Config()
	config, err := (&TopicConfig{MaxRecordBytes: own.MaxRecordBytes, Compression: own.Compression, RetentionTime: worker.DeadRetention, TimestampType: AppendTime}).normalize()
	if err != nil {
		return nil, err
	}
	l := layerOf(t.s)
	err = t.s.Do(ctx, store.QuietFunc(func(turn *store.Turn) (err error) {
		if dead, err = l.open(turn, name); errors.Is(err, ErrUnknownTopic) {
			dead, err = l.create(turn, name, config)
		}
		return err
	}), store.NoSync)
	return dead, err
}

// relocate appends a record and acknowledges the one that it was, in one commit. It returns
// ErrSettled if that is acknowledged already.
func (s *source) relocate(ctx context.Context, to *Topic, moved, was Record) error {
	put, err := to.encode(anyPartition, []Record{moved}, exactBuffer) // its headers may be one too many
	if err != nil {
		return err
	}
	if err := put.ready(ctx); err != nil {
		return err
	}
	ack, err := s.m.ackOnce([]Record{was})
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
