package idempotency_test

import (
	"context"
	"errors"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// outcome is what the model knows of a key.
type outcome struct {
	value       string
	failed      bool
	fingerprint string
	expires     time.Time
}

// model runs the package against a map, over reopenings, crashes and a clock that
// only the test moves. All is Sync, so a crash may lose nothing.
type model struct {
	t       *rapid.T
	fs      *vfs.MemFS
	db      *pebblemq.DB
	k       *idempotency.Namespace
	now     *atomic.Int64
	keys    map[string]outcome
	stale   map[string]time.Time // when a run was interrupted
	freed   map[string]bool      // by an error, with NoSync: a crash may take that back
	token   uint64
	cache   int // bytes
	content int
}

const modelExpiry = time.Hour

func TestAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{t: t, fs: vfs.NewCrashableMem(), now: new(atomic.Int64), keys: map[string]outcome{}, stale: map[string]time.Time{}, freed: map[string]bool{}}
		m.now.Store(int64(1e18))
		m.cache = rapid.SampledFrom([]int{-1, 0, 1200}).Draw(t, "cache") // none, all, and up to four keys
		m.open()
		defer func() { require.NoError(t, m.db.Close()) }()
		t.Repeat(map[string]func(*rapid.T){
			"do":        m.do,
			"once":      m.once,
			"get":       m.get,
			"forget":    m.forget,
			"pass":      func(t *rapid.T) { m.now.Add(int64(rapid.IntRange(1, 90).Draw(t, "minutes")) * int64(time.Minute)) },
			"reopen":    func(*rapid.T) { require.NoError(m.t, m.db.Close()); m.open() },
			"crash":     func(*rapid.T) { m.crash(m.fs.CrashClone(vfs.CrashCloneCfg{})) },
			"interrupt": m.interrupt,
			"":          m.check,
		})
	})
}

func (m *model) clock() time.Time { return time.Unix(0, m.now.Load()) }

func (m *model) open() {
	db, err := storetest.OpenFS(m.fs, store.Options{Clock: m.clock})
	require.NoError(m.t, err)
	m.db = db
	m.k, err = idempotency.OpenNamespace(bg, db, "model", &idempotency.Config{Expiry: modelExpiry, CacheBytes: m.cache})
	require.NoError(m.t, err)
}

func (m *model) crash(left *vfs.MemFS) {
	require.NoError(m.t, m.db.Close())
	m.fs = left
	m.open()
}

// live is what answers for a key now.
func (m *model) live(key string) (outcome, bool) {
	o, ok := m.keys[key]
	return o, ok && m.clock().Before(o.expires)
}

func drawKey(t *rapid.T) string {
	return rapid.SampledFrom([]string{"a", "b", "c", "ab", "a\x00"}).Draw(t, "key")
}
func drawFingerprint(t *rapid.T) string {
	return rapid.SampledFrom([]string{"", "", "f"}).Draw(t, "print")
}

func (m *model) fresh() string {
	m.content++
	return string(rune('A'+m.content%26)) + time.Duration(m.content).String()
}

func (m *model) store(key string, o outcome) {
	o.expires = m.clock().Add(modelExpiry)
	m.free(key, false)
	m.keys[key] = o
}

func (m *model) free(key string, doubt bool) {
	delete(m.keys, key)
	delete(m.stale, key)
	delete(m.freed, key)
	if doubt {
		m.freed[key] = true
	}
}

func (m *model) do(t *rapid.T) {
	key, print, value := drawKey(t), drawFingerprint(t), m.fresh()
	how := rapid.SampledFrom([]string{"value", "final", "error", "panic", "in a transaction"}).Draw(t, "how")
	no := errors.New("no")
	ran := false
	var res idempotency.Result
	var err error
	call := func() {
		res, err = m.k.Do(bg, []byte(key), func(_ context.Context, c idempotency.Claim) ([]byte, error) {
			ran = true
			require.Greater(m.t, c.Token, m.token)
			m.token = c.Token
			m.told(key, c.Interrupted)
			switch how {
			case "final":
				return nil, idempotency.Final(errors.New(value))
			case "error":
				return nil, no
			case "panic":
				panic(value)
			case "in a transaction":
				return nil, m.db.Update(bg, func(tx *pebblemq.Tx) error { return c.In(tx).Complete([]byte(value)) })
			}
			return []byte(value), nil
		}, &idempotency.DoOptions{Fingerprint: []byte(print)})
	}
	known, ok := m.live(key)
	switch {
	case ok && known.fingerprint != print:
		call()
		require.ErrorIs(m.t, err, idempotency.ErrMismatch)
	case ok:
		call()
		m.replayed(known, res, err)
	case how == "panic":
		require.PanicsWithValue(m.t, value, call)
		m.free(key, true)
	case how == "error":
		call()
		require.Equal(m.t, no, err)
		m.free(key, true)
	default:
		call()
		if how == "final" {
			require.EqualError(m.t, err, value)
		} else {
			require.NoError(m.t, err)
			require.Equal(m.t, value, string(res.Value))
		}
		require.False(m.t, res.Replayed)
		m.store(key, outcome{value: value, failed: how == "final", fingerprint: print})
	}
	require.Equal(m.t, !ok, ran)
}

