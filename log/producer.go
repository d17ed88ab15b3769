package log

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Producer numbers the records that a producer appends to a partition, which identifies a
// repeated append. If the partition has these records already, the append adds nothing and
// returns their positions. The last five appends of a producer to a partition can be repeated,
// with as many records as the first time; older ones, and numbers that leave a gap, are a
// SequenceError. The numbers of a producer are stored with its records until ForgetProducer.
type Producer struct {
	// Name tells producers apart. It is a name as of a topic.
	Name string
	// Number is that of the first record of the call. The producer counts: 0 for its first
	// record in the partition, and on from there without gaps.
	Number int64
}

// rememberedBatches is how many appends of a producer can be repeated, as in Kafka.
const rememberedBatches = 5

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

// recallNumber looks for an append of the producer with the same number.
func (g *guard) recallNumber(t *store.Turn, c *piece) (repeated bool, err error) {
	topic, p := c.p.topic, g.producer
	key := producerKey(topic.id, c.p.index, p.Name)
	v, err := t.Get(key)
	if err != nil {
		return false, fmt.Errorf("log: producer %q of topic %q, partition %d: %w", p.Name, topic.name, c.p.index, err)
	}
	g.past = produced{}
	if v != nil {
		if g.past, err = decodeProduced(v); err != nil {
			return false, err
		}
	}
	if uint64(p.Number) == g.past.next {
		return false, nil
	}
	if c.base, repeated = g.past.find(uint64(p.Number), uint32(c.count)); !repeated {
		return false, &SequenceError{
			Topic: topic.name, Partition: int(c.p.index), Producer: p.Name, Expected: int64(g.past.next), Given: p.Number,
		}
	}
	t.Set(key, v) // again, for the fsync of this call to cover the first one
	return true, nil
}

// rememberNumber writes that the producer has appended this, too.
func (g *guard) rememberNumber(t *store.Turn, c *piece) {
	g.past.add(producedBatch{first: uint64(g.producer.Number), base: c.p.next, count: uint32(c.count)})
	t.Set(producerKey(c.p.topic.id, c.p.index, g.producer.Name), g.past.encode())
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
