package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// withStore opens a store that exists, calls f and closes it.
func withStore(dir string, f func(db *pebblemq.DB) error) error {
	there, err := isStore(dir)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("%s is empty: %w", dir, pebblemq.ErrNotStore)
	}
	return openStore(dir, f)
}

// openStore opens a store, which it creates if need be, calls f and closes it.
func openStore(dir string, f func(db *pebblemq.DB) error) (err error) {
	db, err := pebblemq.Open(dir, &pebblemq.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return advise(err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return f(db)
}

// advise adds what to do about the error of an Open or a Verify.
func advise(err error) error {
	switch {
	case errors.Is(err, pebblemq.ErrLocked):
		return fmt.Errorf("%w; stop that process, or use its admin page or API if it serves package admin", err)
	case errors.Is(err, pebblemq.ErrCorrupt):
		return fmt.Errorf("%w; keep a copy, then restore a backup, or save what can be read with pebblemq salvage", err)
	}
	return err
}

// isStore reports whether a directory has anything in it that Open would not create itself.
func isStore(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	left := slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == "LOCK" })
	return len(left) > 0, err
}

// describe opens all brokers and visibility queues, whose counters would not be known
// otherwise, and returns the inventory. It lists damaged queues too.
func describe(ctx context.Context, db *pebblemq.DB) (pebblemq.Description, error) {
	brokers, err := workqueue.Brokers(ctx, db)
	if err != nil {
		return pebblemq.Description{}, err
	}
	for _, b := range brokers {
		if _, err := workqueue.OpenBroker(ctx, db, b.Name); err != nil {
			return pebblemq.Description{}, err
		}
	}
	queues, err := visibility.Queues(ctx, db)
	if err != nil {
		return pebblemq.Description{}, err
	}
	for _, q := range queues {
		if _, err := visibility.LookupQueue(ctx, db, q.Name); err != nil && exitCode(err) != exitDamaged {
			return pebblemq.Description{}, err
		}
	}
	return db.Describe(ctx)
}
