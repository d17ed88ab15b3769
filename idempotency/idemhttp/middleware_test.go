package idemhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/idempotency/idemhttp"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/stretchr/testify/require"
)

// counter is a handler that answers with the number of its run and the body.
type counter struct {
	mu   sync.Mutex
	runs int
	f    func(http.ResponseWriter, *http.Request)
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.runs++
	n := c.runs
	c.mu.Unlock()
	if c.f != nil {
		c.f(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Location", fmt.Sprintf("/payments/%d", n))
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, "run %d: %s", n, body)
}

func serve(t *testing.T, c *idempotency.Config, o *idemhttp.Options, h http.Handler) (http.Handler, *pebblemq.DB) {
	t.Helper()
	db := storetest.Open(t, nil)
	k, err := idempotency.OpenNamespace(context.Background(), db, "requests", c)
	require.NoError(t, err)
	return idemhttp.Middleware(k, o)(h), db
}

func send(h http.Handler, method, path, key, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func requireProblem(t *testing.T, status int, title string, w *httptest.ResponseRecorder) {
	t.Helper()
	require.Equal(t, status, w.Code, w.Body.String())
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	require.Contains(t, w.Body.String(), title)
}

func TestTheSameRequestGetsTheSameResponse(t *testing.T) {
	c := &counter{}
	h, _ := serve(t, nil, nil, c)
	first := send(h, "POST", "/payments?x=1", `"k"`, "10")
	require.Equal(t, 201, first.Code)
	require.Equal(t, "run 1: 10", first.Body.String())
	require.Empty(t, first.Header().Get(idemhttp.ReplayedHeader))
	again := send(h, "POST", "/payments?x=1", "k", "10")
	require.Equal(t, 201, again.Code)
	require.Equal(t, "run 1: 10", again.Body.String())
	require.Equal(t, "/payments/1", again.Header().Get("Location"))
	require.Equal(t, "true", again.Header().Get(idemhttp.ReplayedHeader))
	require.Equal(t, 1, c.runs)
}

func TestAnotherRequestUnderTheKeyIs422(t *testing.T) {
	c := &counter{}
	h, _ := serve(t, nil, nil, c)
	require.Equal(t, 201, send(h, "POST", "/a", "k", "b").Code)
	for _, w := range []*httptest.ResponseRecorder{
		send(h, "POST", "/a", "k", "other"), send(h, "POST", "/a?b", "k", "b"), send(h, "PATCH", "/a", "k", "b"), send(h, "POST", "/ab", "k", ""),
	} {
		requireProblem(t, 422, "used with another request", w)
	}
	require.Equal(t, 1, c.runs)
}

func TestWhichRequestsNeedAKey(t *testing.T) {
	for name, c := range map[string]struct {
		o           *idemhttp.Options
		method, key string
		want        int
	}{
		"none given, none required":  {nil, "POST", "", 201},
		"none given, one required":   {&idemhttp.Options{Required: true}, "POST", "", 400},
		"an empty one":               {&idemhttp.Options{Required: true}, "POST", `""`, 400},
		"a method that does not":     {&idemhttp.Options{Required: true}, "GET", "", 201},
		"a method that was added":    {&idemhttp.Options{Required: true, Methods: []string{"PUT"}}, "PUT", "", 400},
		"a method that was left out": {&idemhttp.Options{Required: true, Methods: []string{"PUT"}}, "POST", "", 201},
		"one that is not closed":     {nil, "POST", `"k`, 400},
		"one with a control byte":    {nil, "POST", "a\x01b", 400},
		"one that needs quotes":      {nil, "POST", "a b", 400},
		"one with a parameter":       {nil, "POST", `"a";b=1`, 400},
		"one that ends in escape":    {nil, "POST", `"a\"`, 400},
		"one of the limit":           {nil, "POST", strings.Repeat("k", idemhttp.MaxKeyBytes), 201},
		"one over the limit":         {nil, "POST", strings.Repeat("k", idemhttp.MaxKeyBytes+1), 400},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := serve(t, nil, c.o, &counter{})
			w := send(h, c.method, "/", c.key, "")
			require.Equal(t, c.want, w.Code, w.Body.String())
			if c.want == 400 {
				requireProblem(t, 400, "Idempotency-Key is missing or not valid", w)
			}
		})
	}
	t.Run("two", func(t *testing.T) {
		h, _ := serve(t, nil, nil, &counter{})
		r := httptest.NewRequest("POST", "/", nil)
		r.Header["Idempotency-Key"] = []string{"a", "b"}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		requireProblem(t, 400, "it is there 2 times", w)
	})
}

