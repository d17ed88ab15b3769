package idempotency_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// The disk freezes while the handler runs.
func TestDoEndsWithItsContextAndTheGraceOfTheStore(t *testing.T) {
	no := errors.New("no")
	for name, c := range map[string]struct {
		failure error
		takes   time.Duration // the handler
		noRoom  bool
		ends    time.Duration
		err     error
	}{
		"the result waits for the disk":           {ends: 3 * time.Second, err: pebblemq.ErrUnknownOutcome},
		"the result waits for room":               {noRoom: true, ends: 3 * time.Second, err: idempotency.ErrNotStored},
		"the handler outlives its context":        {takes: time.Minute, ends: time.Minute + time.Second, err: pebblemq.ErrUnknownOutcome},
		"it outlives it, and there is no room":    {takes: time.Minute, noRoom: true, ends: time.Minute + time.Second, err: idempotency.ErrNotStored},
		"the handler fails":                       {failure: no, err: no},
		"the handler fails, and there is no room": {failure: no, noRoom: true, err: no},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cold := storetest.OpenCold(t, "")
				k := openKeys(t, cold.DB, nil)
				ctx, stop := context.WithTimeout(bg, storetest.Patience)
				defer stop()
				var begin time.Time
				_, err := k.Do(ctx, []byte("k"), func(context.Context, idempotency.Claim) ([]byte, error) {
					cold.Freeze()
					if c.noRoom {
						cold.Fill(t)
					}
					begin = time.Now()
					<-time.After(c.takes)
					return []byte("paid"), c.failure
				}, nil)
				require.ErrorIs(t, err, c.err)
				require.Equal(t, c.ends, time.Since(begin).Round(time.Second))
				cold.Thaw()
				storetest.Close(t, cold.DB)
			})
		})
	}
}

func TestAResultWhoseFsyncWasNotAwaitedIsReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cold := storetest.OpenCold(t, "")
		k := openKeys(t, cold.DB, nil)
		ctx, stop := context.WithTimeout(bg, storetest.Patience)
		defer stop()
		_, err := k.Do(ctx, []byte("k"), func(context.Context, idempotency.Claim) ([]byte, error) {
			cold.Freeze()
			return []byte("paid"), nil
		}, nil)
		require.ErrorIs(t, err, idempotency.ErrNotStored)
		cold.Thaw()
		res, ok, err := k.Find(bg, []byte("k"))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "paid", string(res.Value))
		storetest.Close(t, cold.DB)
	})
}
