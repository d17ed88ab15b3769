package window

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// MaxID is the longest message id, in bytes.
const MaxID = 256

// Check refuses a message id that is empty or too long.
func Check(id string) error {
	switch {
	case id == "":
		return store.Invalid("message id is empty")
	case len(id) > MaxID:
		return store.TooLarge("message id in bytes", int64(len(id)), MaxID)
	}
	return nil
}

// ID is a message id, hashed. Two ids have the same with a probability that is
// nothing beside that of a broken disk.
type ID [16]byte

// IDOf hashes a message id.
func IDOf(id string) ID {
	sum := sha256.Sum256([]byte(id))
	return ID(sum[:16])
}

const (
	version  = 1
	keyLen   = 5 + 8 + len(ID{})
	fixedLen = 1 + 8
)

// bucketKey is where a bucket begins.
func (w *Window) bucketKey(bucket int64) []byte {
	return binary.BigEndian.AppendUint64(store.Key(w.kind, w.id, keyLen-5), uint64(bucket)^1<<63)
}

func (w *Window) key(bucket int64, id ID) []byte { return append(w.bucketKey(bucket), id[:]...) }

func decodeKey(key []byte) (bucket int64, err error) {
	if len(key) != keyLen {
		return 0, fmt.Errorf("%w: window: key %x", store.ErrCorrupt, key)
	}
	return int64(binary.BigEndian.Uint64(key[5:]) ^ 1<<63), nil
}

func encode(until time.Time, answer []byte) []byte {
	v := append(make([]byte, 0, fixedLen+len(answer)), version)
	v = binary.BigEndian.AppendUint64(v, uint64(until.UnixNano()))
	return append(v, answer...)
}

// decode returns an answer and when it ceases to count. The answer aliases v.
func decode(v []byte) (until time.Time, answer []byte, err error) {
	if len(v) > 0 && v[0] != version {
		return until, nil, fmt.Errorf("%w: window: value has version %d", store.ErrFormat, v[0])
	}
	if len(v) < fixedLen {
		return until, nil, fmt.Errorf("%w: window: value %x", store.ErrCorrupt, v)
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(v[1:]))), v[fixedLen:], nil
}
