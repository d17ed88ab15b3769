package idemhttp_test

import (
	"context"
	"net/http"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/idempotency/idemhttp"
)

func TestAHandlerThatExitsItsGoroutineFreesTheKey(t *testing.T) {
	for name, fail := range map[string]func(){"panics": func() { panic(http.ErrAbortHandler) }, "exits": runtime.Goexit} {
		for where, o := range map[string]*idemhttp.Options{
			"the handler": {Wait: true},
			"the scope":   {Wait: true, Scope: func(*http.Request) string { fail(); return "" }},
		} {
			t.Run(where+" "+name, func(t *testing.T) {
				c := &counter{f: func(http.ResponseWriter, *http.Request) { fail() }}
				h, db := serve(t, nil, o, c)
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					defer func() { _ = recover() }()
					send(h, "POST", "/", "k", "")
				}()
				<-ended
				o.Scope, c.f = nil, nil
				k, err := idempotency.OpenNamespace(context.Background(), db, "requests", nil)
				require.NoError(t, err)
				again := idemhttp.Middleware(k, o)(c)
				require.Equal(t, http.StatusCreated, send(again, "POST", "/", "k", "").Code)
			})
		}
	}
}
