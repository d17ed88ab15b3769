package idempotency_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/stretchr/testify/require"
)

func TestAComputedDurationIsTakenEverywhere(t *testing.T) {
	const computed = 33*time.Second + 123_456_789*time.Nanosecond // as time.Until returns it
	synctest.Test(t, func(t *testing.T) {
		db, err := pebblemq.OpenMemory(nil)
		require.NoError(t, err)
		defer db.Close()
		c := &idempotency.Config{Expiry: computed, Lease: computed - 1}
		k := openKeys(t, db, c)
		_, err = idempotency.OpenNamespace(bg, db, k.Name(), c)
		require.NoError(t, err, "it is the same when it is stored")
		_, err = k.Once(bg, []byte("a"), func(*pebblemq.Tx) ([]byte, error) { return nil, nil }, nil)
		require.NoError(t, err)
		<-time.After(computed - 1)
		seen, err := k.Seen(bg, []byte("a"))
		require.NoError(t, err)
		require.True(t, seen)
		<-time.After(1)
		seen, err = k.Seen(bg, []byte("a"))
		require.NoError(t, err)
		require.False(t, seen)
	})
}
