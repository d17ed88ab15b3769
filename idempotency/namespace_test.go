package idempotency_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

func TestOpenNamespaceCreatesAndOpens(t *testing.T) {
	db, _ := open(t, nil)
	k, err := idempotency.OpenNamespace(bg, db, "webhooks", &idempotency.Config{Expiry: time.Hour})
	require.NoError(t, err)
	for name, c := range map[string]*idempotency.Config{"as stored": nil, "the same": {Expiry: time.Hour}} {
		again, err := idempotency.OpenNamespace(bg, db, "webhooks", c)
		require.NoError(t, err, name)
		require.Equal(t, k.Config(), again.Config(), name)
	}
	_, err = idempotency.OpenNamespace(bg, db, "webhooks", &idempotency.Config{Expiry: time.Minute, Lease: time.Second})
	require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
	require.ErrorContains(t, err, `namespace "webhooks" has Expiry 1h0m0s, not 1m0s; Lease 0s, not 1s; EnsureNamespace alters it`)
}

func TestLookupNamespaceCreatesNothing(t *testing.T) {
	db, _ := open(t, nil)
	_, err := idempotency.LookupNamespace(bg, db, "none")
	require.ErrorIs(t, err, idempotency.ErrUnknownNamespace)
	require.ErrorIs(t, err, pebblemq.ErrNotFound)
	list, err := idempotency.Namespaces(bg, db)
	require.NoError(t, err)
	require.Len(t, list, 1)
}

// A release that changes a setting starts with one line, over restarts too.
func TestEnsureNamespaceCreatesAndAlters(t *testing.T) {
	fs := vfs.NewMem()
	for life, want := range []pebblemq.Ensured{
		{Created: true}, {}, {Altered: []string{"Expiry"}}, {}, {Altered: []string{"Lease", "MaxResultBytes"}},
	} {
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		c := idempotency.Config{Expiry: time.Hour}
		if life >= 2 {
			c.Expiry = 2 * time.Hour
		}
		if life >= 4 {
			c.Lease, c.MaxResultBytes = time.Second, 10
		}
		k, did, err := idempotency.EnsureNamespace(bg, db, "n", &c)
		require.NoError(t, err)
		require.Equal(t, want, did, "life %d", life)
		require.Equal(t, want.Unchanged(), did.Unchanged())
		require.Equal(t, c.Expiry, k.Config().Expiry)
		_, did, err = idempotency.EnsureNamespace(bg, db, "n", nil)
		require.NoError(t, err)
		require.True(t, did.Unchanged(), "nil is as stored")
		storetest.Close(t, db)
	}
}

func TestAnAlteredExpiryCountsForWhatIsCompletedFromThenOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, k := open(t, &idempotency.Config{Expiry: time.Hour})
		var runs atomic.Int32
		h := returns(&runs, "", nil)
		do := func(key string) {
			_, err := k.Do(bg, []byte(key), h, nil)
			require.NoError(t, err)
		}
		do("old")
		require.NoError(t, k.Alter(bg, &idempotency.Config{Expiry: 24 * time.Hour}))
		do("new")
		<-time.After(2 * time.Hour)
		do("old")
		do("new")
		require.EqualValues(t, 3, runs.Load(), "the old one ran again")
		require.ErrorIs(t, k.Alter(bg, &idempotency.Config{Expiry: -1}), pebblemq.ErrInvalid)
		storetest.Verify(t, db)
	})
}

func TestInfoTellsOfANamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, k := open(t, &idempotency.Config{Lease: time.Second})
		begin := time.Now()
		<-time.After(time.Minute)
		require.NoError(t, k.Alter(bg, &idempotency.Config{Lease: time.Minute}))
		_, err := k.Do(bg, []byte("a"), func(context.Context, idempotency.Claim) ([]byte, error) {
			info, err := k.Info(bg)
			require.NoError(t, err)
			require.Equal(t, 1, info.InProgress)
			return nil, nil
		}, nil)
		require.NoError(t, err)
		info, err := k.Info(bg)
		require.NoError(t, err)
		want := idempotency.NamespaceInfo{
			Name: "payments", ID: info.ID, Config: k.Config(), Completed: 1,
			Created: info.Created, Altered: info.Altered,
		}
		require.Equal(t, want, info)
		require.True(t, info.Created.Equal(begin))
		require.True(t, info.Altered.Equal(begin.Add(time.Minute)))
		_, err = idempotency.OpenNamespace(bg, db, "a", nil)
		require.NoError(t, err)
		list, err := idempotency.Namespaces(bg, db)
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.Equal(t, "a", list[0].Name)
		require.Equal(t, want, list[1])
	})
}

func TestNamespacesThatWereNotOpenedAreListed(t *testing.T) {
	fs := vfs.NewMem()
	var want []idempotency.NamespaceInfo
	for life := range 2 {
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		if life == 0 {
			k := openKeys(t, db, nil)
			_, err := k.Do(bg, []byte("a"), returns(new(atomic.Int32), "", nil), nil)
			require.NoError(t, err)
			want, err = idempotency.Namespaces(bg, db)
			require.NoError(t, err)
			want[0].Config.CacheBytes = 0 // is not stored
		} else {
			list, err := idempotency.Namespaces(bg, db)
			require.NoError(t, err)
			require.Equal(t, want, list)
		}
		storetest.Close(t, db)
	}
}

func TestADeletedNamespaceIsGoneAndItsSuccessorEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, k := open(t, nil)
		var runs atomic.Int32
		h := returns(&runs, "", nil)
		_, err := k.Do(bg, []byte("a"), h, nil)
		require.NoError(t, err)

		// A handler that runs loses its claim.
		_, err = k.Do(bg, []byte("b"), func(ctx context.Context, _ idempotency.Claim) ([]byte, error) {
			require.NoError(t, k.Delete(bg))
			<-ctx.Done()
			require.ErrorIs(t, context.Cause(ctx), idempotency.ErrLeaseLost)
			return nil, nil
		}, nil)
		require.ErrorIs(t, err, idempotency.ErrNamespaceDeleted)
		require.ErrorIs(t, err, idempotency.ErrNotStored)

		for name, err := range map[string]error{
			"Do":     func() error { _, err := k.Do(bg, []byte("c"), h, nil); return err }(),
			"Find":   func() error { _, _, err := k.Find(bg, []byte("a")); return err }(),
			"Seen":   func() error { _, err := k.Seen(bg, []byte("a")); return err }(),
			"Info":   func() error { _, err := k.Info(bg); return err }(),
			"Forget": k.Forget(bg, []byte("a")),
			"Alter":  k.Alter(bg, nil),
			"Delete": k.Delete(bg),
			"Once": func() error {
				_, err := k.Once(bg, []byte("c"), func(*pebblemq.Tx) ([]byte, error) { return nil, nil }, nil)
				return err
			}(),
			"Complete": db.Update(bg, func(tx *pebblemq.Tx) error { return k.In(tx).Complete([]byte("c"), nil) }),
		} {
			require.ErrorIs(t, err, idempotency.ErrNamespaceDeleted, name)
			require.ErrorIs(t, err, pebblemq.ErrDeleted, name)
		}
		require.EqualValues(t, 1, runs.Load())
		_, err = idempotency.LookupNamespace(bg, db, "payments")
		require.ErrorIs(t, err, idempotency.ErrUnknownNamespace)

		k = openKeys(t, db, nil)
		_, err = k.Do(bg, []byte("a"), h, nil)
		require.NoError(t, err)
		require.EqualValues(t, 2, runs.Load())
		<-time.After(100 * time.Hour)
		synctest.Wait()
		n, err := countOf(k)
		require.NoError(t, err)
		require.Zero(t, n)
	})
}
