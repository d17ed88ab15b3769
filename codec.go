package pebblemq

import (
	"encoding/json"
	"fmt"
)

// Codec makes payloads of values of type T, and values of payloads. The functions Typed of
// packages log, workqueue and visibility take one. Its methods are called concurrently. If one
// panics, that is an error.
//
// A Codec may also have the method ContentType() string. Its result is the ContentType of
// messages of package workqueue that have none.
type Codec[T any] interface {
	// Encode returns the payload of a value. Its bytes are not kept.
	Encode(value T) ([]byte, error)

	// Decode returns the value of a payload. It must neither change the payload nor keep a part
	// of it.
	Decode(payload []byte) (T, error)
}

// CodecError reports a value that a Codec cannot encode, or a payload that it cannot decode.
// The same attempt will fail again, so Run makes such a message a dead letter at once.
type CodecError struct {
	Verb string // "encode" or "decode"
	What string // such as `message "a" of queue "orders"`
	Err  error  // of the Codec
}

// Error names the object, the message and what the Codec said.
func (e *CodecError) Error() string {
	return fmt.Sprintf("pebblemq: cannot %s %s: %v", e.Verb, e.What, e.Err)
}

// Unwrap returns the error of the Codec.
func (e *CodecError) Unwrap() error { return e.Err }

// JSON returns the Codec of package encoding/json. Its content type is "application/json".
// Fields that T does not have are ignored, as by json.Unmarshal.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Encode(value T) ([]byte, error) { return json.Marshal(value) }

func (jsonCodec[T]) Decode(payload []byte) (value T, err error) {
	err = json.Unmarshal(payload, &value)
	return value, err
}

func (jsonCodec[T]) ContentType() string { return "application/json" }
