package log

import (
	"context"
	"fmt"
	"iter"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/payload"
	"github.com/pebblemq/pebblemq/internal/store"
)

// TypedTopic is a topic whose records have values of type T. It has the verbs of the Topic, and
// those that append and read are about values of T. It is safe for concurrent use. Several of
// them, also with other types, may share a topic.
//
// A record that cannot be decoded is a pebblemq.CodecError. Run and RunBatch make it a dead
// letter with that error at once. Readers and members return the record like any other, and the error comes from
// TypedRecord.Decode.
//
// A record with a nil Value marks a deletion and is not decoded: Decode returns the zero T. To
// delete a key, use the Topic.
type TypedTopic[T any] struct {
	*Topic
	codec pebblemq.Codec[T]
}

// Typed returns a topic with records of type T. With a nil Codec its verbs return ErrInvalid.
func Typed[T any](t *Topic, c pebblemq.Codec[T]) TypedTopic[T] { return TypedTopic[T]{t, c} }

// Record returns a record with the value, for AppendWith and AppendAsync, and to append several.
// The rest is as in with, whose Value must be nil; a nil with is the zero Record.
func (t TypedTopic[T]) Record(value T, with *Record) (r Record, err error) {
	if with != nil {
		r = *with
	}
	if r.Value != nil {
		return Record{}, store.Invalid("record for %s has a Value of %d bytes beside the value of its type", named(t.name), len(r.Value))
	}
	r.Value, _, err = payload.Encode(t.codec, func() string { return "value for " + named(t.name) }, value)
	if err != nil {
		return Record{}, err
	}
	return r, nil
}

// Append appends one value, as Topic.Append does, and returns its place. With has the key and
// what else the record has, see Record.
func (t TypedTopic[T]) Append(ctx context.Context, value T, with *Record) (Position, error) {
	r, err := t.Record(value, with)
	if err != nil {
		return Position{}, err
	}
	at, err := t.Topic.Append(ctx, r)
	if err != nil {
		return Position{}, err
	}
	return at[0], nil
}

// Decode returns the value of a record of the topic, or a pebblemq.CodecError. It is the zero T
// if the record has a nil Value. Decode is for what comes from the verbs of the Topic and its
// groups, such as Poll.
func (t TypedTopic[T]) Decode(r Record) (value T, err error) {
	if r.Value == nil {
		return value, nil
	}
	return payload.Decode(t.codec, func() string {
		name := t.name
		if from := r.Topic(); from != "" { // one of the Topics of a Run
			name = from
		}
		return fmt.Sprintf("record %d/%d of %s", r.Partition, r.Offset, named(name))
	}, r.Value)
}

// TypedRecord is a record with a value of type T.
type TypedRecord[T any] struct {
	Record
	t TypedTopic[T]
}

// Decode is TypedTopic.Decode.
func (r TypedRecord[T]) Decode() (T, error) { return r.t.Decode(r.Record) }

func (t TypedTopic[T]) records(list []Record) []TypedRecord[T] {
	typed := make([]TypedRecord[T], len(list))
	for i, r := range list {
		typed[i] = TypedRecord[T]{r, t}
	}
	return typed
}

func (t TypedTopic[T]) iterate(records iter.Seq2[Record, error]) iter.Seq2[TypedRecord[T], error] {
	return func(yield func(TypedRecord[T], error) bool) {
		for r, err := range records {
			if !yield(TypedRecord[T]{r, t}, err) {
				return
			}
		}
	}
}

// TypedReader is a Reader of values. It has all verbs of that.
type TypedReader[T any] struct {
	*Reader
	t TypedTopic[T]
}

// Reader returns a reader of the topic, which reads values from then on.
func (t TypedTopic[T]) Reader(r *Reader) TypedReader[T] { return TypedReader[T]{r, t} }

// Records is Reader.Records.
func (r TypedReader[T]) Records(ctx context.Context) iter.Seq2[TypedRecord[T], error] {
	return r.t.iterate(r.Reader.Records(ctx))
}

// Fetch is Reader.Fetch.
func (r TypedReader[T]) Fetch(ctx context.Context, maxRecords, maxBytes int) ([]TypedRecord[T], error) {
	list, err := r.Reader.Fetch(ctx, maxRecords, maxBytes)
	return r.t.records(list), err
}

// TypedMember is a Member that reads values. It has all verbs of that; Ack and Commit take the
// Record of a TypedRecord.
type TypedMember[T any] struct {
	*Member
	t TypedTopic[T]
}

// Member returns a member of a group of the topic, which reads values from then on.
func (t TypedTopic[T]) Member(m *Member) TypedMember[T] { return TypedMember[T]{m, t} }

// Poll is Member.Poll.
func (m TypedMember[T]) Poll(ctx context.Context, limit int) ([]TypedRecord[T], error) {
	list, err := m.Member.Poll(ctx, limit)
	return m.t.records(list), err
}

// Records is Member.Records.
func (m TypedMember[T]) Records(ctx context.Context) iter.Seq2[TypedRecord[T], error] {
	return m.t.iterate(m.Member.Records(ctx))
}

// TypedGroup is a Group whose handlers get values. It has all verbs of that.
type TypedGroup[T any] struct {
	*Group
	t TypedTopic[T]
}

// Group returns a group of the topic, whose handlers get values.
func (t TypedTopic[T]) Group(g *Group) TypedGroup[T] { return TypedGroup[T]{g, t} }

// Run is Group.Run with a handler of values. Middleware and the other options see records, also
// those that cannot be decoded. The handler does not. For a record with a nil Value it gets the
// zero T.
func (g TypedGroup[T]) Run(ctx context.Context, h func(ctx context.Context, value T, r Record) error, o *RunOptions) error {
	handler, err := payload.Handler(g.t.codec, g.t.Decode, h)
	if err != nil {
		return err
	}
	return g.Group.Run(ctx, handler, o)
}

// RunBatch is Group.RunBatch with a handler of values, of which values[i] is that of batch[i].
// A record that cannot be decoded is a dead letter and not in the batch. A BatchError has
// an entry for each value.
func (g TypedGroup[T]) RunBatch(ctx context.Context, h func(ctx context.Context, values []T, batch []Record) error, o *RunOptions) error {
	handler, err := payload.BatchHandler(g.t.codec, g.t.Decode, h)
	if err != nil {
		return err
	}
	return g.Group.RunBatch(ctx, handler, o)
}

// TypedTopicTx is a TypedTopic within a transaction. It is valid as long as that.
type TypedTopicTx[T any] struct {
	TopicTx
	t TypedTopic[T]
}

// In returns the verbs of the topic that take part in a transaction.
func (t TypedTopic[T]) In(tx *pebblemq.Tx) TypedTopicTx[T] { return TypedTopicTx[T]{t.Topic.In(tx), t} }

// Append is TypedTopic.Append as a part of the transaction. A value that cannot be encoded
// refuses the transaction. The Placement has the place once Update has returned nil.
func (x TypedTopicTx[T]) Append(value T, with *Record) (*Placement, error) {
	r, err := x.t.Record(value, with)
	if err != nil {
		return nil, x.x.Fail(err)
	}
	return x.TopicTx.Append(r)
}
