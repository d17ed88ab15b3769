package pebblemq_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/pebblemq/pebblemq"
	"github.com/stretchr/testify/require"
)

// BenchmarkUpdate measures transactions over application keys beside a batch of
// the engine with the same keys.
func BenchmarkUpdate(b *testing.B) {
	value := make([]byte, 100)
	key := func(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }
	for _, d := range []pebblemq.Durability{pebblemq.Sync, pebblemq.NoSync} {
		wo := pebble.Sync
		if d == pebblemq.NoSync {
			wo = pebble.NoSync
		}
		for _, ops := range []int{1, 5, 50} {
			name := fmt.Sprintf("%v/%d", d, ops)
			b.Run("raw/"+name, func(b *testing.B) {
				db, err := pebble.Open(b.TempDir(), &pebble.Options{FormatMajorVersion: pebble.FormatTableFormatV6})
				require.NoError(b, err)
				defer db.Close()
				for i := 0; b.Loop(); i++ {
					batch := db.NewBatch()
					for j := range ops {
						_ = batch.Set(key(i*ops+j), value, nil)
					}
					if err := batch.Commit(wo); err != nil {
						b.Fatal(err)
					}
					_ = batch.Close()
				}
			})
			b.Run("pebblemq/"+name, func(b *testing.B) {
				db, err := pebblemq.Open(b.TempDir(), nil)
				require.NoError(b, err)
				defer db.Close()
				ctx := pebblemq.WithDurability(bg, d)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					err := db.Update(ctx, func(tx *pebblemq.Tx) error {
						for j := range ops {
							if err := tx.Set(key(i*ops+j), value); err != nil {
								return err
							}
						}
						return nil
					})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
