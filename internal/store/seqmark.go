package store

import (
	"context"
	"encoding/binary"
	"fmt"
)

// seqMarks are the keys that say how far the store has come. Each group writes the number of its
// last operation as a key, and the highest one counts. One key that every group overwrites would
// be the obvious way. But then each flushed table overlaps all before it, and to merge those the
// engine rewrites what lies beside them, which are the appends of a log that need never be
// rewritten.
//
// The value of a mark is the number of the mark before it. So a group that is missing in the
// middle is found: an older WAL or MANIFEST can be lost while the newest WAL is whole.
//
//	00 's' number  ->  number of the mark before, 0 if older marks were dropped with this group
//
// Old marks are dropped in bulk. It is under the baton.
type seqMarks struct {
	newest uint64
	before uint64 // the mark before the newest
	from   uint64 // none is left below
	n      int    // there are at most
	most   int    // dropMarks; fewer in tests
}

// dropMarks is how many marks gather before they are dropped. Open reads them all.
const dropMarks = 1 << 14

func seqKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, len(keySeq)+8), keySeq...), seq)
}

// put marks the group at hand, whose last operation is seq. A group that only asks for
// an fsync writes the newest mark again.
func (m *seqMarks) put(t *Turn, seq uint64) {
	if seq != m.newest {
		m.newest, m.before = seq, m.newest
	}
	if m.n++; m.n > m.most {
		t.DeleteRange(seqKey(m.from), seqKey(seq))
		m.from, m.n, m.before = seq, 1, 0
	}
	t.Set(seqKey(seq), binary.BigEndian.AppendUint64(nil, m.before))
}

// loadSeq finds the newest mark, none being 0, and checks that none before it is missing.
// Older marks are not needed: the check ends where a table is damaged.
func (s *Store) loadSeq() error {
	it, err := s.Iter(context.Background(), keySeq, PrefixEnd(keySeq))
	if err != nil {
		return err
	}
	oldest, err := s.marks.load(it)
	unread := it.Close()
	switch {
	case err != nil:
		return err
	case unread != nil && s.marks.newest == 0:
		return unread
	case unread == nil && oldest != 0:
		return gone(0, oldest)
	}
	return nil
}

// load walks the marks from the newest on down. It returns what the oldest one says of
// the mark before it.
func (m *seqMarks) load(it *Iter) (before uint64, err error) {
	m.n = 0
	for ok, newest := it.Last(), true; ok; ok, newest = it.Prev(), false {
		v, err := it.Value()
		if err != nil {
			return 0, nil // Close returns it
		}
		if len(it.Key()) != len(keySeq)+8 || len(v) != 8 {
			return 0, fmt.Errorf("%w: record %x of the kernel has the value %x", ErrCorrupt, it.Key(), v)
		}
		seq := binary.BigEndian.Uint64(it.Key()[len(keySeq):])
		if newest {
			m.newest, m.before = seq, binary.BigEndian.Uint64(v)
		} else if seq != before {
			return 0, gone(seq, before)
		}
		before = binary.BigEndian.Uint64(v)
		m.n++
	}
	return before, nil
}

// gone is the error of a mark that is from, if the one before its successor should be to.
func gone(from, to uint64) error {
	if from > to {
		return fmt.Errorf("%w: operation %d is there, and what comes after it was written after operation %d", ErrCorrupt, from, to)
	}
	return fmt.Errorf("%w: operations %d to %d are gone", ErrCorrupt, from+1, to)
}
