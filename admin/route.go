package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strings"

	"github.com/pebblemq/pebblemq"
)

// api is where the JSON form of every route is.
const api = "/api/v1"

// route is one thing that a client may ask for.
type route struct {
	name   string // of the operation, unique
	about  string // what it does, in a sentence
	method string
	path   string // a pattern of http.ServeMux without the method
	change bool
	page   string // template of the page, or none
	back   string // of a change: the path of the page that follows it, relative to its own
	in     reflect.Type
	out    reflect.Type // nil if the route streams
	media  string       // content type of the stream

	run    func(ctx context.Context, in any) (any, error)
	stream func(w http.ResponseWriter, r *http.Request, in any) error
}

// changed is the answer to every change.
type changed struct {
	Done   string         `json:"done" about:"What happened, in a sentence."`
	Object string         `json:"object" about:"The object that was changed."`
	Before map[string]any `json:"before,omitempty" about:"What the change has replaced."`
	After  map[string]any `json:"after,omitempty" about:"What is there now."`
}

// look makes a route that shows something, as a page and as JSON.
func look[I, O any](name, path, page, about string, f func(context.Context, I) (O, error)) route {
	return route{
		name: name, about: about, method: http.MethodGet, path: path, page: page,
		in: reflect.TypeFor[I](), out: reflect.TypeFor[O](),
		run: func(ctx context.Context, in any) (any, error) { return f(ctx, in.(I)) },
	}
}

// change makes a route that changes something. Back is the page that follows.
func change[I any](name, path, back, about string, f func(context.Context, I) (changed, error)) route {
	return route{
		name: name, about: about, method: http.MethodPost, path: path, change: true, back: back,
		in: reflect.TypeFor[I](), out: reflect.TypeFor[changed](),
		run: func(ctx context.Context, in any) (any, error) { return f(ctx, in.(I)) },
	}
}

// stream makes a route that writes its answer itself. An error that it returns before it has written
// anything is the answer.
func stream[I any](name, method, path, media, about string, f func(http.ResponseWriter, *http.Request, I) error) route {
	return route{
		name: name, about: about, method: method, path: path, change: method != http.MethodGet, media: media,
		in:     reflect.TypeFor[I](),
		stream: func(w http.ResponseWriter, r *http.Request, in any) error { return f(w, r, in.(I)) },
	}
}

// register adds the forms of a route to a mux.
func (s *site) register(mux *http.ServeMux, rt route) {
	base := s.options.BasePath
	switch {
	case rt.stream != nil:
		mux.Handle(rt.method+" "+base+rt.path, s.answer(rt, true))
	case rt.page == "overview":
		mux.Handle("GET "+base+"/{$}", s.answer(rt, false))
		mux.Handle("GET "+base+api+rt.path, s.answer(rt, true))
	default:
		mux.Handle(rt.method+" "+base+rt.path, s.answer(rt, false))
		mux.Handle(rt.method+" "+base+api+rt.path, s.answer(rt, true))
	}
}

// answer returns the handler of one form of a route.
func (s *site) answer(rt route, asJSON bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fail := func(err error) { s.fail(w, r, asJSON, err) }
		in, err := s.admit(w, r, rt)
		if err != nil {
			s.auditRefusal(r, rt, err)
			fail(err)
			return
		}
		if rt.stream != nil {
			if err := rt.stream(w, r, in); err != nil {
				fail(err)
			}
			return
		}
		out, err := rt.run(r.Context(), in)
		if rt.change {
			s.census.forget()
			s.audit(r, rt, out, err)
		}
		switch {
		case err != nil:
			fail(err)
		case asJSON:
			writeJSON(w, http.StatusOK, out)
		case rt.change:
			s.goBack(w, r, rt, out.(changed))
		default:
			s.show(w, r, rt, out)
		}
	})
}

// admit says whether a request is served, and reads its parameters.
func (s *site) admit(w http.ResponseWriter, r *http.Request, rt route) (in any, err error) {
	if err := s.options.Authorize(r, Action{Name: rt.name, Change: rt.change}); err != nil {
		return nil, denied{err}
	}
	if rt.change {
		if s.options.ReadOnly {
			return nil, refusal{http.StatusForbidden, "the page is read-only: Options.ReadOnly is set"}
		}
		if err := s.crossOrigin.Check(r); err != nil {
			return nil, refusal{http.StatusForbidden, "the request comes from another site: " + err.Error()}
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	}
	in, err = readInput(r, rt)
	if err != nil {
		return nil, err
	}
	if rt.change && isForm(r) && !s.validToken(r) {
		return nil, refusal{http.StatusForbidden, "the form is too old, or not one of this page; load the page again"}
	}
	return in, nil
}

// goBack shows the page that a change was made from, with what happened.
func (s *site) goBack(w http.ResponseWriter, r *http.Request, rt route, done changed) {
	s.setNotice(w, r, done.Done)
	http.Redirect(w, r, resolve(r.URL.EscapedPath(), rt.back), http.StatusSeeOther)
}

// resolve returns a path relative to another, in which .. is the parent.
func resolve(path, relative string) string {
	u := url.URL{Path: path + "/"}
	if p, err := url.PathUnescape(path); err == nil {
		u = url.URL{Path: p + "/", RawPath: path + "/"}
	}
	return strings.TrimSuffix(u.JoinPath(relative).EscapedPath(), "/")
}

// refusal is an error with a status of HTTP.
type refusal struct {
	status int
	text   string
}

func (e refusal) Error() string { return e.text }

// denied is an error of Authorize.
type denied struct{ error }

func (e denied) Unwrap() error { return e.error }

// statusOf returns the status of HTTP that an error means.
func statusOf(err error) int {
	var refused refusal
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &refused):
		return refused.status
	case errors.As(err, new(denied)):
		return http.StatusForbidden
	case errors.As(err, &tooLarge), errors.Is(err, pebblemq.ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, pebblemq.ErrNotFound), errors.Is(err, pebblemq.ErrDeleted):
		return http.StatusNotFound
	case errors.Is(err, pebblemq.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, pebblemq.ErrFull), errors.Is(err, pebblemq.ErrConfigMismatch), conflicts(err):
		return http.StatusConflict
	case errors.Is(err, pebblemq.ErrDiskFull), errors.Is(err, pebblemq.ErrFailed), errors.Is(err, pebblemq.ErrClosed):
		return http.StatusServiceUnavailable
	case errors.Is(err, context.Canceled), errors.Is(err, io.ErrUnexpectedEOF):
		return 499 // the client has gone
	}
	return http.StatusInternalServerError
}

var parameter = regexp.MustCompile(`\{([a-z]+)\}`)

// pathParameters returns the names in the pattern of a path.
func pathParameters(path string) (names []string) {
	for _, m := range parameter.FindAllStringSubmatch(path, -1) {
		names = append(names, m[1])
	}
	return names
}
