package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/stretchr/testify/require"
)

func list(t *testing.T, k *idempotency.Namespace, prefix string) (found []string) {
	t.Helper()
	for e, err := range k.Entries(bg, []byte(prefix)) {
		require.NoError(t, err)
		found = append(found, fmt.Sprintf("%s %v %q", e.Key, e.State, e.Result))
	}
	return found
}

func TestListShowsEveryState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, k := dies(t, &idempotency.Config{Expiry: time.Hour, Lease: time.Minute}, nil)
		other, err := idempotency.OpenNamespace(bg, db, "payments2", nil)
		require.NoError(t, err)
		var runs atomic.Int32
		_, err = other.Do(bg, []byte("b/elsewhere"), returns(&runs, "", nil), nil)
		require.NoError(t, err)

		_, err = k.Do(bg, []byte("a/expired"), returns(&runs, "", nil), nil)
		require.NoError(t, err)
		require.Contains(t, list(t, k, ""), `k in progress ""`, "under its lease")
		<-time.After(59*time.Minute + 59*time.Second)
		require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error { return k.In(tx).Complete([]byte("b/done"), []byte("v")) }))
		_, err = k.Do(bg, []byte("b/failed"), returns(&runs, "", idempotency.Final(errors.New("closed"))), nil)
		require.Error(t, err)
		<-time.After(time.Second)
		_, err = k.Do(bg, []byte("b/running"), func(context.Context, idempotency.Claim) ([]byte, error) {
			want := []string{`b/done completed "v"`, `b/failed failed "closed"`, `b/running in progress ""`}
			require.Equal(t, want, list(t, k, "b/"))
			require.Equal(t, append(want, `k interrupted ""`), list(t, k, ""))
			require.Empty(t, list(t, k, "b/runningg"))
			return nil, nil
		}, nil)
		require.NoError(t, err)
		for e, err := range k.Entries(bg, []byte("b/done")) {
			require.NoError(t, err)
			require.WithinDuration(t, time.Now().Add(time.Hour), e.Expires, time.Second)
			require.Zero(t, e.Token)
		}
	})
}

func TestAListThatIsLeftLetsTheStoreClose(t *testing.T) {
	db, k := open(t, nil)
	for i := range 3 {
		require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error { return k.In(tx).Complete([]byte{byte(i)}, nil) }))
	}
	for range k.Entries(bg, nil) {
		break
	}
	require.Panics(t, func() {
		for range k.Entries(bg, nil) {
			panic("boom")
		}
	})
	ctx, cancel := context.WithCancel(bg)
	defer cancel()
	n := 0
	for _, err := range k.Entries(ctx, nil) {
		if n++; n == 2 {
			require.ErrorIs(t, err, context.Canceled)
		}
		cancel()
	}
	require.Equal(t, 2, n)
	require.NoError(t, db.Close())
	for _, err := range k.Entries(bg, nil) {
		require.ErrorIs(t, err, pebblemq.ErrClosed)
	}
}

func TestAListIsStableWhileKeysComeAndGo(t *testing.T) {
	db, k := open(t, nil)
	key := func(i int) []byte { return fmt.Appendf(nil, "%03d", i) }
	for i := range 100 {
		require.NoError(t, db.Update(nosync, func(tx *pebblemq.Tx) error { return k.In(tx).Complete(key(i), nil) }))
	}
	n := 0
	for e, err := range k.Entries(bg, nil) {
		require.NoError(t, err)
		require.Equal(t, key(n), e.Key)
		require.NoError(t, k.Forget(nosync, key(99-n)))
		n++
	}
	require.Equal(t, 100, n)
	require.Empty(t, list(t, k, ""))
}
