package store_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Whatever happens to the MANIFEST that is on disk, the error names it. The engine would
// name tables or WALs, or say nothing.
func TestDamagedManifestIsNamed(t *testing.T) {
	whole := crashed(t, 20)
	name := newest(t, whole, "MANIFEST")
	size := len(contents(t, whole, name))
	for what, change := range map[string]func(b []byte, at int) []byte{
		"flipped": func(b []byte, at int) []byte { b[at] ^= 1; return b },
		"cut":     func(b []byte, at int) []byte { return b[:at] },
		"zeroed":  func(b []byte, at int) []byte { return append(b[:at], make([]byte, len(b)-at)...) },
		"another": func(b []byte, at int) []byte { return append(b[at:], b...) },
	} {
		for at := 1; at < size; at += 9 {
			fs := whole.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: noRand})
			old := contents(t, fs, name)
			b := change(bytes.Clone(old), at)
			if bytes.Equal(b, old) {
				continue
			}
			replace(t, fs, name, b)
			_, err := store.Open(small(fs))
			require.ErrorIs(t, err, store.ErrCorrupt, "%s at %d of %d", what, at, size)
			require.ErrorContains(t, err, name, "%s at %d of %d", what, at, size)
		}
	}
}

// The part after the synced one may be in any state after a crash.
func TestTornManifestIsFine(t *testing.T) {
	for name, tail := range map[string][]byte{
		"zeros":   make([]byte, 100),
		"garbage": []byte("the beginning of another record"),
		"block":   bytes.Repeat([]byte{0xa5}, 40<<10),
	} {
		for _, recorded := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, recorded %t", name, recorded), func(t *testing.T) {
				fs := crashed(t, 20)
				if !recorded {
					require.NoError(t, fs.Remove("data/SYNCED"))
				}
				manifest := newest(t, fs, "MANIFEST")
				replace(t, fs, manifest, append(contents(t, fs, manifest), tail...))
				s := openStore(t, small(fs))
				require.Len(t, keys(t, s), 20)
				require.NoError(t, s.Close())
			})
		}
	}
}

// Without a record, damage before a whole record of the MANIFEST is damage still.
func TestDamagedManifestWithoutRecord(t *testing.T) {
	fs := crashed(t, 20)
	require.NoError(t, fs.Remove("data/SYNCED"))
	name := newest(t, fs, "MANIFEST")
	flip(t, fs, name, 10)
	_, err := store.Open(small(fs))
	require.ErrorIs(t, err, store.ErrCorrupt)
	require.ErrorContains(t, err, name)
}

// The record follows the MANIFEST of a store in which nothing is written.
func TestManifestOfAnIdleStoreIsOnRecord(t *testing.T) {
	fs := crashed(t, 20)
	s := openStore(t, small(fs))
	clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: noRand})
	require.NoError(t, s.Close())
	name := newest(t, clone, "MANIFEST")
	flip(t, clone, name, len(contents(t, clone, name))-1)
	_, err := store.Open(small(clone))
	require.ErrorIs(t, err, store.ErrCorrupt)
	require.ErrorContains(t, err, name)
}

func TestDamagedMarkersAreNamed(t *testing.T) {
	for _, c := range []struct{ marker, old, new, named string }{
		{"marker.manifest", "MANIFEST-", "MANIFEST-9", "marker.manifest"},
		{"marker.manifest", "MANIFEST-", "manifest-", "marker.manifest"},
		{"marker.manifest", ".MANIFEST-", "", "marker.manifest"},
		{"marker.manifest", "manifest.", "manifesto.", "marker.manifest"},
		{"marker.manifest", "marker.manifest.", "marker.", "marker.0"},
		{"marker.manifest", "marker.", "was.", "marker.manifest"},
		{"marker.format-version", ".0", "", "marker.format-version"},
		{"marker.format-version", ".0", ".x", "marker.format-version"},
		{"marker.format-version", "marker.", "was.", "marker.format-version"},
	} {
		for _, recorded := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, %s for %s, recorded %t", c.marker, c.new, c.old, recorded), func(t *testing.T) {
				fs := crashed(t, 300)
				if !recorded {
					require.NoError(t, fs.Remove("data/SYNCED"))
				}
				name := newest(t, fs, c.marker)
				require.NoError(t, fs.Rename("data/"+name, "data/"+strings.Replace(name, c.old, c.new, 1)))
				_, err := store.Open(small(fs))
				require.ErrorIs(t, err, store.ErrCorrupt)
				require.ErrorContains(t, err, c.named)
			})
		}
	}
}

func TestMissingOlderWALIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clone, logs := severalWALs(t)
		missing := logs[len(logs)-2]
		require.NoError(t, clone.Remove("data/"+missing))
		_, err := store.Open(small(clone))
		require.ErrorIs(t, err, store.ErrCorrupt)
		require.ErrorContains(t, err, missing+" is missing")
	})
}
