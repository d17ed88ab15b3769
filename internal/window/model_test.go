package window

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pebblemq/pebblemq/internal/store"
)

// TestModel holds a window against a map, over time, refused Ops, restarts and
// crashes that take what was not synced.
func TestModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ testing.TB }{t}, func(t *rapid.T) { // hides Deadline, which a bubble forbids
			m := &model{known: make(map[string]entry), fs: vfs.NewCrashableMem()}
			m.s, m.w = open(t, m.fs)
			t.Repeat(map[string]func(*rapid.T){
				"once": func(t *rapid.T) { m.once(t, store.Sync) },
				"many": func(t *rapid.T) {
					for range 20 {
						m.once(t, store.Sync)
					}
				},
				"refused": func(t *rapid.T) { m.w.refused(t, m.id(t)) },
				"advance": func(t *rapid.T) { <-time.After(time.Duration(rapid.Int64Range(1, int64(length)).Draw(t, "d"))) },
				"leave":   func(t *rapid.T) { <-time.After(2 * length) },
				"scarce":  func(t *rapid.T) { m.w.budget(t, func(n int) int { return min(n, 5*idBytes) }) },
				"reopen": func(t *rapid.T) {
					require.NoError(t, m.s.Close())
					m.s, m.w = open(t, m.fs)
				},
				"crash": func(t *rapid.T) {
					clone := m.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(1, 2))})
					require.NoError(t, m.s.Close())
					m.fs = clone
					m.s, m.w = open(t, m.fs)
				},
			})
			require.NoError(t, m.s.Close())
		})
	})
}

type entry struct {
	answer string
	until  time.Time
}

type model struct {
	fs    *vfs.MemFS
	s     *store.Store
	w     *Window
	known map[string]entry
	calls int
}

func (m *model) id(t *rapid.T) string { return fmt.Sprint(rapid.IntRange(0, 40).Draw(t, "id")) }

func (m *model) once(t *rapid.T, d store.Durability) {
	id := m.id(t)
	m.calls++
	now := time.Now()
	answer := fmt.Sprint(m.calls)
	got, repeated := m.w.once(t, id, answer, d)
	want, counts := m.known[id], m.known[id].until.After(now)
	require.Equal(t, counts, repeated)
	if counts {
		require.Equal(t, want.answer, got)
		return
	}
	require.Equal(t, answer, got)
	m.known[id] = entry{answer, now.Add(length)}
}
