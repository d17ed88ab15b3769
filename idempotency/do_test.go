package idempotency_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

var bg = context.Background()

func open(t testing.TB, c *idempotency.Config) (*pebblemq.DB, *idempotency.Namespace) {
	t.Helper()
	db := storetest.Open(t, nil)
	return db, openKeys(t, db, c)
}

func openKeys(t testing.TB, db *pebblemq.DB, c *idempotency.Config) *idempotency.Namespace {
	t.Helper()
	k, err := idempotency.OpenNamespace(bg, db, "payments", c)
	require.NoError(t, err)
	return k
}

// afterCrash returns the store as a crash at this moment leaves it.
func afterCrash(t *testing.T, fs *vfs.MemFS, db *pebblemq.DB) *pebblemq.DB {
	t.Helper()
	clone := fs.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, db.Close())
	db, err := storetest.OpenFS(clone, store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { storetest.Close(t, db) })
	return db
}

// returns makes a handler that counts its runs.
func returns(runs *atomic.Int32, value string, err error) idempotency.Handler {
	return func(context.Context, idempotency.Claim) ([]byte, error) {
		runs.Add(1)
		return []byte(value), err
	}
}

func TestDoRunsOnceAndReplaysTheResult(t *testing.T) {
	for name, value := range map[string]string{"a value": "paid 42", "an empty result": ""} {
		t.Run(name, func(t *testing.T) {
			_, k := open(t, nil)
			var runs atomic.Int32
			first, err := k.Do(bg, []byte("k"), returns(&runs, value, nil), nil)
			require.NoError(t, err)
			require.False(t, first.Replayed)
			second, err := k.Do(bg, []byte("k"), returns(&runs, "other", nil), nil)
			require.NoError(t, err)
			require.True(t, second.Replayed)
			require.Equal(t, value, string(second.Value))
			require.Equal(t, first.Token, second.Token)
			require.EqualValues(t, 1, runs.Load())
		})
	}
}

func TestAnErrorOfTheHandlerFreesTheKey(t *testing.T) {
	_, k := open(t, nil)
	var runs atomic.Int32
	refused := errors.New("card refused")
	_, err := k.Do(bg, []byte("k"), returns(&runs, "", refused), nil)
	require.Equal(t, refused, err, "returned unchanged")
	res, err := k.Do(bg, []byte("k"), returns(&runs, "ok", nil), nil)
	require.NoError(t, err)
	require.False(t, res.Replayed)
	require.EqualValues(t, 2, runs.Load())
}

func TestAFinalErrorIsReplayed(t *testing.T) {
	_, k := open(t, nil)
	var runs atomic.Int32
	closed := errors.New("account closed")
	_, err := k.Do(bg, []byte("k"), returns(&runs, "", idempotency.Final(closed)), nil)
	require.ErrorIs(t, err, closed)
	res, err := k.Do(bg, []byte("k"), returns(&runs, "ok", nil), nil)
	var final *idempotency.FinalError
	require.ErrorAs(t, err, &final)
	require.Equal(t, "account closed", final.Message)
	require.True(t, res.Replayed)
	require.EqualValues(t, 1, runs.Load())
	seen, err := k.Seen(bg, []byte("k"))
	require.NoError(t, err)
	require.True(t, seen)
}

func TestAPanicFreesTheKeyAndGoesOnUp(t *testing.T) {
	_, k := open(t, nil)
	require.PanicsWithValue(t, "boom", func() {
		_, _ = k.Do(bg, []byte("k"), func(context.Context, idempotency.Claim) ([]byte, error) { panic("boom") }, nil)
	})
	var runs atomic.Int32
	_, err := k.Do(bg, []byte("k"), returns(&runs, "ok", nil), nil)
	require.NoError(t, err)
	require.EqualValues(t, 1, runs.Load())
}

func TestASecondCallWhileTheFirstRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, k := open(t, nil)
		started, finish := make(chan struct{}), make(chan struct{})
		slow := func(context.Context, idempotency.Claim) ([]byte, error) {
			close(started)
			<-finish
			return []byte("slow"), nil
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := k.Do(bg, []byte("k"), slow, nil)
			require.NoError(t, err)
		})
		<-started

		var runs atomic.Int32
		_, err := k.Do(bg, []byte("k"), returns(&runs, "", nil), &idempotency.DoOptions{NoWait: true})
		require.ErrorIs(t, err, idempotency.ErrInProgress)

		_, err = k.Do(bg, []byte("k"), returns(&runs, "", nil), &idempotency.DoOptions{Fingerprint: []byte("other")})
		require.ErrorIs(t, err, idempotency.ErrMismatch, "also while in progress")

		ctx, cancel := context.WithTimeout(bg, time.Hour)
		defer cancel()
		_, err = k.Do(ctx, []byte("k"), returns(&runs, "", nil), nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		wg.Go(func() {
			res, err := k.Do(bg, []byte("k"), returns(&runs, "", nil), nil)
			require.NoError(t, err)
			require.Equal(t, "slow", string(res.Value))
			require.True(t, res.Replayed)
		})
		synctest.Wait()
		close(finish)
		wg.Wait()
		require.Zero(t, runs.Load())
	})
}

func TestManyCallsAtOnceRunTheHandlerOnce(t *testing.T) {
	_, k := open(t, nil)
	var runs atomic.Int32
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			res, err := k.Do(bg, []byte("k"), returns(&runs, "v", nil), nil)
			if err != nil || string(res.Value) != "v" {
				t.Errorf("got %q, %v", res.Value, err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, runs.Load())
}

func TestAnotherPayloadIsAMismatch(t *testing.T) {
	_, k := open(t, nil)
	var runs atomic.Int32
	_, err := k.Do(bg, []byte("k"), returns(&runs, "", nil), &idempotency.DoOptions{Fingerprint: []byte("a")})
	require.NoError(t, err)
	for _, print := range []string{"b", ""} {
		_, err = k.Do(bg, []byte("k"), returns(&runs, "", nil), &idempotency.DoOptions{Fingerprint: []byte(print)})
		require.ErrorIs(t, err, idempotency.ErrMismatch)
	}
	require.EqualValues(t, 1, runs.Load())
}

func TestTokensRiseAlsoOverACrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	k := openKeys(t, db, nil)
	var crashed *vfs.MemFS
	first, err := k.Do(bg, []byte("k"), func(_ context.Context, c idempotency.Claim) ([]byte, error) {
		crashed = fs.CrashClone(vfs.CrashCloneCfg{}) // in mid-handler
		return nil, nil
	}, nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())

	db, err = storetest.OpenFS(crashed, store.Options{})
	require.NoError(t, err)
	defer storetest.Close(t, db)
	var runs atomic.Int32
	second, err := openKeys(t, db, nil).Do(bg, []byte("k"), returns(&runs, "v", nil), nil)
	require.NoError(t, err)
	require.EqualValues(t, 1, runs.Load(), "the claim died with its process")
	require.Greater(t, second.Token, first.Token)
}

func TestAStoredResultSurvivesACrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	var runs atomic.Int32
	_, err = openKeys(t, db, nil).Do(bg, []byte("k"), returns(&runs, "v", nil), nil)
	require.NoError(t, err)
	k := openKeys(t, afterCrash(t, fs, db), nil)
	res, err := k.Do(bg, []byte("k"), returns(&runs, "other", nil), nil)
	require.NoError(t, err)
	require.True(t, res.Replayed)
	require.Equal(t, "v", string(res.Value))
	n, err := countOf(k)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

func TestAKeyForgottenWhileItsHandlerRunsIsLost(t *testing.T) {
	_, k := open(t, nil)
	_, err := k.Do(bg, []byte("k"), func(context.Context, idempotency.Claim) ([]byte, error) {
		return []byte("v"), k.Forget(bg, []byte("k"))
	}, nil)
	require.ErrorIs(t, err, idempotency.ErrLeaseLost)
	seen, err := k.Seen(bg, []byte("k"))
	require.NoError(t, err)
	require.False(t, seen)
}

