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

	// Wait lets a request wait for the response of one with the same key that
	// is being handled, instead of 409.
	Wait bool
}

// Middleware returns a function that puts the header in front of a handler. It
// is safe for concurrent use, as the handlers that it makes are. The handler's
// response is held back until it is stored: it cannot be flushed or hijacked. One
// longer than the namespace's MaxResultBytes is passed on as it comes; it is
// noted that there was one, and who repeats the request gets 500 with a problem
// that says so.
func Middleware(k *idempotency.Namespace, o *Options) func(http.Handler) http.Handler {
	m := middleware{keys: k, methods: []string{http.MethodPost, http.MethodPatch}, maxBody: DefaultMaxBodyBytes}
	if o != nil {
		m.required, m.scope, m.wait = o.Required, o.Scope, o.Wait
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
	held := &recorder{w: w, header: make(http.Header), limit: m.keys.Config().MaxResultBytes}
	o := &idempotency.DoOptions{Fingerprint: fingerprint(r, body), NoWait: !m.wait}
	res, err := m.keys.Do(r.Context(), key, func(ctx context.Context, _ idempotency.Claim) ([]byte, error) {
		again := r.WithContext(ctx)
		again.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(held, again)
		return held.result()
	}, o)
	switch {
	case held.passed: // the client has it
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
	res, err := decodeResponse(stored)
	if err != nil {
		refused(err).write(w)
		return
	}
	if res.dropped {
		tooLong.write(w)
		return
	}
	for name, values := range res.header {
		w.Header()[name] = values
	}
	w.Header().Set(ReplayedHeader, "true")
	w.WriteHeader(res.status)
	_, _ = w.Write(res.body) // the client may be gone
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
