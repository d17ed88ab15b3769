package log

import (
	"context"
	"encoding/binary"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/window"
)

// MaxMessageID is the longest message id of AppendUnique, 256 bytes.
const MaxMessageID = window.MaxID

// AppendUnique is Append for producers that give each call an id of its own, and
// repeat it if they do not know whether the first one succeeded: within the topic's
// DedupeWindow of the first, one with the same id appends nothing and returns where
// the records of the first are, whatever records it brings. Ids are those of the
// topic, for all partitions; they are remembered over restarts and crashes, along
// with the records. The topic must have a DedupeWindow.
//
// Kafka has only what AppendOnce does, which needs no window, but a producer that
// counts. This is the message id of SQS and of NATS JetStream.
func (t *Topic) AppendUnique(ctx context.Context, id string, records ...Record) ([]Position, error) {
	o, err := t.newAppendUnique(ctx, id, records, newBuffer)
	if err != nil {
		return nil, err
	}
	if err := t.s.Do(ctx, o, store.Default); err != nil {
		return nil, err
	}
	return o.positions(), nil
}

// AppendUnique is Topic.AppendUnique as a part of the transaction.
func (x TopicTx) AppendUnique(id string, records ...Record) (*Result, error) {
	o, err := x.t.newAppendUnique(x.x.Context(), id, records, exactBuffer)
	return x.add(o, err)
}

func (t *Topic) newAppendUnique(ctx context.Context, id string, records []Record, alloc func(int) *buffer) (*appendOp, error) {
	if t.window == nil {
		return nil, store.Invalid("topic %q has no DedupeWindow", t.name)
	}
	if err := window.Check(id); err != nil {
		return nil, err
	}
	o, err := t.newAppend(ctx, anyPartition, records, alloc)
	if err != nil {
		return nil, err
	}
	o.guard = unique(window.IDOf(id))
	return o, t.window.Ready(ctx)
}

// unique is the guard of AppendUnique.
type unique window.ID

func (u unique) admit(t *store.Turn, o *appendOp) (repeated bool, err error) {
	w := o.t.window
	answer, repeated, err := w.Look(t, window.ID(u))
	if err != nil {
		return false, err
	}
	if repeated {
		o.before, err = decodePositions(answer)
		return err == nil, err
	}
	for i := range o.pieces {
		o.pieces[i].base = o.pieces[i].p.next // as Run will set it
	}
	w.Put(t, window.ID(u), encodePositions(o.positions()))
	return false, nil
}

// encodePositions lists runs of offsets that follow one another in a partition:
// partition, offset and length of each (varints).
func encodePositions(at []Position) (b []byte) {
	for len(at) > 0 {
		n := 1
		for n < len(at) && at[n].Partition == at[0].Partition && at[n].Offset == at[0].Offset+int64(n) {
			n++
		}
		b = binary.AppendUvarint(b, uint64(at[0].Partition))
		b = binary.AppendUvarint(b, uint64(at[0].Offset))
		b = binary.AppendUvarint(b, uint64(n))
		at = at[n:]
	}
	return b
}

func decodePositions(b []byte) (at []Position, err error) {
	whole := b
	for len(b) > 0 {
		var run [3]uint64 // partition, offset, length
		for i := range run {
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return nil, corrupt("positions %x", whole)
			}
			run[i], b = v, b[n:]
		}
		if run[0] >= MaxPartitions || run[1] > maxOffset || run[2] == 0 || run[2] > uint64(MaxBatchRecords-len(at)) || run[1]+run[2] > maxOffset {
			return nil, corrupt("positions %x", whole)
		}
		for i := range run[2] {
			at = append(at, Position{Partition: int(run[0]), Offset: int64(run[1] + i)})
		}
	}
	return at, nil
}