func (m *model) replayed(known outcome, res idempotency.Result, err error) {
	require.True(m.t, res.Replayed)
	if known.failed {
		require.EqualError(m.t, err, known.value)
		return
	}
	require.NoError(m.t, err)
	require.Equal(m.t, known.value, string(res.Value))
}

func (m *model) once(t *rapid.T) {
	key, print, value := drawKey(t), drawFingerprint(t), m.fresh()
	how := rapid.SampledFrom([]string{"value", "final", "error", "refused"}).Draw(t, "how")
	no := errors.New("no")
	res, err := m.k.Once(bg, []byte(key), func(tx *pebblemq.Tx) ([]byte, error) {
		switch how {
		case "final":
			return nil, idempotency.Final(errors.New(value))
		case "error":
			return nil, no
		case "refused":
			return nil, errors.Join(m.k.In(tx).Complete([]byte("other"), nil), m.k.In(tx).Complete([]byte("other"), nil))
		}
		return []byte(value), nil
	}, &idempotency.OnceOptions{Fingerprint: []byte(print)})
	known, ok := m.live(key)
	switch {
	case ok && known.fingerprint != print:
		require.ErrorIs(m.t, err, idempotency.ErrMismatch)
	case ok:
		m.replayed(known, res, err)
	case how == "error":
		require.ErrorIs(m.t, err, no)
	case how == "refused":
		require.ErrorIs(m.t, err, idempotency.ErrDuplicate)
	default:
		if how == "final" {
			require.EqualError(m.t, err, value)
		} else {
			require.NoError(m.t, err)
			require.Equal(m.t, value, string(res.Value))
		}
		m.store(key, outcome{value: value, failed: how == "final", fingerprint: print})
	}
}

func (m *model) get(t *rapid.T) {
	key := drawKey(t)
	res, found, err := m.k.Find(bg, []byte(key))
	known, ok := m.live(key)
	require.Equal(m.t, ok, found)
	if ok {
		m.replayed(known, res, err)
	}
}

func (m *model) forget(t *rapid.T) {
	key := drawKey(t)
	require.NoError(m.t, m.k.Forget(bg, []byte(key)))
	m.free(key, false)
}

// interrupt crashes in the middle of a handler.
func (m *model) interrupt(t *rapid.T) {
	key := drawKey(t)
	if _, ok := m.live(key); ok {
		return
	}
	var left *vfs.MemFS
	_, err := m.k.Do(bg, []byte(key), func(_ context.Context, c idempotency.Claim) ([]byte, error) {
		m.told(key, c.Interrupted)
		m.token = c.Token
		left = m.fs.CrashClone(vfs.CrashCloneCfg{})
		return nil, nil
	}, nil)
	require.NoError(m.t, err)
	m.free(key, false)
	m.stale[key] = m.clock()
	m.crash(left)
}

// told checks what a handler was told of an earlier run. That may be forgotten
// when it is as old as a result.
func (m *model) told(key string, interrupted bool) {
	if m.freed[key] {
		return
	}
	since, ok := m.stale[key]
	if !interrupted && ok {
		require.GreaterOrEqual(m.t, m.clock().Sub(since), modelExpiry)
	}
	require.False(m.t, interrupted && !ok)
}

func (m *model) check(*rapid.T) {
	want := map[string]string{}
	for key := range m.keys {
		if o, ok := m.live(key); ok {
			want[key] = o.value
		}
	}
	got := map[string]string{}
	for e, err := range m.k.Entries(bg, nil) {
		require.NoError(m.t, err)
		if e.State == idempotency.Interrupted {
			m.told(string(e.Key), true)
			continue
		}
		got[string(e.Key)] = string(e.Result)
		require.True(m.t, m.keys[string(e.Key)].expires.Equal(e.Expires))
	}
	require.True(m.t, maps.Equal(want, got), "%v, not %v", got, want)
	n, err := countOf(m.k)
	require.NoError(m.t, err)
	require.GreaterOrEqual(m.t, n, uint64(len(want)))
	require.LessOrEqual(m.t, n, uint64(len(m.keys)))
}
