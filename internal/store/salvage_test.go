package store_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// everything returns what is in a store, but for the kernel's own records.
func everything(t *testing.T, s *store.Store) map[string]string {
	t.Helper()
	it, err := s.Iter(ctx, []byte{byte(store.KindCatalog)}, nil)
	require.NoError(t, err)
	all := make(map[string]string)
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		require.NoError(t, err)
		all[string(it.Key())] = string(v)
	}
	require.NoError(t, it.Close())
	return all
}

// mixed fills a store with keys that are in tables of several levels, and in the WAL, and
// that were overwritten and deleted in all ways.
func mixed(t *testing.T, fs vfs.FS) map[string]string {
	t.Helper()
	s := openStore(t, small(fs))
	for round := range 6 {
		for i := range 400 {
			inTurn(t, s, func(turn *store.Turn) error {
				key := fmt.Appendf([]byte{byte(store.KindApp)}, "%04d", (i*7+round*100)%1000)
				switch (i + round) % 10 {
				case 0:
					turn.Delete(key)
				case 1:
					turn.DeleteRange(key, store.PrefixEnd(key[:4]))
				case 2:
					once := fmt.Appendf([]byte{byte(store.KindApp)}, "once %d %d", round, i)
					turn.Set(once, []byte("1"))
					if round%2 == 0 {
						turn.DeleteSingle(once)
					}
				default:
					turn.Set(key, []byte(strings.Repeat(fmt.Sprint(round, i, ";"), 50)))
				}
				return nil
			})
		}
	}
	all := everything(t, s)
	require.NoError(t, s.Close())
	require.Greater(t, len(all), 200)
	return all
}

func salvage(t *testing.T, fs vfs.FS) (*store.SalvageReport, *store.Store) {
	t.Helper()
	require.NoError(t, fs.RemoveAll("saved"))
	r, err := store.Salvage(ctx, "data", "saved", store.SalvageOptions{FS: fs})
	require.NoError(t, err)
	o := small(fs)
	o.Dir = "saved"
	return r, openStore(t, o)
}

func TestSalvageOfAWholeStoreIsACopy(t *testing.T) {
	fs := vfs.NewMem()
	want := mixed(t, fs)
	before := make(map[string]string)
	for _, name := range files(t, fs, "") {
		before[name] = string(contents(t, fs, name))
	}
	r, s := salvage(t, fs)
	require.NoError(t, r.Err())
	require.Positive(t, r.Tables)
	require.Equal(t, want, everything(t, s))
	v, err := s.Verify(ctx, fast())
	require.NoError(t, err)
	require.NoError(t, v.Err())
	require.False(t, s.Unclean())
	require.NoError(t, s.Close())
	for _, name := range slices.Sorted(maps.Keys(before)) {
		require.Equal(t, before[name], string(contents(t, fs, name)), "%s is untouched", name)
	}
	require.Len(t, files(t, fs, ""), len(before), "and nothing is added")
}

// crashedMixed is mixed without a Close: the last changes are in the WAL.
func crashedMixed(t *testing.T) (fs *vfs.MemFS, all map[string]string) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	mixed(t, mem)
	s := openStore(t, small(mem))
	for i := range 150 {
		inTurn(t, s, func(turn *store.Turn) error {
			turn.Set(fmt.Appendf([]byte{byte(store.KindApp)}, "%04d", i*3), []byte(strings.Repeat(fmt.Sprint("late", i), 40)))
			return nil
		})
	}
	all = everything(t, s)
	clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: noRand})
	require.NoError(t, s.Close())
	return clone, all
}

// harm damages a file at a random place in one of several ways.
func harm(t *testing.T, fs vfs.FS, name string, rng *rand.Rand) (at int, how string) {
	t.Helper()
	b := contents(t, fs, name)
	at = rng.IntN(len(b))
	switch rng.IntN(4) {
	case 0:
		how = "flip"
		b[at] ^= 1 << rng.IntN(8)
	case 1:
		how = "zeroes"
		clear(b[at:min(len(b), at+512)])
	case 2:
		how = "garbage"
		for i := at; i < min(len(b), at+64); i++ {
			b[i] = byte(rng.Uint32())
		}
	case 3:
		how = "cut"
		b = b[:at]
	}
	replace(t, fs, name, b)
	return at, how
}

func TestSalvageKeepsWhatIsOutsideOfTheDamage(t *testing.T) {
	origin, want := crashedMixed(t)
	names := slices.DeleteFunc(files(t, origin, ""), func(n string) bool {
		return !strings.HasSuffix(n, ".sst") && !strings.HasSuffix(n, ".log") && !strings.HasPrefix(n, "MANIFEST")
	})
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		fs := origin.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: noRand})
		name := names[rng.IntN(len(names))]
		at, how := harm(t, fs, name, rng)
		what := fmt.Sprintf("seed %d: %s of %s at %d", seed, how, name, at)
		if string(contents(t, fs, name)) == string(contents(t, origin, name)) {
			continue // zeroes on zeroes
		}
		r, s := salvage(t, fs)
		checkSalvaged(t, what, name, r, s, want)
		require.NoError(t, s.Close())
	}
}

func checkSalvaged(t *testing.T, what, name string, r *store.SalvageReport, s *store.Store, want map[string]string) {
	t.Helper()
	if r.Err() == nil { // behind the end of a WAL that the engine has used again
		require.Equal(t, want, everything(t, s), what)
		return
	}
	require.ErrorIs(t, r.Err(), store.ErrCorrupt, what)
	require.NotEmpty(t, r.Damages, what)
	for _, d := range r.Damages {
		require.Equal(t, name, d.File, what)
	}
	v, err := s.Verify(ctx, fast())
	require.NoError(t, err, what)
	require.NoError(t, v.Err(), what)
	got := everything(t, s)
	for key := range mergedKeys(got, want) {
		known := slices.ContainsFunc(r.Damages, func(d store.Damage) bool {
			inWAL := strings.HasSuffix(d.File, ".log")
			inRange := d.Lo != nil && key >= string(d.Lo) && (d.Hi == nil || key < string(d.Hi))
			return inWAL || inRange
		})
		if !known {
			require.Equal(t, want[key], got[key], "%s: key %x", what, key)
		}
	}
}

func mergedKeys(a, b map[string]string) map[string]bool {
	all := make(map[string]bool)
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return all
}
