package log

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/pebblemq/pebblemq/internal/store"
)

// rememberedBatches is how many appends of a producer can be repeated, as in Kafka.
const rememberedBatches = 5

// recallNumber looks for an append of the producer with the same number.
func (g *guard) recallNumber(t *store.Turn, c *piece) (repeated bool, err error) {
	p := g.producer
	if err := p.current(); err != nil {
		return false, err
	}
	if g.past, err = p.past(t, c.p); err != nil {
		return false, err
	}
	if g.number == g.past.next {
		return false, nil
	}
	b, found := g.past.find(g.number)
	if !found {
		return false, &SequenceError{
			Topic: p.topic.name, Partition: int(c.p.index), Producer: p.name, Expected: int64(g.past.next), Given: int64(g.number),
		}
	}
	if uint64(b.count) != c.count || b.content != g.content {
		return false, &NumberReusedError{
			Topic: p.topic.name, Partition: int(c.p.index), Producer: p.name, Expected: int64(g.past.next), Given: int64(g.number), Offset: int64(b.base),
		}
	}
	c.base = b.base
	// It is written again, for the fsync of this call to cover the first one.
	t.Set(producerKey(p.topic.id, c.p.index, p.name), g.past.encode())
	return true, nil
}

// rememberNumber writes that the producer has appended this, too.
func (g *guard) rememberNumber(t *store.Turn, c *piece) {
	g.past.add(producedBatch{first: g.number, base: c.p.next, count: uint32(c.count), content: g.content})
	t.Set(producerKey(c.p.topic.id, c.p.index, g.producer.name), g.past.encode())
}

// past returns what the producer has appended to a partition.
func (p *Producer) past(t *store.Turn, part *partition) (past produced, err error) {
	v, err := t.Get(producerKey(p.topic.id, part.index, p.name))
	if err == nil && v != nil {
		past, err = decodeProduced(v)
	}
	if err != nil {
		return past, fmt.Errorf("log: producer %q of topic %q, partition %d: %w", p.name, p.topic.name, part.index, err)
	}
	return past, nil
}

// content is a hash of the records of an append. Others have the same with a probability that is
// nothing beside that of a broken disk.
type content [16]byte

// contentOf hashes records. Times that the store sets do not count: a repetition has others.
func contentOf(records []Record, times TimestampType) content {
	var one []byte
	all := sha256.New()
	for i := range records {
		nanos := int64(math.MinInt64)
		if r := &records[i]; times == CreateTime && !r.Timestamp.IsZero() {
			nanos = r.Timestamp.UnixNano()
		}
		one = appendRecord(one[:0], &records[i], nanos)
		all.Write(one)
	}
	return content(all.Sum(one[:0])[:len(content{})])
}

// produced is what a producer has appended to a partition.
type produced struct {
	next    uint64
	batches []producedBatch // the last ones
}

type producedBatch struct {
	first, base uint64
	count       uint32
	content     content
}

func (p *produced) add(b producedBatch) {
	p.next = b.first + uint64(b.count)
	if len(p.batches) == rememberedBatches {
		p.batches = p.batches[1:]
	}
	p.batches = append(p.batches, b)
}

// find returns the append that began with a number.
func (p *produced) find(first uint64) (b producedBatch, found bool) {
	for _, b := range p.batches {
		if b.first == first {
			return b, true
		}
	}
	return b, false
}

const producedBatchLen = 8 + 8 + 4 + len(content{})

func (p *produced) encode() []byte {
	v := make([]byte, 0, 1+8+len(p.batches)*producedBatchLen)
	v = binary.BigEndian.AppendUint64(append(v, producerVersion), p.next)
	for _, b := range p.batches {
		v = binary.BigEndian.AppendUint64(v, b.first)
		v = binary.BigEndian.AppendUint64(v, b.base)
		v = binary.BigEndian.AppendUint32(v, b.count)
		v = append(v, b.content[:]...)
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
			content: content(rest[20:producedBatchLen]),
		})
	}
	return p, nil
}
