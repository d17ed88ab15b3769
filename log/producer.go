package log

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Producer numbers the records that it appends to a partition (AppendOptions.Number), which
// identifies a repeated append. A producer that is restarted opens its name again, asks Next
// where it was, and goes on there. It is safe for concurrent use and needs no closing.
type Producer struct {
	topic *Topic
	name  string
	epoch uint64
	fence *ProducerFencedError // nil for the newest handle of the name; under the baton
}

// OpenProducer takes over the producer of that name. The handles that were opened before are
// fenced: their appends and transactions return a ProducerFencedError, and Next counts what they
// had appended. The name is one as of a topic. What is known of a producer stays on disk until
// ForgetProducer.
func (t *Topic) OpenProducer(ctx context.Context, name string) (*Producer, error) {
	if err := store.CheckName("producer", name); err != nil {
		return nil, err
	}
	p := &Producer{topic: t, name: name}
	err := t.s.Do(ctx, store.OpFunc(func(turn *store.Turn) error {
		if err := t.alive(); err != nil {
			return err
		}
		epoch, err := t.producerEpoch(turn, name)
		if err != nil {
			return err
		}
		p.epoch = epoch + 1
		turn.Set(producerKey(t.id, allPartitions, name), encodeEpoch(p.epoch))
		t.fence(name, p.epoch)
		if t.producers == nil { // few topics have any
			t.producers = make(map[string]*Producer)
		}
		t.producers[name] = p
		return nil
	}), store.Sync)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// ForgetProducer removes what is known of a producer in all partitions of the topic, and fences
// its handles. Whoever opens it later begins at 0 again.
func (t *Topic) ForgetProducer(ctx context.Context, name string) error {
	if err := store.CheckName("producer", name); err != nil {
		return err
	}
	return t.s.Do(ctx, store.FreeingFunc{OpFunc: func(turn *store.Turn) error {
		if err := t.alive(); err != nil {
			return err
		}
		t.fence(name, 0)
		delete(t.producers, name)
		turn.Delete(producerKey(t.id, allPartitions, name))
		for _, p := range t.partitions() {
			turn.Delete(producerKey(t.id, p.index, name))
		}
		return nil
	}}, store.Default)
}

// Name returns the name of the producer.
func (p *Producer) Name() string { return p.name }

// Epoch returns how often the name has been opened, this time included.
func (p *Producer) Epoch() int64 { return int64(p.epoch) }

// Next returns the number of the next record that the producer appends to a partition. All
// records with lower numbers are in the log, whichever handle appended them. They are durable,
// unless ctx says NoSync.
func (p *Producer) Next(ctx context.Context, partition int) (number int64, err error) {
	part, err := p.topic.partition(partition)
	if err != nil {
		return 0, err
	}
	err = p.topic.s.Do(ctx, store.QuietFunc(func(turn *store.Turn) error {
		if err := p.current(); err != nil {
			return err
		}
		past, err := p.past(turn, part)
		number = int64(past.next)
		return err
	}), store.Sync)
	if err != nil {
		return 0, err
	}
	return number, nil
}

// current refuses the use of a handle that is not the newest. The baton is held.
func (p *Producer) current() error {
	if err := p.topic.alive(); err != nil {
		return err
	}
	if p.fence != nil {
		return p.fence
	}
	return nil
}

// fence ends the newest handle of a producer; successor is the epoch of the next one, 0 for none.
// The baton is held.
func (t *Topic) fence(name string, successor uint64) {
	if p := t.producers[name]; p != nil {
		p.fence = &ProducerFencedError{Topic: t.name, Producer: name, Epoch: int64(p.epoch), Current: int64(successor)}
	}
}

// producerEpoch returns the epoch of the newest handle of a producer, 0 if there was none.
func (t *Topic) producerEpoch(turn *store.Turn, name string) (uint64, error) {
	if p := t.producers[name]; p != nil {
		return p.epoch, nil
	}
	v, err := turn.Get(producerKey(t.id, allPartitions, name))
	if err == nil && v == nil {
		return 0, nil
	}
	var epoch uint64
	if err == nil {
		epoch, err = decodeEpoch(v)
	}
	if err != nil {
		return 0, fmt.Errorf("log: producer %q of topic %q: %w", name, t.name, err)
	}
	return epoch, nil
}

// allPartitions is in the key of what is known of a producer as a whole. No partition has this
// index.
const allPartitions = 1<<32 - 1

func producerKey(topic, partition uint32, name string) []byte {
	return append(partitionKey(store.KindLogProducer, topic, partition), name...)
}

func isEpoch(key []byte) bool {
	return len(key) > 9 && binary.BigEndian.Uint32(key[5:]) == allPartitions
}

func encodeEpoch(epoch uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{producerVersion}, epoch)
}

func decodeEpoch(v []byte) (uint64, error) {
	if err := checkValue("epoch of a producer", v, producerVersion, 1+8); err != nil {
		return 0, err
	}
	epoch := binary.BigEndian.Uint64(v[1:])
	if epoch == 0 || epoch > maxOffset {
		return 0, corrupt("epoch of a producer %x", v)
	}
	return epoch, nil
}