func TestASecondRequestWhileTheFirstIsHandled(t *testing.T) {
	for name, wait := range map[string]bool{"is 409": false, "waits, if asked": true} {
		t.Run(name, func(t *testing.T) {
			started, finish := make(chan struct{}), make(chan struct{})
			h, _ := serve(t, nil, &idemhttp.Options{Wait: wait}, &counter{f: func(w http.ResponseWriter, _ *http.Request) {
				close(started)
				<-finish
				_, _ = io.WriteString(w, "done")
			}})
			first := make(chan *httptest.ResponseRecorder)
			go func() { first <- send(h, "POST", "/", "k", "") }()
			<-started
			if wait {
				second := make(chan *httptest.ResponseRecorder)
				go func() { second <- send(h, "POST", "/", "k", "") }()
				close(finish)
				require.Equal(t, "done", (<-second).Body.String())
			} else {
				requireProblem(t, 409, "is being handled", send(h, "POST", "/", "k", ""))
				requireProblem(t, 422, "used with another request", send(h, "POST", "/", "k", "other"))
				close(finish)
			}
			require.Equal(t, "done", (<-first).Body.String())
		})
	}
}

func TestAResponseOf500OrAboveFreesTheKey(t *testing.T) {
	c := &counter{f: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "busy", http.StatusServiceUnavailable) }}
	h, _ := serve(t, nil, nil, c)
	require.Equal(t, 503, send(h, "POST", "/", "k", "").Code)
	c.f = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no money", http.StatusPaymentRequired) }
	require.Equal(t, 402, send(h, "POST", "/", "k", "").Code)
	require.Equal(t, "no money\n", send(h, "POST", "/", "k", "").Body.String())
	require.Equal(t, 2, c.runs)
}

