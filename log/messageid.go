package log

import (
	"encoding/binary"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/window"
)

// MaxMessageID is the longest ID of an append, 256 bytes.
const MaxMessageID = 256

var _ = [1]struct{}{}[MaxMessageID-window.MaxID] // the two are equal

// recallID looks for an append with the same ID.
func (g *guard) recallID(t *store.Turn, o *appendOp) (repeated bool, err error) {
	answer, repeated, err := o.t.window.Look(t, g.id)
	if err != nil || !repeated {
		return false, err
	}
	o.before, err = decodePositions(answer)
	return err == nil, err
}

// rememberID writes where the records are about to go.
func (g *guard) rememberID(t *store.Turn, o *appendOp) {
	for i := range o.pieces {
		o.pieces[i].base = o.pieces[i].p.next // as Run will set it
	}
	o.t.window.Put(t, g.id, encodePositions(o.positions()))
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
