package idempotency_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
)

// exited runs f on a goroutine that f ends.
func exited(t *testing.T, f func()) {
	t.Helper()
	returned := make(chan bool, 1)
	go func() {
		normal := false
		defer func() { returned <- normal }()
		f()
		normal = true
	}()
	require.False(t, <-returned, "the goroutine has ended")
}

func exit() ([]byte, error) {
	runtime.Goexit()
	return nil, nil
}

func TestAHandlerThatExitsItsGoroutineFreesTheKey(t *testing.T) {
	db, k := open(t, nil)
	key := []byte("k")
	w := idempotency.Wrapper[string]{Keys: k, Key: func(m string) ([]byte, error) {
		if m == "" {
			return exit()
		}
		return []byte(m), nil
	}}
	leased := w.Leased(func(context.Context, string, idempotency.Claim) error { _, err := exit(); return err })
	transactional := w.Transactional(db, func(tx *pebblemq.Tx, _ string) error {
		if _, err := tx.Get(key); err != nil { // takes the lock
			return err
		}
		_, err := exit()
		return err
	}, nil)
	for name, call := range map[string]func(){
		"Do": func() {
			_, _ = k.Do(bg, key, func(context.Context, idempotency.Claim) ([]byte, error) { return exit() }, nil)
		},
		"Once":          func() { _, _ = k.Once(bg, key, func(*pebblemq.Tx) ([]byte, error) { return exit() }, nil) },
		"Leased":        func() { _ = leased(bg, "k") },
		"its key":       func() { _ = leased(bg, "") },
		"Transactional": func() { _ = transactional(bg, "k") },
		"Accept": func() {
			_, _ = k.Accept(bg, key, func(*pebblemq.Tx) (func() ([]byte, error), error) { _, err := exit(); return nil, err }, nil)
		},
		"List": func() {
			for range k.Entries(bg, nil) {
				_, _ = exit()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := k.Do(bg, []byte("other"), returns(new(atomic.Int32), "", nil), nil)
			require.NoError(t, err)
			exited(t, call)
			var runs atomic.Int32
			res, err := k.Do(bg, key, returns(&runs, "ok", nil), &idempotency.DoOptions{NoWait: true})
			require.NoError(t, err)
			require.False(t, res.Replayed)
			require.NoError(t, k.Forget(bg, key))
			require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error {
				_, err := tx.Get(key)
				return err
			}), "the lock is free")
		})
	}
}