func TestAResponseThatIsNoOutcomeIsNotStored(t *testing.T) {
	answer := func(status int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	for status, again := range map[int]bool{200: false, 204: false, 301: false, 400: false, 402: false, 404: false, 422: false,
		408: true, 409: true, 425: true, 429: true, 500: true, 503: true} {
		c := &counter{f: answer(status)}
		h, _ := serve(t, nil, nil, c)
		for range 2 {
			require.Equal(t, status, send(h, "POST", "/", "k", "").Code)
		}
		require.Equal(t, again, c.runs == 2, status)
	}
	c := &counter{f: answer(404)}
	h, _ := serve(t, nil, &idemhttp.Options{Outcome: func(status int) bool { return status != 404 }}, c)
	require.Equal(t, 404, send(h, "POST", "/", "k", "").Code)
	c.f = answer(500)
	for range 2 {
		require.Equal(t, 500, send(h, "POST", "/", "k", "").Code)
	}
	require.Equal(t, 2, c.runs)
}

func TestAnEffectInTheStoreIsInOneCommitWithTheResponse(t *testing.T) {
	var db *pebblemq.DB
	spoil := errors.New("refused")
	var after error // of the transaction
	c := &counter{f: func(w http.ResponseWriter, r *http.Request) {
		answer := idemhttp.Response{Status: 201, Header: http.Header{"Location": {"/1"}}, Body: []byte("made")}
		err := db.Update(r.Context(), func(tx *pebblemq.Tx) error {
			n, err := tx.Get([]byte("effects"))
			return errors.Join(err, tx.Set([]byte("effects"), append(n, 'x')), answer.Store(r.Context(), tx), after)
		})
		if err != nil {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("X-Late", "does not count")
		http.Error(w, "something failed after the commit", http.StatusInternalServerError)
	}}
	h, db := serve(t, nil, nil, c)
	effects := func() (v []byte) {
		require.NoError(t, db.View(context.Background(), func(tx *pebblemq.Tx) (err error) { v, err = tx.Get([]byte("effects")); return err }))
		return v
	}
	after = spoil
	require.Equal(t, 503, send(h, "POST", "/", "k", "").Code, "neither of the two happened")
	require.Empty(t, effects())
	after = nil
	for n, replayed := range []string{"", "true"} {
		w := send(h, "POST", "/", "k", "")
		require.Equal(t, 201, w.Code)
		require.Equal(t, "made", w.Body.String())
		require.Equal(t, "/1", w.Header().Get("Location"))
		require.Empty(t, w.Header().Get("X-Late"))
		require.Equal(t, replayed, w.Header().Get("Idempotent-Replayed"), n)
	}
	require.Equal(t, "x", string(effects()))
	require.Equal(t, 500, send(h, "POST", "/", "", "").Code, "without a key the handler writes it")
	require.Equal(t, "xx", string(effects()))
}

func TestAnEffectIsThereOnceEvenIfTheHandlerPanicsAfterTheCommit(t *testing.T) {
	var db *pebblemq.DB
	c := &counter{f: func(_ http.ResponseWriter, r *http.Request) {
		claim, ok := idemhttp.ClaimOf(r.Context())
		require.True(t, ok)
		require.Equal(t, "k", string(claim.Key))
		require.NoError(t, db.Update(r.Context(), func(tx *pebblemq.Tx) error {
			return idemhttp.Response{Status: 202}.Store(r.Context(), tx)
		}))
		panic(http.ErrAbortHandler)
	}}
	h, db := serve(t, nil, nil, c)
	require.Panics(t, func() { send(h, "POST", "/", "k", "") })
	require.Equal(t, 202, send(h, "POST", "/", "k", "").Code)
	require.Equal(t, 1, c.runs)
}

func TestAResponseThatCannotBeStoredRefusesTheTransaction(t *testing.T) {
	var db *pebblemq.DB
	for _, answer := range []idemhttp.Response{{}, {Status: 100}, {Status: 200, Body: make([]byte, 100)}} {
		c := &counter{f: func(w http.ResponseWriter, r *http.Request) {
			err := db.Update(r.Context(), func(tx *pebblemq.Tx) error {
				return errors.Join(tx.Set([]byte("effect"), []byte("x")), answer.Store(r.Context(), tx))
			})
			require.Error(t, err)
			w.WriteHeader(http.StatusBadRequest)
		}}
		var h http.Handler
		h, db = serve(t, &idempotency.Config{MaxResultBytes: 50}, nil, c)
		require.Equal(t, 400, send(h, "POST", "/", "k", "").Code)
		require.NoError(t, db.View(context.Background(), func(tx *pebblemq.Tx) error {
			v, err := tx.Get([]byte("effect"))
			require.Nil(t, v)
			return err
		}))
	}
}

func TestAPanicOfTheHandlerFreesTheKey(t *testing.T) {
	c := &counter{f: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }}
	h, _ := serve(t, nil, nil, c)
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { send(h, "POST", "/", "k", "") })
	c.f = nil
	require.Equal(t, "run 2: ", send(h, "POST", "/", "k", "").Body.String())
}

func TestBodiesOverTheLimit(t *testing.T) {
	t.Run("of a request are refused", func(t *testing.T) {
		c := &counter{}
		h, _ := serve(t, nil, &idemhttp.Options{MaxBodyBytes: 4}, c)
		require.Equal(t, 201, send(h, "POST", "/", "n", "1234").Code)
		requireProblem(t, 413, "The limit is 4 bytes", send(h, "POST", "/", "n+1", "12345"))
		require.Equal(t, 1, c.runs)
	})
	t.Run("of a response pass through once", func(t *testing.T) {
		for _, size := range []int{100, 1000, 5000} {
			c := &counter{f: func(w http.ResponseWriter, _ *http.Request) {
				for range size {
					_, _ = io.WriteString(w, "x")
				}
			}}
			h, _ := serve(t, &idempotency.Config{MaxResultBytes: 1000}, nil, c)
			first := send(h, "POST", "/", "k", "")
			require.Equal(t, 200, first.Code)
			require.Equal(t, size, first.Body.Len())
			second := send(h, "POST", "/", "k", "")
			if size < 900 {
				require.Equal(t, first.Body.String(), second.Body.String())
			} else {
				requireProblem(t, 500, "too long to be stored", second)
			}
			require.Equal(t, 1, c.runs, "the effect is not repeated")
		}
	})
}

