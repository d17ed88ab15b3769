// Package payload calls the codecs of applications for log, workqueue and visibility.
package payload

import (
	"fmt"
	"runtime/debug"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Encode returns the payload of a value, which is never nil, and the content type of the codec
// if it has one. What says which value it is, for errors.
func Encode[T any](c pebblemq.Codec[T], what func() string, value T) (payload []byte, contentType string, err error) {
	err = guard(c, "encode", what, func() (err error) {
		if typed, ok := c.(interface{ ContentType() string }); ok {
			contentType = typed.ContentType()
		}
		payload, err = c.Encode(value)
		return err
	})
	switch {
	case err != nil:
		return nil, "", err
	case payload == nil:
		payload = []byte{}
	}
	return payload, contentType, nil
}

// Decode returns the value of a payload. What says which payload it is, for errors.
func Decode[T any](c pebblemq.Codec[T], what func() string, payload []byte) (value T, err error) {
	err = guard(c, "decode", what, func() (err error) {
		value, err = c.Decode(payload)
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return value, nil
}

// guard calls a codec. A panic is an error.
func guard[T any](c pebblemq.Codec[T], verb string, what func() string, call func() error) (err error) {
	if c == nil {
		return store.Invalid("codec is nil")
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("codec panicked: %v\n%s", p, debug.Stack())
		}
		if err != nil {
			err = &pebblemq.CodecError{Verb: verb, What: what(), Err: err}
		}
	}()
	return call()
}
