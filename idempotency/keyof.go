package idempotency

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// KeyOf makes a key of a value: the SHA-256 of its JSON with sorted names in all objects. The
// order of fields does not matter; every field does, nested ones too.
//
// A value with nothing in it gives ErrNoKey: null, an empty string, and an
// array or object without an element that is not null. Zero and false are
// something. Text that is not UTF-8 is refused, because JSON would make one
// key of all of it.
func KeyOf(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("idempotency: key of %T: %w", v, err)
	}
	if replaced(text) {
		return nil, store.Invalid("idempotency key of %T: it contains text that is not UTF-8", v)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var plain any
	if err := d.Decode(&plain); err != nil {
		return nil, fmt.Errorf("idempotency: key of %T: %w", v, err)
	}
	if missing(plain) {
		return nil, fmt.Errorf("%w: %T has nothing in it", ErrNoKey, v)
	}
	if text, err = json.Marshal(plain); err != nil {
		return nil, fmt.Errorf("idempotency: key of %T: %w", v, err)
	}
	sum := sha256.Sum256(text)
	return sum[:], nil
}

// replaced reports whether the encoder put a replacement for bytes that are
// not UTF-8, which it writes as an escape, and a real U+FFFD as itself.
func replaced(text []byte) bool {
	for i := 0; i+1 < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if bytes.HasPrefix(text[i:], []byte(`\ufffd`)) {
			return true
		}
		i++ // what it escapes
	}
	return false
}

func missing(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		for _, e := range v {
			if e != nil {
				return false
			}
		}
		return true
	case map[string]any:
		for _, e := range v {
			if e != nil {
				return false
			}
		}
		return true
	}
	return false
}
