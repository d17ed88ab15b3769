package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/pebblemq/pebblemq/admin"
)

// show serves the intake and its admin page on a new store until ctx ends. The samples are sent to it,
// so that there is something to see: jobs, dead letters and a log to browse.
func show(ctx context.Context, address string) (err error) {
	temp, err := os.MkdirTemp("", "quickstart-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	events, err := readEvents(strings.NewReader(samples))
	if err != nil {
		return err
	}
	return serve(ctx, filepath.Join(temp, "store"), address, func(a *app, mux *http.ServeMux, url string) {
		mux.Handle("/admin/", admin.Handler(a.db, &admin.Options{BasePath: "/admin"}))
		fmt.Printf("admin page: %s/admin/ (Ctrl-C ends it)\n", url)
		go newSender(url).sendAll(ctx, events)
	})
}
