package idempotency

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

var bg = context.Background()

func openCached(t testing.TB, c *Config) (*pebblemq.DB, *Namespace) {
	t.Helper()
	db := storetest.Open(t, nil)
	k, err := OpenNamespace(bg, db, "n", c)
	require.NoError(t, err)
	return db, k
}

func (k *Namespace) isCached(key string) bool {
	_, ok := k.n.cache.get([]byte(key))
	return ok
}

func (k *Namespace) mustDo(t testing.TB, key, value string) Result {
	t.Helper()
	res, err := k.Do(bg, []byte(key), func(context.Context, Claim) ([]byte, error) { return []byte(value), nil }, nil)
	require.NoError(t, err)
	return res
}

// hide takes a record from the disk behind the package's back, so that answers come from memory.
// The end of the test puts it back, for the store to be verified.
func (k *Namespace) hide(t testing.TB, key string) {
	t.Helper()
	record := recordKey(k.n.id, []byte(key))
	value, err := k.s.Get(bg, record)
	require.NoError(t, err)
	write := func(f func(*store.Turn)) {
		require.NoError(t, k.s.Do(bg, store.QuietFunc(func(turn *store.Turn) error {
			f(turn)
			return nil
		}), store.Sync))
	}
	write(func(turn *store.Turn) { turn.Delete(record) })
	t.Cleanup(func() {
		if value != nil {
			write(func(turn *store.Turn) { turn.Set(record, value) })
		}
	})
}

func TestACachedOutcomeIsAnsweredWithoutTheEngine(t *testing.T) {
	for name, c := range map[string]int{"on": 0, "off": -1} {
		t.Run(name, func(t *testing.T) {
			_, k := openCached(t, &Config{CacheBytes: c})
			k.mustDo(t, "k", "v")
			k.hide(t, "k")
			seen, err := k.Seen(bg, []byte("k"))
			require.NoError(t, err)
			require.Equal(t, c == 0, seen)
			if !seen {
				return
			}
			res := k.mustDo(t, "k", "again")
			require.True(t, res.Replayed)
			require.Equal(t, "v", string(res.Value))
			res.Value[0] = 'x'
			require.Equal(t, "v", string(k.mustDo(t, "k", "again").Value), "the caller has a copy")
		})
	}
}

func TestWhatIsReadIsCached(t *testing.T) {
	for name, read := range map[string]func(*testing.T, *Namespace) []byte{
		"Do": func(t *testing.T, k *Namespace) []byte { return k.mustDo(t, "k", "again").Value },
		"Get": func(t *testing.T, k *Namespace) []byte {
			res, _, err := k.Find(bg, []byte("k"))
			require.NoError(t, err)
			return res.Value
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, k := openCached(t, nil)
			k.mustDo(t, "k", "v")
			k.n.cache = newCache(1 << 20) // as after opening
			value := read(t, k)
			require.True(t, k.isCached("k"))
			value[0] = 'x'
			res, _, err := k.Find(bg, []byte("k"))
			require.NoError(t, err)
			require.Equal(t, "v", string(res.Value), "the cache has a copy")
		})
	}
}

func TestTheCacheNeverAnswersAnExpiredOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, k := openCached(t, &Config{Expiry: time.Hour})
		k.mustDo(t, "k", "v")
		<-time.After(time.Hour - 1)
		require.True(t, k.mustDo(t, "k", "no").Replayed)
		<-time.After(1)
		require.True(t, k.isCached("k"), "it is the record that knows when it expires")
		seen, err := k.Seen(bg, []byte("k"))
		require.NoError(t, err)
		require.False(t, seen)
		res := k.mustDo(t, "k", "new")
		require.False(t, res.Replayed)
		res, _, err = k.Find(bg, []byte("k"))
		require.NoError(t, err)
		require.Equal(t, "new", string(res.Value))
		<-time.After(2 * time.Hour)
		synctest.Wait()
		require.False(t, k.isCached("k"), "it was reclaimed")
	})
}

func TestAForgottenKeyIsNotCached(t *testing.T) {
	_, k := openCached(t, nil)
	k.mustDo(t, "k", "v")
	require.NoError(t, k.Forget(bg, []byte("k")))
	seen, err := k.Seen(bg, []byte("k"))
	require.NoError(t, err)
	require.False(t, seen)
	require.False(t, k.mustDo(t, "k", "v2").Replayed)
}

