package storetest

import (
	"context"
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Verify checks every file and record of a store.
func Verify(t testing.TB, db *pebblemq.DB) {
	t.Helper()
	s := bridge.Store(db)
	r, err := s.Verify(context.Background(), store.VerifyOptions{BytesPerSecond: store.Unlimited})
	if s.Cause() != nil {
		return // the test has closed it, or made it fail
	}
	if err != nil {
		t.Errorf("verify: %v", err)
		return
	}
	for _, d := range r.Damages {
		t.Errorf("verify: %v", d)
	}
	for _, c := range r.Contradictions {
		t.Errorf("verify: %v (key %x)", c, c.Key)
	}
	for _, u := range r.Unchecked {
		t.Errorf("verify: not checked: %s", u)
	}
}
