package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"unicode/utf8"
)

// payload is bytes that JSON holds exactly: null for nil, a string if they are UTF-8, and
// {"base64": "…"} otherwise.
type payload []byte

type binary struct {
	Base64 []byte `json:"base64"`
}

// MarshalJSON returns one of the three forms.
func (p payload) MarshalJSON() ([]byte, error) {
	switch {
	case p == nil:
		return []byte("null"), nil
	case utf8.Valid(p):
		return json.Marshal(string(p))
	}
	return json.Marshal(binary{p})
}

// UnmarshalJSON reads them.
func (p *payload) UnmarshalJSON(text []byte) error {
	*p = nil
	switch {
	case string(text) == "null":
		return nil
	case text[0] == '"':
		var s string
		err := json.Unmarshal(text, &s)
		*p = []byte(s)
		return err
	}
	var b binary
	err := json.Unmarshal(text, &b)
	*p = b.Base64
	return err
}

// String returns the text, or the first bytes in hexadecimal.
func (p payload) String() string {
	if utf8.Valid(p) {
		return string(p)
	}
	return hex.EncodeToString(p[:min(len(p), cellWidth)])
}

// decodePayload returns the bytes of an argument.
func decodePayload(text string, isBase64 bool) ([]byte, error) {
	if !isBase64 {
		return []byte(text), nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, usageError{err}
	}
	return b, nil
}