func TestKeysOfDifferentScopesAreDifferent(t *testing.T) {
	c := &counter{}
	h, _ := serve(t, nil, &idemhttp.Options{Scope: func(r *http.Request) string { return r.URL.Query().Get("user") }}, c)
	require.Equal(t, "run 1: ", send(h, "POST", "/?user=a", "bk", "").Body.String())
	require.Equal(t, "run 2: ", send(h, "POST", "/?user=ab", "k", "").Body.String())
	require.Equal(t, "run 1: ", send(h, "POST", "/?user=a", "bk", "").Body.String())
}

func TestWhatAHandlerCanDoWithItsResponse(t *testing.T) {
	c := &counter{f: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("X-Many", "a")
		w.Header().Add("X-Many", "b")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusAccepted)
		w.WriteHeader(http.StatusTeapot) // the first one counts
		w.Header().Set("X-Late", "too late")
		_, _ = w.Write([]byte("<html>"))
	}}
	h, _ := serve(t, nil, nil, c)
	for range 2 {
		w := send(h, "POST", "/", "k", "")
		require.Equal(t, 202, w.Code)
		require.Equal(t, []string{"a", "b"}, w.Header()["X-Many"])
		require.Empty(t, w.Header().Get("X-Late"))
		require.Equal(t, "<html>", w.Body.String())
	}
	c.f = func(http.ResponseWriter, *http.Request) {}
	for range 2 {
		w := send(h, "POST", "/", "empty", "")
		require.Equal(t, 200, w.Code)
		require.Zero(t, w.Body.Len())
	}
	require.Equal(t, 2, c.runs)
}

func TestAStoreThatIsClosedIs503(t *testing.T) {
	c := &counter{}
	h, db := serve(t, nil, nil, c)
	require.NoError(t, db.Close())
	requireProblem(t, 503, "had no effect", send(h, "POST", "/", "k", ""))
	require.Zero(t, c.runs)
}

func TestAClientThatIsGone(t *testing.T) {
	c := &counter{}
	h, _ := serve(t, nil, nil, c)
	ctx, cancel := context.WithCancel(context.Background())
	c.f = func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
		w.WriteHeader(201)
	}
	r := httptest.NewRequestWithContext(ctx, "POST", "/", nil)
	r.Header.Set("Idempotency-Key", "k")
	h.ServeHTTP(httptest.NewRecorder(), r)
	require.Equal(t, 201, send(h, "POST", "/", "k", "").Code, "what was done for it is stored")
	require.Equal(t, 1, c.runs)
}

func ExampleMiddleware() {
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	keys, _ := idempotency.OpenNamespace(context.Background(), db, "requests", nil)
	payments := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Println("charging")
		w.WriteHeader(http.StatusCreated)
	})
	server := idemhttp.Middleware(keys, &idemhttp.Options{Required: true})(payments)

	for range 2 { // a client that lost the answer sends again
		r := httptest.NewRequest("POST", "/payments", strings.NewReader(`{"amount": 10}`))
		r.Header.Set("Idempotency-Key", `"8e03978e-40d5-43e8-bc93-6894a57f9324"`)
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		fmt.Printf("%d, replayed %q\n", w.Code, w.Header().Get("Idempotent-Replayed"))
	}
	// Output:
	// charging
	// 201, replayed ""
	// 201, replayed "true"
}

// The order and the response to the request that made it are in one commit. A client may send
// the request again whenever the process died.
func ExampleResponse_Store() {
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	keys, _ := idempotency.OpenNamespace(context.Background(), db, "requests", nil)
	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := idemhttp.Response{Status: http.StatusCreated, Body: []byte("order 1")}
		err := db.Update(r.Context(), func(tx *pebblemq.Tx) error {
			if err := tx.Set([]byte("order/1"), []byte("a book")); err != nil {
				return err
			}
			return answer.Store(r.Context(), tx)
		})
		if err != nil {
			http.Error(w, "the order was not made", http.StatusServiceUnavailable)
			return
		}
		answer.Write(w)
	})
	server := idemhttp.Middleware(keys, nil)(orders)

	for range 2 {
		r := httptest.NewRequest("POST", "/orders", strings.NewReader("a book"))
		r.Header.Set("Idempotency-Key", "8e03978e")
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		fmt.Printf("%d %s, replayed %q\n", w.Code, w.Body, w.Header().Get("Idempotent-Replayed"))
	}
	// Output:
	// 201 order 1, replayed ""
	// 201 order 1, replayed "true"
}
