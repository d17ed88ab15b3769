package idemhttp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/textproto"

	"github.com/pebblemq/pebblemq"
)

// The result of a key:
//
//	version 1 B | dropped 1 B | status 2 B | header length 4 B | header | body
//
// The header is as on the wire, with the empty line after it. Dropped is 1, and
// header and body are empty, if the response was too long to be stored.
const (
	responseVersion = 1
	responseHead    = 1 + 1 + 2 + 4
)

type response struct {
	dropped bool
	status  int
	header  http.Header
	body    []byte
}

func (r response) encode() ([]byte, error) {
	var head bytes.Buffer
	if !r.dropped {
		if err := r.header.Write(&head); err != nil {
			return nil, err
		}
		head.WriteString("\r\n")
	}
	v := make([]byte, 0, responseHead+head.Len()+len(r.body))
	v = append(v, responseVersion, 0)
	if r.dropped {
		v[1] = 1
	}
	v = binary.BigEndian.AppendUint16(v, uint16(r.status))
	v = binary.BigEndian.AppendUint32(v, uint32(head.Len()))
	v = append(v, head.Bytes()...)
	return append(v, r.body...), nil
}

func decodeResponse(v []byte) (response, error) {
	if len(v) == 0 {
		return response{}, damaged("empty")
	}
	if v[0] != responseVersion {
		return response{}, fmt.Errorf("%w: stored response has version %d", pebblemq.ErrFormat, v[0])
	}
	if len(v) < responseHead || v[1] > 1 {
		return response{}, damaged("%x", v[:min(len(v), responseHead)])
	}
	r := response{dropped: v[1] == 1, status: int(binary.BigEndian.Uint16(v[2:]))}
	rest, n := v[responseHead:], binary.BigEndian.Uint32(v[4:])
	switch {
	case uint64(n) > uint64(len(rest)), r.status < 200 || r.status > 999:
		return response{}, damaged("%x", v[:responseHead])
	case r.dropped && len(rest) > 0:
		return response{}, damaged("a dropped one has a body")
	case r.dropped:
		return r, nil
	}
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(rest[:n]))).ReadMIMEHeader()
	if err != nil {
		return response{}, damaged("header: %v", err)
	}
	r.header, r.body = http.Header(header), rest[n:]
	return r, nil
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: stored response: %s", pebblemq.ErrCorrupt, fmt.Sprintf(format, args...))
}

// recorder holds a response back until it is stored. One that gets too long is
// passed on from there.
type recorder struct {
	w      http.ResponseWriter
	header http.Header // the handler's
	sent   http.Header // what it was when the status was written
	limit  int
	status int
	body   bytes.Buffer
	passed bool

	outcome func(status int) bool
}

// Header returns the headers of the response, as http.ResponseWriter does.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader takes the first final status.
func (r *recorder) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999:
		panic(fmt.Sprintf("idemhttp: status %d", status)) // like net/http, for the handler to see
	case r.status == 0 && status >= 200:
		r.status = status
		r.sent = r.header.Clone() // later changes do not count
	}
}

// Write keeps what it can and passes the rest on.
func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		if r.header.Get("Content-Type") == "" {
			r.header.Set("Content-Type", http.DetectContentType(p))
		}
		r.WriteHeader(http.StatusOK)
	}
	if !r.passed && r.body.Len()+len(p) > r.limit {
		r.send()
		r.passed = true
		r.body = bytes.Buffer{}
	}
	if r.passed {
		return r.w.Write(p)
	}
	return r.body.Write(p)
}

// send gives the client what is held back.
func (r *recorder) send() {
	for name, values := range r.sent {
		r.w.Header()[name] = values
	}
	r.w.WriteHeader(r.status)
	_, _ = r.w.Write(r.body.Bytes()) // the client may be gone
}

// result returns what is to be stored, once the handler is through.
func (r *recorder) result() ([]byte, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if !r.outcome(r.status) {
		return nil, errAgain
	}
	if !r.passed {
		v, err := response{status: r.status, header: r.sent, body: r.body.Bytes()}.encode()
		if err != nil || len(v) <= r.limit {
			return v, err
		}
	}
	return response{dropped: true, status: r.status}.encode()
}
