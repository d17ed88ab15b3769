package log

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/pebblemq/pebblemq/internal/store"
)

// The index of a topic with IndexKeys says where the newest record of each key is.
// It is written along with the records. An entry whose record was trimmed, or was a
// tombstone that is gone, says nothing; such entries are swept out when there are
// many, or by the compaction that dropped the tombstone.
//
//	┌───────────┬───────┬─────┐    ┌─────────┬───────────┬────────┐
//	│ KindIndex │ topic │ key │ →  │ version │ partition │ offset │
//	│ 1 B       │ 4 B   │     │    │ 1 B     │ 4 B       │ 8 B    │
//	└───────────┴───────┴─────┘    └─────────┴───────────┴────────┘
const (
	indexVersion = 1
	indexLen     = 1 + 4 + 8
)

// Nowhere is the position of the newest record of a key that has none.
var Nowhere = Position{Partition: -1, Offset: -1}

func indexKey(topic uint32, key []byte) []byte {
	return append(store.Key(store.KindLogIndex, topic, len(key)), key...)
}

func encodeIndex(partition uint32, offset uint64) []byte {
	v := binary.BigEndian.AppendUint32(append(make([]byte, 0, indexLen), indexVersion), partition)
	return binary.BigEndian.AppendUint64(v, offset)
}

func decodeIndex(v []byte) (Position, error) {
	if len(v) > 0 && v[0] != indexVersion {
		return Nowhere, fmt.Errorf("%w: log: index entry has version %d", store.ErrFormat, v[0])
	}
	if len(v) != indexLen {
		return Nowhere, corrupt("index entry %x", v)
	}
	at := Position{Partition: int(binary.BigEndian.Uint32(v[1:])), Offset: int64(binary.BigEndian.Uint64(v[5:]))}
	if at.Partition >= MaxPartitions || at.Offset < 0 {
		return Nowhere, corrupt("index entry %x", v)
	}
	return at, nil
}

// keyAt is a key of an append, and which record of its piece has it.
type keyAt struct {
	entry []byte // of the index: its key
	piece uint16
	n     uint64
}

// index notes the keys of the records, before these are encoded.
func (o *appendOp) index(records []Record) {
	if !o.t.config.Load().IndexKeys {
		return
	}
	next := make([]uint64, len(o.pieces))
	for i := range records {
		var piece uint16
		if o.routes != nil {
			piece = o.routes[i]
		}
		if key := records[i].Key; key != nil {
			o.keys = append(o.keys, keyAt{indexKey(o.t.id, key), piece, next[piece]})
		}
		next[piece]++
	}
}

// writeIndex points the keys to the records, which have their places.
func (o *appendOp) writeIndex(t *store.Turn) {
	for _, k := range o.keys {
		c := &o.pieces[k.piece]
		t.Set(k.entry, encodeIndex(c.p.index, c.base+k.n))
	}
}

// newest returns where an index entry points: Nowhere if the record is gone.
func (t *Topic) newest(v []byte) (Position, error) {
	if v == nil {
		return Nowhere, nil
	}
	at, err := decodeIndex(v)
	if err != nil {
		return Nowhere, err
	}
	list := t.partitions()
	if at.Partition >= len(list) {
		return Nowhere, corrupt("index of topic %q points to partition %d", t.name, at.Partition)
	}
	if uint64(at.Offset) < list[at.Partition].start.Load() {
		return Nowhere, nil
	}
	return at, nil
}

// Latest returns the newest record of a key; found is false if there is none, or it
// was trimmed. After a deletion that is the tombstone, a record with a nil Value, as
// long as it is there. If the newest record is not visible yet, Latest waits for the
// disk, until ctx ends. The topic must have IndexKeys; the lookup takes two reads,
// however much the topic holds. What the record refers to is the caller's.
func (t *Topic) Latest(ctx context.Context, key []byte) (r Record, found bool, err error) {
	if err := errors.Join(t.indexed(), t.readableIn(ctx)); err != nil {
		return r, false, err
	}
	if err := t.ready(ctx); err != nil {
		return r, false, err
	}
	var last []byte
	for {
		v, err := t.s.Get(ctx, indexKey(t.id, key))
		if err != nil {
			return r, false, t.lostKey(key, err)
		}
		if v == nil || slices.Equal(v, last) {
			return r, false, nil
		}
		at, err := t.newest(v)
		if err != nil || at == Nowhere {
			return r, false, err
		}
		if r, found, err = t.partitions()[at.Partition].readAt(ctx, uint64(at.Offset)); found || err != nil {
			return r, found, err
		}
		last = v // a newer one has come meanwhile, or it is gone
	}
}

// lostKey is the error of a look-up in the index.
func (t *Topic) lostKey(key []byte, err error) error {
	return fmt.Errorf("log: newest record of key %.40q of topic %q: %w", key, t.name, err)
}

// indexed refuses what needs an index.
func (t *Topic) indexed() error {
	if !t.config.Load().IndexKeys {
		return store.Invalid("topic %q has no IndexKeys", t.name)
	}
	return nil
}

// readAt returns the record at an offset, once that is visible.
func (p *partition) readAt(ctx context.Context, offset uint64) (rec Record, found bool, err error) {
	r := reader{p: p, next: offset}
	for {
		ok, err := r.look(ctx, &rec)
		switch {
		case errors.Is(err, ErrOffsetOutOfRange):
			return Record{}, false, nil // trimmed
		case err != nil:
			return Record{}, false, err
		case ok && uint64(rec.Offset) == offset:
			return rec.Clone(), true, nil
		case ok:
			return Record{}, false, nil // compacted away
		}
		if err := r.wait(ctx); err != nil {
			return Record{}, false, err
		}
	}
}
