package store_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pebblemq/pebblemq/internal/store"
)

// change is a random Op: it writes, and compares what it reads with a model
// all along.
type change struct {
	steps  []step
	refuse bool
	after  *change // posted
	model  *map[string]string
	t      *rapid.T
}

type step struct {
	verb     string
	key, end byte
}

func drawChange(t *rapid.T, model *map[string]string, depth int) *change {
	c := &change{t: t, model: model, refuse: rapid.IntRange(0, 3).Draw(t, "refuse") == 0}
	for range rapid.IntRange(0, 6).Draw(t, "steps") {
		c.steps = append(c.steps, step{
			verb: rapid.SampledFrom([]string{"get", "set", "deferred", "delete", "range"}).Draw(t, "verb"),
			key:  rapid.ByteRange(0, 9).Draw(t, "key"),
			end:  rapid.ByteRange(0, 10).Draw(t, "end"),
		})
	}
	if depth < 3 && rapid.Bool().Draw(t, "more") {
		c.after = drawChange(t, model, depth+1)
	}
	return c
}

func (c *change) Undo()               {}
func (c *change) Visible(*store.Turn) {}

func (c *change) Run(t *store.Turn) error {
	if c.after != nil {
		t.Post(c.after, store.NoSync)
	}
	after := make(map[string]string, len(*c.model))
	for k, v := range *c.model {
		after[k] = v
	}
	for i, s := range c.steps {
		c.step(t, s, after, fmt.Sprint(t.Seq(), "-", i))
	}
	if c.refuse {
		return errRefused
	}
	*c.model = after
	return nil
}

func (c *change) step(t *store.Turn, s step, after map[string]string, value string) {
	k := string(rune('a' + s.key))
	switch s.verb {
	case "get":
		v, err := t.Get(key(k))
		want, known := after[k]
		if err != nil || string(v) != want || (v != nil) != known {
			c.t.Fatalf("%s is %q (%v), want %q", k, v, err, want)
		}
	case "set":
		t.Set(key(k), []byte(value))
		after[k] = value
	case "deferred":
		kb, vb := t.SetDeferred(1+len(k), len(value))
		copy(kb, key(k))
		copy(vb, value)
		after[k] = value
	case "delete":
		t.Delete(key(k))
		delete(after, k)
	case "range":
		end := string(rune('a' + max(s.end, s.key)))
		t.DeleteRange(key(k), key(end))
		for name := range after {
			if name >= k && name < end {
				delete(after, name)
			}
		}
	}
}

func TestTurnGetAgainstAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		mem := vfs.NewCrashableMem()
		s, err := store.Open(small(mem))
		require.NoError(rt, err)
		model := map[string]string{}
		for range rapid.IntRange(1, 12).Draw(rt, "changes") {
			d := rapid.SampledFrom([]store.Durability{store.Sync, store.NoSync}).Draw(rt, "durability")
			_ = s.Do(ctx, drawChange(rt, &model, 0), d)
			if rapid.IntRange(0, 9).Draw(rt, "reopen") == 0 {
				require.NoError(rt, s.Close())
				s, err = store.Open(small(mem))
				require.NoError(rt, err)
			}
			if rapid.IntRange(0, 4).Draw(rt, "iterate") == 0 {
				require.Equal(rt, model, keys(t, s))
			}
		}
		require.Equal(rt, model, keys(t, s))
		checkIter(rt, s, model)
		require.NoError(rt, s.Close())
	})
}

// checkIter walks the keys in all the ways there are.
func checkIter(t *rapid.T, s *store.Store, model map[string]string) {
	var sorted []string
	for k := range model {
		sorted = append(sorted, k)
	}
	slices.Sort(sorted)
	lo := []byte{byte(store.KindApp)}
	it, err := s.Iter(ctx, lo, store.PrefixEnd(lo))
	require.NoError(t, err)
	at := rapid.ByteRange(0, 10).Draw(t, "seek")
	pivot := string(rune('a' + at))
	i, _ := slices.BinarySearch(sorted, pivot)
	require.Equal(t, i < len(sorted), it.Seek(key(pivot)))
	if it.Valid() {
		require.Equal(t, key(sorted[i]), it.Key())
		require.Equal(t, i+1 < len(sorted), it.Next())
	}
	require.Equal(t, i > 0, it.SeekBelow(key(pivot)))
	if it.Valid() {
		require.Equal(t, key(sorted[i-1]), it.Key())
		require.Equal(t, i > 1, it.Prev())
	}
	require.Equal(t, len(sorted) > 0, it.Last())
	if it.Valid() {
		require.Equal(t, key(sorted[len(sorted)-1]), it.Key())
	}
	require.NoError(t, it.Close())
}
