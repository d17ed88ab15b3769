package admin

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"io/fs"
	"net/http"
	"time"

	"github.com/pebblemq/pebblemq"
)

//go:embed web/*
var web embed.FS

//go:embed openapi.json
var openapi []byte

// ground is what everything in this package stands on.
type ground struct {
	db      *pebblemq.DB
	options Options
	census  *census
}

// site answers requests.
type site struct {
	ground
	secret      []byte // of the tokens; a restart makes new ones
	crossOrigin *http.CrossOriginProtection
	pages       map[string]*template.Template
}

// Handler returns the pages and the API for a store. It is safe for concurrent use and needs no closing.
// Nil options are the defaults. Mount it under Options.BasePath and a slash. If the options make no
// sense, every answer is that error.
func Handler(db *pebblemq.DB, o *Options) http.Handler {
	options, problem := o.complete()
	if problem != "" {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, problem, http.StatusInternalServerError)
		})
	}
	s := &site{
		ground: ground{db, options, newCensus(db)}, secret: random(),
		crossOrigin: http.NewCrossOriginProtection(), pages: parsePages(),
	}
	mux := http.NewServeMux()
	for _, rt := range routes(s.ground, historyOf(db)) {
		s.register(mux, rt)
	}
	files, _ := fs.Sub(web, "web") // it is there, or the program would not compile
	for _, name := range []string{"style.css", "live.js"} {
		mux.HandleFunc("GET "+options.BasePath+"/"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-cache")
			http.ServeFileFS(w, r, files, name)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protect(w.Header())
		mux.ServeHTTP(w, r)
	})
}

// fail answers with an error.
func (s *site) fail(w http.ResponseWriter, r *http.Request, asJSON bool, err error) {
	status := statusOf(err)
	if asJSON {
		writeJSON(w, status, failure{Error: err.Error()})
		return
	}
	s.render(w, r, status, "error", "Error", errorPage{Status: status, Text: err.Error()})
}

// failure is the JSON form of an error.
type failure struct {
	Error string `json:"error"`
}

type errorPage struct {
	Status int
	Text   string
}

func (e errorPage) Name() string { return http.StatusText(e.Status) }

func writeJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	if err := e.Encode(v); err != nil { // a bug: the test of the API encodes every answer
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client may have gone
}

// seconds is how the API tells durations.
func seconds(d time.Duration) float64 { return d.Seconds() }
