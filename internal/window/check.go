package window

import (
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Examine is the store.Check of a window. Answer says what is wrong with the layer's
// answer to an id, if anything.
func Examine(a *store.Audit, kind store.Kind, id uint32, length time.Duration, answer func([]byte) error) error {
	if length == 0 {
		return a.WalkKind(kind, id, func(key, _ []byte) error {
			return a.Drop(key, "message id of an object that knows none")
		})
	}
	step := max(1, length/bucketsPerLength)
	return a.WalkKind(kind, id, func(key, v []byte) error {
		bucket, err := decodeKey(key)
		if err != nil {
			return a.Drop(key, "%v", err)
		}
		until, said, err := decode(v)
		if err == nil {
			err = answer(said)
		}
		if err != nil {
			return a.Drop(key, "message id %x: %v", key[keyLen-len(ID{}):], err)
		}
		// The id counts until a window after it was put, which was during its bucket.
		if end := time.Unix(0, (bucket+1)*int64(step)).Add(length); until.After(end) {
			return a.Drop(key, "message id %x counts until %v, and is dropped at %v", key[keyLen-len(ID{}):], until, end)
		}
		return nil
	})
}
