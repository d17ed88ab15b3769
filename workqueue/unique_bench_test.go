package workqueue_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// BenchmarkUnique publishes, NoSync, to a queue in which many unique keys are held:
// without a key, with one that is free, and with one that is held.
func BenchmarkUnique(b *testing.B) {
	relaxed := pebblemq.WithDurability(bg, pebblemq.NoSync)
	for name, key := range map[string]func(i int) string{
		"none": func(int) string { return "" },
		"free": func(i int) string { return fmt.Sprint("new-", i) },
		"held": func(i int) string { return fmt.Sprint(i % 1000) },
	} {
		b.Run(name, func(b *testing.B) {
			db, err := pebblemq.Open(b.TempDir(), nil)
			require.NoError(b, err)
			defer db.Close()
			broker := openBroker(b, db)
			declare(b, broker, "q")
			for i := range backlog(b) {
				require.NoError(b, broker.Publish(relaxed, "", "q", workqueue.Message{Body: payload, UniqueKey: fmt.Sprint(i)}))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				require.NoError(b, broker.Publish(relaxed, "", "q", workqueue.Message{Body: payload, UniqueKey: key(i)}))
			}
		})
	}
	b.Run("raw", func(b *testing.B) { benchRawSet(b, payload) })
}
