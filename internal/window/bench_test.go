package window

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// BenchmarkNew is what a message that is new pays, beside one write of the same
// bytes alone: while its ids fit into memory, and when they do not.
func BenchmarkNew(b *testing.B) {
	s, err := store.Open(store.Options{Dir: b.TempDir()})
	require.NoError(b, err)
	defer s.Close()
	run := func(b *testing.B, op func(*store.Turn, ID) error) {
		id := make([]byte, 0, 32)
		for i := 0; b.Loop(); i++ {
			h := IDOf(string(fmt.Appendf(id[:0], "%s-%d", b.Name(), i)))
			if err := s.Do(ctx, store.OpFunc(func(t *store.Turn) error { return op(t, h) }), store.NoSync); err != nil {
				b.Fatal(err)
			}
		}
	}
	raw := New(s, "it", kind, object, length)
	b.Run("raw", func(b *testing.B) {
		run(b, func(t *store.Turn, id ID) error {
			t.Set(raw.key(0, id), encode(t.Now(), nil))
			return nil
		})
	})
	for name, bytes := range map[string]int{"memory": recentBytes, "disk": 0} {
		w := New(s, "it", kind, object+1, length)
		require.NoError(b, w.Ready(ctx))
		b.Run(name, func(b *testing.B) {
			w.memory.bytes = bytes
			run(b, func(t *store.Turn, id ID) error {
				if _, found, err := w.Look(t, id); found || err != nil {
					return fmt.Errorf("found %v, %w", found, err)
				}
				w.Put(t, id, nil)
				return nil
			})
		})
	}
}
