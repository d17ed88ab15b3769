package admin

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	previewBytes = 4 << 10 // of a payload in a list
	fullBytes    = 1 << 20 // on a page of its own; the whole is downloaded
)

// payload is what is shown of a key, value or body.
type payload struct {
	Text   string `json:"text,omitempty" about:"If it is UTF-8."`
	Base64 []byte `json:"base64,omitempty" about:"Otherwise."`
	Bytes  int    `json:"bytes" about:"Length of the whole."`
	Cut    bool   `json:"cut,omitempty" about:"Whether this is the beginning only."`
	None   bool   `json:"none,omitempty" about:"Whether there is none, other than an empty one."`
}

// shown returns what may be shown of a payload.
func (g ground) shown(object, part string, b []byte) []byte {
	if b == nil {
		return nil
	}
	return g.options.Redact(Payload{Object: object, Part: part, Bytes: b})
}

// newPayload returns the first bytes of a payload that was redacted.
func newPayload(b []byte, limit int) payload {
	p := payload{Bytes: len(b), None: b == nil, Cut: len(b) > limit}
	if p.Cut {
		b = b[:limit]
		for n := 0; n < utf8.UTFMax && !utf8.Valid(b); n++ { // the cut may be in a character
			b = b[:len(b)-1]
		}
	}
	if readable(b) {
		p.Text = string(b)
	} else {
		p.Base64 = b
	}
	return p
}

// readable reports whether bytes are text.
func readable(b []byte) bool {
	return utf8.Valid(b) && !bytes.ContainsFunc(b, func(r rune) bool {
		return r == 0 || unicode.IsControl(r) && !strings.ContainsRune("\n\r\t", r)
	})
}

// Line is a payload in one line of a table.
func (p payload) Line() string {
	if p.None {
		return "none"
	}
	text := p.Text
	if p.Base64 != nil {
		text = "0x" + hex.EncodeToString(p.Base64[:min(len(p.Base64), lineChars/2)])
	}
	return cut(strings.Join(strings.Fields(text), " "), lineChars)
}

const lineChars = 120

// cut shortens a text to a number of characters.
func cut(text string, chars int) string {
	runes := []rune(text)
	if len(runes) <= chars {
		return text
	}
	return string(runes[:chars-1]) + "…"
}

// Kind says how Pretty shows the payload.
func (p payload) Kind() string {
	switch {
	case p.Base64 != nil:
		return "hex"
	case p.Bytes > 0 && json.Valid([]byte(p.Text)):
		return "JSON"
	}
	return "text"
}

// Pretty is JSON with indentation, other text as it is, and bytes as a hex dump.
func (p payload) Pretty() string {
	switch p.Kind() {
	case "hex":
		return hex.Dump(p.Base64)
	case "JSON":
		var b bytes.Buffer
		if json.Indent(&b, []byte(p.Text), "", "  ") == nil {
			return b.String()
		}
	}
	return p.Text
}

// header is a named value of a record or message.
type header struct {
	Name  string  `json:"name"`
	Value payload `json:"value"`
}

// download writes bytes as a file, which no browser opens.
func download(w http.ResponseWriter, name string, b []byte) error {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	_, _ = w.Write(b) // the client may have gone
	return nil
}
