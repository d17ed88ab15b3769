package queue

import (
	"bytes"
	"strings"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pebblemq/pebblemq/internal/store"
)

// groupOf is what stands before the first space.
func groupOf(data []byte) []byte {
	id, _, _ := bytes.Cut(data, []byte(" "))
	return id
}

// group chooses one for the next message. Most are of a few, so that these have
// long backlogs; some are of none.
func (w *world) group() string {
	const ids = "aaabbcdef "
	if w.random != nil {
		return strings.TrimSpace(ids[w.random.IntN(len(ids)):][:1])
	}
	return strings.TrimSpace(string(rapid.SampledFrom([]byte(ids)).Draw(w.t, "group")))
}

// takeRound is one receive from a lane with groups.
func (w *world) takeRound(t *rapid.T) {
	until := time.Now().Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "lease")) * time.Second)
	n := rapid.IntRange(1, 20).Draw(t, "n")
	w.round++
	exact := true // nothing was spilled in this round, of which the rest is for the next, or passes the line
	for i := range n {
		var m *Message
		var solo, busy bool
		for tries := 0; m == nil && (busy || tries == 0); tries++ {
			require.Less(t, tries, 50, "busy for ever")
			synctest.Wait()
			under(t, w.s, store.NoSync, func(t *store.Turn) {
				if i == 0 && tries == 0 {
					w.q.NextRound(t)
				}
				exact = exact && len(w.q.groups.spilled)+len(w.q.groups.passing.ahead) == 0
				m = w.q.Take(t, until)
				busy = w.q.Busy()
				solo = w.q.solo != nil && w.q.solo != m
			})
		}
		first := w.firstOpen(solo)
		if m == nil {
			if first != nil && !exact && w.joins(first) {
				return // the rest of a group is read back for the next round
			}
			require.Nil(t, first, "is ready")
			return
		}
		e := w.model[m.Seq]
		require.NotNil(t, e, "%d is gone", m.Seq)
		require.False(t, e.taken)
		require.False(t, e.prime && solo, "two prime suspects at a time")
		require.True(t, w.isOpen(e), "%d of group %q is not the first of its group", e.seq, groupOf(m.Data))
		if exact && !e.prime {
			require.Equal(t, first.seq, e.seq)
		}
		require.Equal(t, e.data, string(m.Data))
		require.Equal(t, e.count+1, m.Count)
		e.taken, e.count, e.until, e.prime, e.unsynced, e.round = true, m.Count, until, false, true, w.round
		if m.Suspect {
			w.synced()
		}
	}
}

// isOpen reports that nothing of e's group stands before it but what was taken
// in the same round.
func (w *world) isOpen(e *entry) bool {
	id := groupOf([]byte(e.data))
	if len(id) == 0 {
		return true
	}
	for _, f := range w.model {
		if f.seq < e.seq && (!f.taken || f.round != w.round) && bytes.Equal(id, groupOf([]byte(f.data))) {
			return false
		}
	}
	return true
}

// joins reports that something of e's group was taken in this round.
func (w *world) joins(e *entry) bool {
	for _, f := range w.model {
		if f.taken && f.round == w.round && bytes.Equal(groupOf([]byte(e.data)), groupOf([]byte(f.data))) {
			return true
		}
	}
	return false
}

// firstOpen is the first that can be had, or nil.
func (w *world) firstOpen(solo bool) *entry {
	var first *entry
	seen := map[string]*entry{} // the first of each group that is in the way
	for _, e := range w.model {
		if id := string(groupOf([]byte(e.data))); !e.taken || e.round != w.round {
			if f := seen[id]; f == nil || e.seq < f.seq {
				seen[id] = e
			}
		}
	}
	for _, e := range w.model {
		id := string(groupOf([]byte(e.data)))
		if e.taken || e.prime && solo || id != "" && seen[id] != e || first != nil && first.seq < e.seq {
			continue
		}
		first = e
	}
	return first
}
