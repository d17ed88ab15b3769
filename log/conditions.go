package log

import (
	"bytes"
	"context"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/window"
)

// AppendOptions say where records are appended, and when they are not. Fields may be
// combined unless they say otherwise. The zero value is a plain Append.
type AppendOptions struct {
	// Partition is where all records go, whatever their keys. Default: where the
	// partitioner puts each.
	Partition PartitionChoice

	// Producer makes a repeated append harmless, for a producer that counts its records in each
	// partition. If the partition has the records under their Number already, the append adds
	// nothing and returns their positions. The last five appends of a producer to a partition
	// can be repeated, each with the records of the first time. Other records under a number that
	// was used are a NumberReusedError. Numbers that leave a gap, or are older, are a
	// SequenceError. It needs a Partition.
	Producer *Producer
	// Number is that of the first record of the call: 0 for the first record of the Producer in
	// the partition, and on from there without gaps. Producer.Next tells it after a restart.
	Number int64

	// ID identifies a call, so that a repeated append is harmless. Within the topic's
	// DedupeWindow of the first, an append with the same ID appends nothing, whatever its
	// records. It returns the positions of the first. Ids are those of the topic, for all
	// partitions; they are remembered over restarts and crashes, along with the records. An ID
	// has at most MaxMessageID bytes. The topic must have a DedupeWindow. ID and Producer
	// exclude one another. Default: none, so an ID that turns out to be empty makes nothing
	// harmless.
	ID string

	// ExpectOffset appends only if the first record gets that offset. After reading the
	// partition up to there, a caller thus appends only if there was no other append since.
	// Otherwise the append returns a ConflictError, which has the next offset. It needs a
	// Partition.
	ExpectOffset OffsetCondition

	// ExpectLast appends only if the newest record of the key is at that position. After
	// reading the events of an account, a caller thus appends only if there was no other append
	// to it since. All records must have one key. Otherwise the append returns a
	// KeyConflictError, which has the position of the newest record. The topic must have
	// IndexKeys.
	ExpectLast LastCondition
}

// PartitionChoice is the partition of an append. The zero value chooses none.
type PartitionChoice struct {
	chosen    bool
	partition int
}

// InPartition chooses a partition, counted from 0.
func InPartition(n int) PartitionChoice { return PartitionChoice{true, n} }

// OffsetCondition says which offset an append expects. The zero value expects none.
type OffsetCondition struct {
	expected bool
	offset   int64
}

// AtOffset expects the first record of the append to get an offset.
func AtOffset(n int64) OffsetCondition { return OffsetCondition{true, n} }

// LastCondition says where an append expects the newest record of its key. The zero value
// expects nothing.
type LastCondition struct {
	expected bool
	at       Position
}

// LastAt expects the newest record of the key at a position. With Nowhere it expects that
// the key has no record; a record that was trimmed counts as none.
func LastAt(p Position) LastCondition { return LastCondition{true, p} }

// AppendWith is Append with options. A repeated append, see Producer and ID, is told by its
// repetition and not by its conditions: it returns the places of the first.
func (t *Topic) AppendWith(ctx context.Context, options AppendOptions, records ...Record) ([]Position, error) {
	sent, end := traceAppend(ctx, t, store.StepSend, records)
	o, err := t.newAppendWith(ctx, &options, records, sent, newBuffer)
	return t.append(ctx, o, err, end)
}

// AppendWith is Topic.AppendWith as a part of the transaction. If a condition does not
// hold when the transaction commits, the transaction is refused.
func (x TopicTx) AppendWith(options AppendOptions, records ...Record) (*Placement, error) {
	sent, end := traceAppend(x.x.Context(), x.t, store.StepCreate, records)
	o, err := x.t.newAppendWith(x.x.Context(), &options, records, sent, exactBuffer)
	return x.add(o, err, end)
}

