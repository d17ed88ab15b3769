package log

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Sequence numbers the records that a producer appends to a partition, so that a
// repeated append is known as one. The producer counts: 0 for its first record in
// the partition, and on from there without gaps.
type Sequence struct {
	Producer string
	Number   int64 // of the first record of the call
}

// rememberedBatches is how many appends of a producer can be repeated, as in Kafka.
const rememberedBatches = 5

// AppendOnce is AppendTo for producers that do not know whether an earlier call
// succeeded: if the partition has these records already, it appends nothing and
// returns where they are. The last five appends of a producer to a partition can be
// repeated, with as many records as the first time; older ones, and numbers that
// leave a gap, are a SequenceError. What a producer has appended is remembered over
// restarts and crashes, along with the records, until ForgetProducer.
func (t *Topic) AppendOnce(ctx context.Context, partition int, s Sequence, records ...Record) ([]Position, error) {
	o, err := t.newAppendOnce(ctx, partition, s, records, newBuffer)
	if err != nil {
		return nil, err
	}
	if err := t.s.Do(ctx, o, store.Default); err != nil {
		return nil, err
	}
	return o.positions(), nil
}

// AppendOnce is Topic.AppendOnce as a part of the transaction.
func (x TopicTx) AppendOnce(partition int, s Sequence, records ...Record) (*Result, error) {
	o, err := x.t.newAppendOnce(x.x.Context(), partition, s, records, exactBuffer)
	return x.add(o, err)
}

// AppendAt is AppendTo on the condition that the first record gets the offset next:
// who has read the log up to there appends only if nobody else did since. Otherwise
// it is a ConflictError, which says what the next offset is.
func (t *Topic) AppendAt(ctx context.Context, partition int, next int64, records ...Record) ([]Position, error) {
	o, err := t.newAppendAt(ctx, partition, next, records, newBuffer)
	if err != nil {
		return nil, err
	}
	if err := t.s.Do(ctx, o, store.Default); err != nil {
		return nil, err
	}
	return o.positions(), nil
}

// AppendAt is Topic.AppendAt as a part of the transaction.
func (x TopicTx) AppendAt(partition int, next int64, records ...Record) (*Result, error) {
	o, err := x.t.newAppendAt(x.x.Context(), partition, next, records, exactBuffer)
	return x.add(o, err)
}

func (t *Topic) newAppendAt(ctx context.Context, partition int, next int64, records []Record, alloc func(int) *buffer) (*appendOp, error) {
	if _, err := t.partition(partition); err != nil {
		return nil, err
	}
	if next < 0 {
		return nil, store.Invalid("offset %d is negative", next)
	}
	o, err := t.newAppend(ctx, partition, records, alloc)
	if err == nil {
		o.guard = at(next)
	}
	return o, err
}

func (t *Topic) newAppendOnce(ctx context.Context, partition int, s Sequence, records []Record, alloc func(int) *buffer) (*appendOp, error) {
	if _, err := t.partition(partition); err != nil {
		return nil, err
	}
	if err := store.CheckName("producer", s.Producer); err != nil {
		return nil, err
	}
	if s.Number < 0 || s.Number > maxOffset-MaxBatchRecords {
		return nil, store.Invalid("Number %d of producer %q is out of range", s.Number, s.Producer)
	}
	o, err := t.newAppend(ctx, partition, records, alloc)
	if err == nil {
		o.guard = &s
	}
	return o, err
}

// ForgetProducer removes what is known of a producer in all partitions of the topic.
// It begins at 0 again.
func (t *Topic) ForgetProducer(ctx context.Context, name string) error {
	if err := store.CheckName("producer", name); err != nil {
		return err
	}
	return t.s.Do(ctx, store.FreeingFunc{OpFunc: func(turn *store.Turn) error {
		if err := t.alive(); err != nil {
			return err
		}
		for _, p := range t.partitions() {
			turn.Delete(producerKey(t.id, p.index, name))
		}
		return nil
	}}, store.Default)
}

