package idemhttp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
)

// Limits and defaults.
const (
	HeaderName          = "Idempotency-Key"
	ReplayedHeader      = "Idempotent-Replayed"
	MaxKeyBytes         = 255
	DefaultMaxBodyBytes = 1 << 20
)

// Options say which requests need a key. Nil is the defaults.
type Options struct {
	// Methods that the header counts for; others pass through. Default: POST
	// and PATCH.
	Methods []string

	// Required refuses requests without a key. Default: they pass through.
	Required bool

	// Scope returns whose key it is, such as an account: keys of different
	// scopes are different. It should be set wherever clients do not trust one
	// another, as whoever knows a key and the request can read the response.
	// Default: all share one.
	Scope func(*http.Request) string

	// MaxBodyBytes is the longest request body, which is read into memory.
	// Default, also if it is negative: 1 MiB.
	MaxBodyBytes int64

	// Outcome returns whether the response of a request is what became of it, by its status:
	// then it is stored and replayed. Otherwise the client gets it, the key is free, and the
	// next request with the key is handled again. Default: DefaultOutcome.
	Outcome func(status int) bool

	// Wait lets a request wait for the response of one with the same key that
	// is being handled, instead of 409.
	Wait bool
}

// DefaultOutcome says which responses are stored unless Options.Outcome says otherwise. It
// excludes those that ask the client to try again: 408 (Request Timeout), 409 (Conflict), 425
// (Too Early), 429 (Too Many Requests) and 500 and above.
func DefaultOutcome(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status < 500
}

// Middleware returns a function that puts the header in front of a handler. It
// is safe for concurrent use, as the handlers that it makes are. The handler's
// response is held back until it is stored: it cannot be flushed or hijacked. One
// longer than the namespace's MaxResultBytes is passed on as it comes; it is
// noted that there was one, and who repeats the request gets 500 with a problem
// that says so.
func Middleware(k *idempotency.Namespace, o *Options) func(http.Handler) http.Handler {
	m := middleware{keys: k, methods: []string{http.MethodPost, http.MethodPatch}, maxBody: DefaultMaxBodyBytes, outcome: DefaultOutcome}
	if o != nil {
		m.required, m.scope, m.wait = o.Required, o.Scope, o.Wait
		if o.Outcome != nil {
			m.outcome = o.Outcome
		}
		if o.Methods != nil {
			m.methods = slices.Clone(o.Methods)
		}
		if o.MaxBodyBytes > 0 {
			m.maxBody = o.MaxBodyBytes
		}
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, next) })
	}
}

type middleware struct {
	keys     *idempotency.Namespace
	methods  []string
	required bool
	wait     bool
	scope    func(*http.Request) string
	maxBody  int64
	outcome  func(status int) bool
}

func (m *middleware) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if !slices.Contains(m.methods, r.Method) {
		next.ServeHTTP(w, r)
		return
	}
	key, err := parseKey(r.Header.Values(HeaderName))
	switch {
	case errors.Is(err, errMissing) && !m.required:
		next.ServeHTTP(w, r)
		return
	case err != nil:
		badKey(err).write(w)
		return
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, m.maxBody))
	if err != nil {
		badBody(err).write(w)
		return
	}
	m.once(w, r, next, m.storeKey(r, key), body)
}

// errAgain releases the key of a response that is not to be replayed.
var errAgain = errors.New("not stored")

func (m *middleware) once(w http.ResponseWriter, r *http.Request, next http.Handler, key, body []byte) {
	held := &recorder{w: w, header: make(http.Header), limit: m.keys.Config().MaxResultBytes, outcome: m.outcome}
	o := &idempotency.DoOptions{Fingerprint: fingerprint(r, body), NoWait: !m.wait}
	committed := false
	res, err := m.keys.Do(r.Context(), key, func(ctx context.Context, claim idempotency.Claim) (stored []byte, err error) {
		again := r.WithContext(context.WithValue(ctx, claimKey{}, claim))
		again.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(held, again)
		if stored, committed = claim.Completed(); committed {
			return stored, nil
		}
		return held.result()
	}, o)
	switch {
	case held.passed: // the client has it
	case committed && err == nil: // whatever the handler has written since
		write(w, res.Value)
	case errors.Is(err, errAgain):
		held.send()
	case err != nil:
		refused(err).write(w)
	case res.Replayed:
		replay(w, res.Value)
	default:
		held.send()
	}
}

// storeKey returns the key under which a request is stored. A scope goes in
// front with a fixed length, so that no two pairs run into one another.
func (m *middleware) storeKey(r *http.Request, key string) []byte {
	if m.scope == nil {
		return []byte(key)
	}
	sum := sha256.Sum256([]byte(m.scope(r)))
	return append(sum[:], key...)
}

// fingerprint tells requests apart: their method, path and query, and body.
func fingerprint(r *http.Request, body []byte) []byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(r.Method), []byte(r.URL.RequestURI()), body} {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) // a hash never fails
		_, _ = h.Write(part)
	}
	return h.Sum(nil)
}

func replay(w http.ResponseWriter, stored []byte) {
	w.Header().Set(ReplayedHeader, "true")
	write(w, stored)
}

// write gives the client a stored response.
func write(w http.ResponseWriter, stored []byte) {
	res, err := decodeResponse(stored)
	switch {
	case err != nil:
		w.Header().Del(ReplayedHeader)
		refused(err).write(w)
	case res.dropped:
		w.Header().Del(ReplayedHeader)
		tooLong.write(w)
	default:
		Response{Status: res.status, Header: res.header, Body: res.body}.Write(w)
	}
}

// refused says what became of a request that has no response.
func refused(err error) problem {
	switch {
	case errors.Is(err, idempotency.ErrInProgress):
		return problem{http.StatusConflict, "A request with this Idempotency-Key is being handled", "Send it again later."}
	case errors.Is(err, idempotency.ErrMismatch):
		return problem{http.StatusUnprocessableEntity, "This Idempotency-Key was used with another request",
			"A key stands for one request: the same method, path, query and body."}
	case errors.Is(err, idempotency.ErrNotStored), errors.Is(err, idempotency.ErrLeaseLost):
		return problem{http.StatusInternalServerError, "The response could not be stored",
			"The request may have taken effect. To send it again may repeat that."}
	case errors.Is(err, pebblemq.ErrDiskFull), errors.Is(err, pebblemq.ErrClosed), errors.Is(err, pebblemq.ErrFailed),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return problem{http.StatusServiceUnavailable, "The request was not handled", "It had no effect. Send it again later."}
	}
	return problem{http.StatusInternalServerError, "The request could not be looked up", ""}
}