// newAppendWith is about the records of the caller, which a repetition has too. Those that are sent
// may also carry the trace of this call.
func (t *Topic) newAppendWith(ctx context.Context, options *AppendOptions, records, sent []Record, alloc func(int) *buffer) (*appendOp, error) {
	if err := options.check(t, records); err != nil {
		return nil, err
	}
	partition := anyPartition
	if options.Partition.chosen {
		partition = options.Partition.partition
	}
	o, err := t.newAppend(ctx, partition, sent, alloc)
	if err != nil {
		return nil, err
	}
	if options.ExpectLast.expected { // any partition may hold the newest
		if err := t.ready(ctx); err != nil {
			return nil, err
		}
	}
	if options.ID != "" {
		if err := t.window.Ready(ctx); err != nil {
			return nil, err
		}
	}
	o.guard = t.guard(options, records)
	return o, nil
}

// check refuses options that are out of range, or do not go together.
func (o *AppendOptions) check(t *Topic, records []Record) error {
	if p := o.Partition; p.chosen {
		if _, err := t.partition(p.partition); err != nil {
			return err
		}
	}
	if err := o.checkProducer(t); err != nil {
		return err
	}
	if o.ID != "" {
		if t.window == nil {
			return store.Invalid("append with ID %q: topic %q has no DedupeWindow", o.ID, t.name)
		}
		if err := window.Check(o.ID); err != nil {
			return err
		}
	}
	if e := o.ExpectOffset; e.expected {
		if !o.Partition.chosen {
			return store.Invalid("append to topic %q with ExpectOffset %d needs a Partition", t.name, e.offset)
		}
		if e.offset < 0 {
			return store.Invalid("ExpectOffset %d of an append to topic %q is negative", e.offset, t.name)
		}
	}
	if o.ExpectLast.expected {
		return o.ExpectLast.check(t, records)
	}
	return nil
}

func (o *AppendOptions) checkProducer(t *Topic) error {
	p := o.Producer
	switch {
	case p == nil && o.Number == 0:
		return nil
	case p == nil:
		return store.Invalid("append to topic %q has Number %d and no Producer", t.name, o.Number)
	case p.topic != t:
		return store.Invalid("Producer %q was opened with another handle than this one of topic %q; open it with this one", p.name, t.name)
	case o.Number < 0 || o.Number > maxOffset-MaxBatchRecords:
		return store.Invalid("Number %d of producer %q is not between 0 and %d", o.Number, p.name, maxOffset-MaxBatchRecords)
	case !o.Partition.chosen:
		return store.Invalid("append to topic %q with Producer %q needs a Partition, because a producer counts in each partition", t.name, p.name)
	case o.ID != "":
		return store.Invalid("append to topic %q has both Producer %q and ID %q, and either makes it repeatable", t.name, p.name, o.ID)
	}
	return nil
}

func (c LastCondition) check(t *Topic, records []Record) error {
	if err := t.indexed(); err != nil {
		return err
	}
	if c.at != Nowhere && (c.at.Offset < 0 || c.at.Partition < 0 || c.at.Partition >= t.Partitions()) {
		return store.Invalid("ExpectLast %v is no position in topic %q", c.at, t.name)
	}
	for i := range records {
		if records[i].Key == nil || !bytes.Equal(records[i].Key, records[0].Key) {
			return &RecordError{Index: i, Err: store.Invalid("all records of an append with ExpectLast must have one key")}
		}
	}
	return nil
}

// guard returns the conditions in the form that they have under the baton; nil if there
// are none. The records have been checked.
func (t *Topic) guard(o *AppendOptions, records []Record) *guard {
	g := &guard{producer: o.Producer, number: uint64(o.Number), next: o.ExpectOffset, last: o.ExpectLast}
	if g.producer != nil {
		g.content = contentOf(records, t.config.Load().TimestampType)
	}
	if o.ID != "" {
		g.unique, g.id = true, window.IDOf(o.ID)
	}
	if g.last.expected {
		g.key = bytes.Clone(records[0].Key)
	}
	if g.producer == nil && !g.unique && !g.next.expected && !g.last.expected {
		return nil
	}
	return g
}