// guard decides, under the baton, whether an append goes ahead. If the records are
// there already, it notes where.
type guard interface {
	admit(t *store.Turn, o *appendOp) (repeated bool, err error)
}

// at is the guard of AppendAt.
type at uint64

func (a at) admit(_ *store.Turn, o *appendOp) (repeated bool, err error) {
	if c := &o.pieces[0]; c.p.next != uint64(a) {
		return false, &ConflictError{Topic: c.p.topic.name, Partition: int(c.p.index), Expected: int64(a), Actual: int64(c.p.next)}
	}
	return false, nil
}

// admit is the guard of AppendOnce.
func (s *Sequence) admit(t *store.Turn, o *appendOp) (repeated bool, err error) {
	c := &o.pieces[0]
	key := producerKey(c.p.topic.id, c.p.index, s.Producer)
	v, err := t.Get(key)
	if err != nil {
		return false, fmt.Errorf("log: producer %q of topic %q, partition %d: %w", s.Producer, c.p.topic.name, c.p.index, err)
	}
	var past produced
	if v != nil {
		if past, err = decodeProduced(v); err != nil {
			return false, err
		}
	}
	first, count := uint64(s.Number), uint32(c.count)
	if first == past.next {
		past.add(producedBatch{first: first, base: c.p.next, count: count})
	} else if c.base, repeated = past.find(first, count); !repeated {
		return false, &SequenceError{
			Topic: c.p.topic.name, Partition: int(c.p.index), Producer: s.Producer, Expected: int64(past.next), Given: s.Number,
		}
	}
	// Also of a repeated one, for its fsync to cover the first.
	t.Set(key, past.encode())
	return repeated, nil
}

// produced is what a producer has appended to a partition.
type produced struct {
	next    uint64
	batches []producedBatch // the last ones
}

type producedBatch struct {
	first, base uint64
	count       uint32
}

func (p *produced) add(b producedBatch) {
	p.next = b.first + uint64(b.count)
	if len(p.batches) == rememberedBatches {
		p.batches = p.batches[1:]
	}
	p.batches = append(p.batches, b)
}

func (p *produced) find(first uint64, count uint32) (base uint64, found bool) {
	for _, b := range p.batches {
		if b.first == first && b.count == count {
			return b.base, true
		}
	}
	return 0, false
}

func producerKey(topic, partition uint32, name string) []byte {
	return append(partitionKey(store.KindLogProducer, topic, partition), name...)
}

const producedBatchLen = 8 + 8 + 4

func (p *produced) encode() []byte {
	v := make([]byte, 0, 1+8+len(p.batches)*producedBatchLen)
	v = binary.BigEndian.AppendUint64(append(v, producerVersion), p.next)
	for _, b := range p.batches {
		v = binary.BigEndian.AppendUint64(v, b.first)
		v = binary.BigEndian.AppendUint64(v, b.base)
		v = binary.BigEndian.AppendUint32(v, b.count)
	}
	return v
}

func decodeProduced(v []byte) (p produced, err error) {
	if len(v) > 0 && v[0] != producerVersion {
		return p, fmt.Errorf("%w: log: producer has version %d", store.ErrFormat, v[0])
	}
	if len(v) < 9 || (len(v)-9)%producedBatchLen != 0 || len(v) > 9+rememberedBatches*producedBatchLen {
		return p, corrupt("producer %x", v[:min(len(v), 32)])
	}
	p.next = binary.BigEndian.Uint64(v[1:])
	for rest := v[9:]; len(rest) > 0; rest = rest[producedBatchLen:] {
		p.batches = append(p.batches, producedBatch{
			first: binary.BigEndian.Uint64(rest), base: binary.BigEndian.Uint64(rest[8:]), count: binary.BigEndian.Uint32(rest[16:]),
		})
	}
	return p, nil
}
