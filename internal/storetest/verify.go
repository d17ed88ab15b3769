package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Verify checks the records of a store, unless it is closed or has failed. A store with
// damaged files is left alone: tests damage files on purpose.
func Verify(t testing.TB, db *pebblemq.DB) {
	t.Helper()
	if err := verify(bridge.Store(db)); err != nil {
		t.Errorf("verify: %v", err)
	}
}

// verify returns what is wrong with a store. Objects whose package is not part of the
// test are not checked.
func verify(s *store.Store) error {
	r, err := s.Verify(context.Background(), store.VerifyOptions{BytesPerSecond: store.Unlimited})
	switch {
	case s.Cause() != nil:
		return nil // perhaps why it has failed
	case err != nil:
		return err
	}
	if len(r.Damages) > 0 {
		return nil
	}
	err = r.Err()
	for _, c := range r.Contradictions {
		err = errors.Join(err, fmt.Errorf("%v (key %x)", c, c.Key))
	}
	return err
}