func TestAResultOverTheLimit(t *testing.T) {
	_, k := open(t, &idempotency.Config{MaxResultBytes: 4})
	var runs atomic.Int32
	_, err := k.Do(bg, []byte("n"), returns(&runs, "1234", nil), nil)
	require.NoError(t, err)
	_, err = k.Do(bg, []byte("n+1"), returns(&runs, "12345", nil), nil)
	require.ErrorIs(t, err, idempotency.ErrNotStored)
	require.ErrorIs(t, err, pebblemq.ErrTooLarge)
}

func TestExpiryIsExactAndSpaceComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, k := open(t, &idempotency.Config{Expiry: time.Hour})
		var runs atomic.Int32
		const keys = 2100 // more than two chunks
		for i := range keys {
			_, err := k.Do(bg, []byte{byte(i >> 8), byte(i), 1}, returns(&runs, "", nil), nil)
			require.NoError(t, err)
		}
		<-time.After(time.Hour - 1)
		seen, err := k.Seen(bg, []byte{0, 0, 1})
		require.NoError(t, err)
		require.True(t, seen)
		<-time.After(1)
		seen, err = k.Seen(bg, []byte{0, 0, 1})
		require.NoError(t, err)
		require.False(t, seen)

		_, err = k.Do(bg, []byte{0, 0, 1}, returns(&runs, "", nil), nil)
		require.NoError(t, err)
		require.EqualValues(t, keys+1, runs.Load())

		<-time.After(2 * time.Minute)
		synctest.Wait()
		n, err := countOf(k)
		require.NoError(t, err)
		require.EqualValues(t, 1, n, "only the one that ran again")
		<-time.After(2 * time.Hour)
		synctest.Wait()
		n, err = countOf(k)
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

func TestBadInput(t *testing.T) {
	db, k := open(t, nil)
	var runs atomic.Int32
	h := returns(&runs, "", nil)
	long := []byte(strings.Repeat("k", idempotency.MaxKeyBytes+1))
	do := func(key []byte, o *idempotency.DoOptions) error { _, err := k.Do(bg, key, h, o); return err }
	reopen := func(name string, c *idempotency.Config) error {
		_, err := idempotency.OpenNamespace(bg, db, name, c)
		return err
	}

	for name, c := range map[string]struct {
		err  error
		want error
		says string
	}{
		"an empty key":            {do(nil, nil), pebblemq.ErrInvalid, "key is empty"},
		"a key over the limit":    {do(long, nil), pebblemq.ErrTooLarge, "1025, limit 1024"},
		"a fingerprint too long":  {do([]byte("k"), &idempotency.DoOptions{Fingerprint: make([]byte, 256)}), pebblemq.ErrTooLarge, "fingerprint"},
		"an empty name":           {reopen("", nil), pebblemq.ErrInvalid, "name is empty"},
		"a name over the limit":   {reopen(strings.Repeat("n", 256), nil), pebblemq.ErrTooLarge, "256, limit 255"},
		"a negative expiry":       {reopen("x", &idempotency.Config{Expiry: -1}), pebblemq.ErrInvalid, "Expiry"},
		"an absurd expiry":        {reopen("x", &idempotency.Config{Expiry: 1 << 62}), pebblemq.ErrInvalid, "Expiry"},
		"a negative result limit": {reopen("x", &idempotency.Config{MaxResultBytes: -1}), pebblemq.ErrInvalid, "MaxResultBytes"},
		"another configuration":   {reopen("payments", &idempotency.Config{Expiry: time.Hour}), pebblemq.ErrConfigMismatch, "Expiry 24h0m0s, not 1h0m0s"},
	} {
		require.ErrorIs(t, c.err, c.want, name)
		require.ErrorContains(t, c.err, c.says, name)
	}
	require.NoError(t, do(long[1:], nil), "a key of the limit")
	require.EqualValues(t, 1, runs.Load())
}

func TestUseAfterClose(t *testing.T) {
	db, k := open(t, nil)
	require.NoError(t, db.Close())
	var runs atomic.Int32
	_, err := k.Do(bg, []byte("k"), returns(&runs, "", nil), nil)
	require.ErrorIs(t, err, pebblemq.ErrClosed)
	_, _, err = k.Find(bg, []byte("k"))
	require.ErrorIs(t, err, pebblemq.ErrClosed)
	require.Zero(t, runs.Load())
}
