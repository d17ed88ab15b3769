package idempotency_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// contextVerbs returns every verb that takes a context, ready to be called once on db.
func contextVerbs(t testing.TB, db *pebblemq.DB) storetest.Verbs {
	t.Helper()
	k := openKeys(t, db, nil)
	gone, err := idempotency.OpenNamespace(bg, db, "gone", nil)
	require.NoError(t, err)
	known := []byte("known")
	_, err = k.Do(bg, known, func(context.Context, idempotency.Claim) ([]byte, error) { return nil, nil }, nil)
	require.NoError(t, err)
	handle := func(context.Context, idempotency.Claim) ([]byte, error) { return nil, nil }
	once := func(tx *pebblemq.Tx) ([]byte, error) { return nil, tx.Set([]byte("k"), nil) }
	accept := func(tx *pebblemq.Tx) (func() ([]byte, error), error) { return nil, tx.Set([]byte("k"), nil) }
	return storetest.Verbs{
		"EnsureNamespace":   {idempotency.EnsureNamespace, db, "ensured", (*idempotency.Config)(nil)},
		"LookupNamespace":   {idempotency.LookupNamespace, db, "payments"},
		"Namespace.Alter":   {k.Alter, &idempotency.Config{Lease: time.Second}},
		"Namespace.Delete":  {gone.Delete},
		"Namespace.Info":    {k.Info},
		"Namespaces":        {idempotency.Namespaces, db},
		"OpenNamespace":     {idempotency.OpenNamespace, db, "opened", (*idempotency.Config)(nil)},
		"Namespace.Accept":  {k.Accept, []byte("accept"), accept, nil},
		"Namespace.Do":      {k.Do, []byte("do"), idempotency.Handler(handle), nil},
		"Namespace.Forget":  {k.Forget, known},
		"Namespace.Find":    {k.Find, known},
		"Namespace.Entries": {k.Entries, []byte(nil)},
		"Namespace.Once":    {k.Once, []byte("once"), once, nil},
		"Namespace.Seen":    {k.Seen, known},
	}
}

func TestEveryVerbRefusesANilContext(t *testing.T) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	contextVerbs(t, db).RefuseNilContext(t)
	w := idempotency.Wrapper[string]{Keys: openKeys(t, db, nil), Key: func(m string) ([]byte, error) { return []byte(m), nil }}
	var none context.Context
	leased := w.Leased(func(context.Context, string, idempotency.Claim) error { return nil })
	require.ErrorContains(t, leased(none, "k"), "context is nil")
	transactional := w.Transactional(db, func(*pebblemq.Tx, string) error { return nil }, nil)
	require.ErrorContains(t, transactional(none, "k"), "context is nil")
	require.NoError(t, db.Close(), "nothing was left open")
}

func TestEveryVerbEndsWithItsContextOnAFrozenDisk(t *testing.T) {
	storetest.RequireEnd(t, contextVerbs)
}
