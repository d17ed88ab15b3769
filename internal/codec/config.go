// Package codec encodes what all layers store in one way: the JSON of a named object in the
// catalog, and the version of a binary value.
package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// ConfigVersion is the first member of what the catalog says of an object.
const ConfigVersion = 1

// Stored is what the catalog says of an object: the configuration that it was given, C,
// and what else is known of it, S. Times are nanoseconds since 1970.
type Stored[C, S any] struct {
	Version int   `json:"version"`
	Created int64 `json:"created"`
	Altered int64 `json:"altered,omitempty"` // 0 if it was not
	Config  C     `json:"config"`
	State   S     `json:"state,omitzero"`
}

// None is the state of an object that has none.
type None struct{}

// Encode returns the JSON of an object.
func (s Stored[C, S]) Encode() ([]byte, error) {
	s.Version = ConfigVersion
	return json.Marshal(s)
}

// Times returns when the object was created and altered; the latter is zero if it was not.
func (s Stored[C, S]) Times() (created, altered time.Time) {
	if s.Altered != 0 {
		altered = time.Unix(0, s.Altered)
	}
	return time.Unix(0, s.Created), altered
}

// Times returns when the object with that JSON was created and altered. It reads no more than
// that, so a list of thousands of objects whose configurations are in memory is quick.
func Times(text []byte) (created, altered time.Time, err error) {
	var s struct {
		Created int64 `json:"created"`
		Altered int64 `json:"altered"`
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return created, altered, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	created, altered = Stored[None, None]{Created: s.Created, Altered: s.Altered}.Times()
	return created, altered, nil
}

// Decode reads the JSON of an object, which what names. A member that it does not know
// is one of another version: to leave it out would change what the object promises.
func Decode[C, S any](what string, text []byte) (s Stored[C, S], err error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return s, fmt.Errorf("%w: configuration of %s: %w", store.ErrCorrupt, what, err)
	}
	if head.Version != ConfigVersion {
		return s, fmt.Errorf("%w: configuration of %s has version %d", store.ErrFormat, what, head.Version)
	}
	if err := decodeStrictly(text, &s); err != nil {
		return s, fmt.Errorf("%w: configuration of %s: %w", store.ErrFormat, what, err)
	}
	return s, nil
}

func decodeStrictly(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("something follows at byte %d", d.InputOffset())
	}
	return nil
}
