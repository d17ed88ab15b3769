package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestAPayloadIsReadableAndExact(t *testing.T) {
	for text, p := range map[string]payload{
		`null`:                   nil,
		`""`:                     {},
		`"text"`:                 payload("text"),
		`"\u2028\u0000\"\ufffd"`: payload("\u2028\x00\"\ufffd"),
		`{"base64":"/w=="}`:      {0xff},
	} {
		var back payload
		require.NoError(t, json.Unmarshal([]byte(text), &back), text)
		assert.Equal(t, p, back, text)
		assert.Equal(t, p, through(t, p), text)
	}
}

func TestAPayloadOfAnyBytesIsExact(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		p := payload(rapid.SliceOf(rapid.Byte()).Draw(r, "payload"))
		assert.Equal(r, p, through(r, p))
	})
}

// through returns what is left of a payload after a line of JSON.
func through(t require.TestingT, p payload) (back payload) {
	text, err := json.Marshal(p)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &back))
	return back
}
