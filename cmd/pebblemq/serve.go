package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/admin"
	"github.com/spf13/cobra"
)

type serving struct {
	URL string `json:"url"`
}

func serveCommand(f *flags) *cobra.Command {
	var address string
	var readOnly bool
	c := &cobra.Command{
		Use: "serve DIR", Short: "Serve the admin page over a store until interrupted", Args: cobra.ExactArgs(1),
		Long: "Serve the admin page and its JSON API. Only requests from this machine are answered.",
		RunE: func(c *cobra.Command, args []string) error {
			return withStore(args[0], func(db *pebblemq.DB) error {
				l, err := net.Listen("tcp", address)
				if err != nil {
					return err
				}
				if err := printOne(c.OutOrStdout(), f.json, serving{"http://" + l.Addr().String()}); err != nil {
					return errors.Join(err, l.Close())
				}
				return serve(c.Context(), l, admin.Handler(db, &admin.Options{ReadOnly: readOnly}))
			})
		},
	}
	c.Flags().StringVar(&address, "addr", "localhost:8080", "address to listen on")
	c.Flags().BoolVar(&readOnly, "read-only", false, "refuse all changes")
	return c
}

const shutdownTime = 5 * time.Second

// serve answers requests until ctx ends, and then waits for those under way.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler:           h,
		BaseContext:       func(net.Listener) context.Context { return ctx }, // live streams end with it
		ReadHeaderTimeout: 10 * time.Second,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		return errors.Join(fmt.Errorf("requests were cut short: %w", err), server.Close())
	}
	return nil
}
