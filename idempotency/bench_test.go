package idempotency_test

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/stretchr/testify/require"
)

// BenchmarkDo measures a key that is new (a claim and a completion) and one
// that is stored, beside what a miss costs raw: a Get and two Sets.
func BenchmarkDo(b *testing.B) {
	value := make([]byte, 100)
	ctx := pebblemq.WithDurability(bg, pebblemq.NoSync)
	handler := func(context.Context, idempotency.Claim) ([]byte, error) { return value, nil }
	key := func(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }
	open := func(b *testing.B) *idempotency.Keys {
		db, err := pebblemq.Open(b.TempDir(), nil)
		require.NoError(b, err)
		b.Cleanup(func() { _ = db.Close() })
		k, err := idempotency.Open(db, "bench", nil)
		require.NoError(b, err)
		return k
	}
	b.Run("raw/miss", func(b *testing.B) {
		db, err := pebble.Open(b.TempDir(), &pebble.Options{FormatMajorVersion: pebble.FormatTableFormatV6})
		require.NoError(b, err)
		defer db.Close()
		for i := 0; b.Loop(); i++ {
			_, _, err := db.Get(key(i))
			require.ErrorIs(b, err, pebble.ErrNotFound)
			_ = db.Set(key(i), nil, pebble.NoSync)
			_ = db.Set(key(i), value, pebble.NoSync)
		}
	})
	b.Run("pebblemq/miss", func(b *testing.B) {
		k := open(b)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := k.Do(ctx, key(i), handler, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("pebblemq/hit", func(b *testing.B) {
		k := open(b)
		_, err := k.Do(ctx, key(0), handler, nil)
		require.NoError(b, err)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := k.Do(ctx, key(0), handler, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