func TestWhatIsRolledBackIsNotCached(t *testing.T) {
	no := errors.New("no")
	refuse := func(x *store.Tx) error {
		return x.Add(refusal{store.OpFunc(func(*store.Turn) error { return no })}, 0)
	}
	db, k := openCached(t, nil)
	err := db.Update(bg, func(tx *pebblemq.Tx) error {
		return errors.Join(k.In(tx).Complete([]byte("k"), []byte("v")), refuse(k.In(tx).x))
	})
	require.ErrorIs(t, err, no)
	require.False(t, k.isCached("k"))

	err = db.Update(bg, func(tx *pebblemq.Tx) error {
		return errors.Join(k.In(tx).Complete([]byte("k"), []byte("v")), k.In(tx).Complete([]byte("k"), []byte("v")))
	})
	require.ErrorIs(t, err, ErrDuplicate, "the second one reads what the first has written")
	require.False(t, k.isCached("k"))

	_, err = k.Do(bg, []byte("k"), func(_ context.Context, c Claim) ([]byte, error) {
		err := db.Update(bg, func(tx *pebblemq.Tx) error {
			return errors.Join(c.In(tx).Complete([]byte("v")), refuse(k.In(tx).x))
		})
		require.ErrorIs(t, err, no)
		require.False(t, k.isCached("k"))
		return nil, no
	}, nil)
	require.Equal(t, no, err)
	seen, err := k.Seen(bg, []byte("k"))
	require.NoError(t, err)
	require.False(t, seen)
}

type refusal struct{ store.OpFunc }

func (refusal) Undo() {}

// A record that a lookup has read is not cached if the key has changed since.
func TestARecordThatChangedSinceItWasReadIsNotCached(t *testing.T) {
	c := newCache(1 << 20)
	moment := c.moment([]byte("k"))
	c.drop([]byte("k"))
	c.add([]byte("k"), moment, record{state: completed})
	_, ok := c.get([]byte("k"))
	require.False(t, ok)
	c.add([]byte("k"), c.moment([]byte("k")), record{state: claimed})
	_, ok = c.get([]byte("k"))
	require.False(t, ok, "memory has the claims")
	c.add([]byte("k"), c.moment([]byte("k")), record{state: failed})
	_, ok = c.get([]byte("k"))
	require.True(t, ok)
}

func TestTheCacheKeepsWhatWasUsedLast(t *testing.T) {
	c := newCache(4 * (cachedBytes + 1))
	for i := range 4 {
		c.add([]byte{byte(i)}, 0, record{state: completed})
	}
	_, ok := c.get([]byte{0})
	require.True(t, ok)
	c.add([]byte{4}, 0, record{state: completed})
	for i, want := range []bool{true, false, true, true, true} {
		_, ok := c.get([]byte{byte(i)})
		require.Equal(t, want, ok, i)
	}
	c.add([]byte{5}, 0, record{state: completed, result: []byte("too large")})
	_, ok = c.get([]byte{5})
	require.False(t, ok)
}

func TestTheCacheIsBounded(t *testing.T) {
	const limit = 4 << 20
	before := storetest.Heap()
	c := newCache(limit)
	for i := range 200_000 {
		c.add(numbered(i), c.moment(numbered(i)), record{state: completed, result: make([]byte, i%300)})
	}
	grown := storetest.Heap() - before
	require.LessOrEqual(t, c.mu.bytes, limit)
	require.Greater(t, c.mu.bytes, limit*9/10)
	require.Less(t, grown, int64(limit)*5/4)
	for i := range 200_000 {
		c.drop(numbered(i))
	}
	require.Zero(t, c.mu.bytes)
	require.Zero(t, c.mu.recent.Len())
}

// A read beside Complete and Forget never sees a key after its Forget has returned.
func TestTheCacheBesideKeysThatComeAndGo(t *testing.T) {
	_, k := openCached(t, nil)
	nosync := pebblemq.WithDurability(bg, pebblemq.NoSync)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := k.Seen(nosync, []byte{byte('a' + i%2)}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 300 {
		key, value := string(rune('a'+i%2)), fmt.Sprint(i)
		require.False(t, k.mustDo(t, key, value).Replayed)
		res, ok, err := k.Find(bg, []byte(key))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, value, string(res.Value))
		require.NoError(t, k.Forget(bg, []byte(key)))
		seen, err := k.Seen(bg, []byte(key))
		require.NoError(t, err)
		require.False(t, seen)
	}
	close(stop)
	wg.Wait()
}

func TestTheCacheIsNotPartOfTheStoredConfiguration(t *testing.T) {
	db, k := openCached(t, &Config{CacheBytes: -1})
	require.Nil(t, k.n.cache)
	_, err := OpenNamespace(bg, db, "n", &Config{CacheBytes: 1 << 30})
	require.NoError(t, err)
	o := ""
	require.NoError(t, k.s.Do(bg, store.QuietFunc(func(t *store.Turn) error {
		obj, _ := t.Lookup(store.ClassNamespace, "n")
		o = string(obj.Config)
		return nil
	}), store.Sync))
	require.False(t, strings.Contains(o, "Cache"), o)
}
