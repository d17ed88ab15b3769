package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// seqMarks are the keys that say how far the store has come: each group brings the
// number of its last operation along, as a key without a value, and the highest one
// counts. One key that every group overwrites would be the obvious way. But then each
// flushed table overlaps all before it, and to merge those the engine rewrites what lies
// beside them, which are the appends of a log that need never be rewritten.
//
// Old marks are dropped in bulk. It is under the baton.
type seqMarks struct {
	from uint64 // none is left below
	n    int    // written since
	most int    // dropMarks; fewer in tests
}

// dropMarks is how many marks gather before they are dropped.
const dropMarks = 1 << 16

func seqKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, len(keySeq)+8), keySeq...), seq)
}

// put marks the group at hand, whose last operation is seq.
func (m *seqMarks) put(t *Turn, seq uint64) {
	if m.n++; m.n > m.most {
		t.DeleteRange(seqKey(m.from), seqKey(seq))
		m.from, m.n = seq, 1
	}
	t.Set(seqKey(seq), nil)
}

// loadSeq finds the newest mark, 0 if there is none.
func (s *Store) loadSeq() (seq uint64, err error) {
	it, err := s.Iter(context.Background(), keySeq, PrefixEnd(keySeq))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.Last() {
		return 0, nil
	}
	if len(it.Key()) != len(keySeq)+8 {
		return 0, fmt.Errorf("%w: key %x of the kernel", ErrCorrupt, it.Key())
	}
	return binary.BigEndian.Uint64(it.Key()[len(keySeq):]), nil
}
