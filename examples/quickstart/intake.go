package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/pebblemq/pebblemq"
)

// maxPayload is what GitHub sends at most.
const maxPayload = 25 << 20

// serve opens the store, works off what its predecessor left, takes webhooks at an address, and ends
// when it is asked to drain. More, if not nil, is called when it listens and adds what else it serves.
func serve(ctx context.Context, dir, address string, more func(a *app, mux *http.ServeMux, url string)) error {
	db, err := pebblemq.Open(dir, nil)
	if err != nil {
		return err
	}
	app, err := openApp(ctx, db)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	workers := app.startWorkers(ctx)
	err = app.listen(ctx, address, more)
	cancel()
	return errors.Join(err, workers(), db.Close())
}

// listen prints its address and serves until the work is drained.
func (a *app) listen(ctx context.Context, address string, more func(a *app, mux *http.ServeMux, url string)) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /webhook", a.webhook)
	mux.HandleFunc("GET /left", func(w http.ResponseWriter, r *http.Request) {
		left, err := a.left(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, left)
	})
	drained := make(chan struct{})
	mux.HandleFunc("POST /drain", func(w http.ResponseWriter, r *http.Request) {
		if err := a.drain(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		close(drained)
	})
	if more != nil {
		more(a, mux, "http://"+l.Addr().String())
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	fmt.Printf("http://%s\n", l.Addr())
	_ = os.Stdout.Sync() // a pipe
	go func() {
		select {
		case <-drained:
		case <-ctx.Done():
		}
		_ = server.Shutdown(context.WithoutCancel(ctx)) // ends Serve below
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// webhook takes one delivery. Everything that it causes is one commit; the
// answer is sent when that is on disk.
func (a *app) webhook(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPayload))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	e := event{
		Event:    r.Header.Get("X-GitHub-Event"),
		Delivery: r.Header.Get("X-GitHub-Delivery"),
		Payload:  body,
	}
	if e.Event == "" || e.Delivery == "" || !json.Valid(body) {
		http.Error(w, "X-GitHub-Event, X-GitHub-Delivery and a JSON body are required", http.StatusBadRequest)
		return
	}
	answer, err := a.accept(r.Context(), r.Header.Get("Idempotency-Key"), e)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, answer)
}
