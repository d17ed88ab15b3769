package pebblemq_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// contextVerbs returns every verb that takes a context, ready to be called once on db.
func contextVerbs(t testing.TB, db *pebblemq.DB) storetest.Verbs {
	t.Helper()
	withDurability := func(ctx context.Context) error {
		return db.Update(pebblemq.WithDurability(ctx, pebblemq.Sync), increment)
	}
	return storetest.Verbs{
		"DB.Checkpoint":  {db.Checkpoint, filepath.Join(t.TempDir(), "copy")},
		"DB.Update":      {db.Update, increment},
		"DB.Describe":    {db.Describe},
		"DB.OldestAge":   {db.OldestAge, pebblemq.Object{Kind: "topic", Name: "orders"}},
		"DB.Verify":      {db.Verify, (*pebblemq.VerifyOptions)(nil)},
		"DB.View":        {db.View, func(*pebblemq.Tx) error { return nil }},
		"Future.Wait":    {new(pebblemq.Future[int]).Wait},
		"Salvage":        {pebblemq.Salvage, t.TempDir(), t.TempDir(), (*pebblemq.SalvageOptions)(nil)},
		"WithDurability": {withDurability},
	}
}

func TestEveryVerbRefusesANilContext(t *testing.T) {
	db, err := pebblemq.Open(t.TempDir(), nil)
	require.NoError(t, err)
	contextVerbs(t, db).RefuseNilContext(t)
	closes(t, db)
}

func TestEveryVerbEndsWithItsContextOnAFrozenDisk(t *testing.T) {
	storetest.RequireEnd(t, contextVerbs)
}
