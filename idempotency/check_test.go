package idempotency

import (
	"context"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

func TestContradictionsOfANamespaceAreFoundAndMended(t *testing.T) {
	metaKey := func(id uint32) []byte { return store.Key(store.KindIdemMeta, id, 0) }
	recorded := func(t *store.Turn, id uint32) record {
		v, _ := t.Get(recordKey(id, []byte("k1")))
		r, _ := decodeRecord(v)
		return r
	}
	for _, c := range []struct {
		name, text string
		change     func(t *store.Turn, id uint32)
	}{
		{"a record is missing", "counters are {records:3", func(t *store.Turn, id uint32) { t.Delete(recordKey(id, []byte("k1"))) }},
		{"a record cannot be decoded", `key "k1"`, func(t *store.Turn, id uint32) { t.Set(recordKey(id, []byte("k1")), []byte{version, 9}) }},
		{"a record is not in the index", `key "k1" is not in the index by expiry`, func(t *store.Turn, id uint32) {
			t.Delete(expiryKey(id, recorded(t, id).due, []byte("k1")))
		}},
		{"an index entry cannot be decoded", `expiry key`, func(t *store.Turn, id uint32) { t.Set(store.Key(store.KindIdemExpiry, id, 0), nil) }},
		{"the counters are missing", "counters are missing", func(t *store.Turn, id uint32) { t.Delete(metaKey(id)) }},
		{"the counters are old", "counters are {records:1 token:1", func(t *store.Turn, id uint32) {
			t.Set(metaKey(id), meta{records: 1, token: 1}.encode())
		}},
		{"the counters cannot be decoded", "counters are missing", func(t *store.Turn, id uint32) { t.Set(metaKey(id), []byte{version}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			db, err := storetest.OpenFS(fs, store.Options{})
			require.NoError(t, err)
			k, err := OpenNamespace(context.Background(), db, "n", nil)
			require.NoError(t, err)
			for i := range 3 {
				k.mustDo(t, fmt.Sprint("k", i), "v")
			}
			require.NoError(t, db.Close())
			db = storetest.Contradict(t, fs, c.text, func(turn *store.Turn) { c.change(turn, k.n.id) })
			k, err = OpenNamespace(context.Background(), db, "n", nil)
			require.NoError(t, err)
			before := k.n.meta.token
			require.True(t, k.mustDo(t, "k2", "again").Replayed)
			require.False(t, k.mustDo(t, "new", "v").Replayed)
			require.Greater(t, k.n.meta.token, max(before, 3), "no token is given twice")
			storetest.Close(t, db)
		})
	}
}
