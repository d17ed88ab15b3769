package admin_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/admin"
	"github.com/pebblemq/pebblemq/admin/internal/shop"
)

// BenchmarkPage opens pages of a store with 10,000 queues. Each page takes a new inventory, as if
// the store had changed.
func BenchmarkPage(b *testing.B) {
	db, err := pebblemq.OpenMemory(&pebblemq.Options{Logger: quiet})
	require.NoError(b, err)
	defer func() { require.NoError(b, db.Close()) }()
	require.NoError(b, shop.Crowd(ctx, db, 10_000))
	c := &client{b, admin.Handler(db, &admin.Options{Logger: quiet}), make(map[string]*http.Cookie)}
	for _, page := range []string{"/", "/queues?sort=-ready"} {
		b.Run(page, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				c.call("/brokers/crowd/queues/tenant-00000/purge", nil)
				b.StartTimer()
				require.Equal(b, 200, c.get(page).status)
			}
		})
	}
}
