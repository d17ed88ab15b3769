package workqueue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// reopened closes the store and opens it, so that what it holds is in tables.
func reopened(t *testing.T, fs vfs.FS, db *pebblemq.DB, o store.Options) *pebblemq.DB {
	t.Helper()
	if db != nil {
		require.NoError(t, db.Close())
	}
	db, err := storetest.OpenFS(fs, o)
	require.NoError(t, err)
	return db
}

// TestADamagedBlockDoesNotHoldUpTheRestOfItsQueue flips one bit in the table of a
// queue of 500 messages, of which six in seven are settled.
func TestADamagedBlockDoesNotHoldUpTheRestOfItsQueue(t *testing.T) {
	fs := vfs.NewMem()
	db := reopened(t, fs, nil, store.Options{})
	b, err := workqueue.Open(db, "b")
	require.NoError(t, err)
	require.NoError(t, b.DeclareQueue(bg, "q", nil))
	for i := range 500 {
		err := b.Publish(bg, "", "q", workqueue.Message{MessageID: fmt.Sprint(i), Body: []byte(strings.Repeat("x", 200))})
		require.NoError(t, err)
	}
	var kept []*workqueue.Delivery
	want := map[string]bool{}
	for i := range 500 {
		d, ok, err := b.Get(bg, "q")
		require.NoError(t, err)
		require.True(t, ok)
		if i%7 == 0 {
			kept = append(kept, d)
			want[d.MessageID] = true
			continue
		}
		require.NoError(t, d.Ack(bg))
	}
	for _, d := range kept {
		require.NoError(t, d.Nack(bg, true))
	}
	db = reopened(t, fs, db, store.Options{}) // writes the tables
	require.NoError(t, db.Close())
	storetest.DamageTables(t, fs, store.KindWorkMessage, 0.5)

	db = reopened(t, fs, nil, store.Options{})
	defer func() { require.NoError(t, db.Close()) }()
	b, err = workqueue.Open(db, "b")
	require.NoError(t, err)
	err = b.Publish(bg, "", "q", workqueue.Message{MessageID: "new"})
	require.NoError(t, err)
	want["new"] = true
	told := 0
	limited, cancel := context.WithTimeout(bg, 5*time.Second)
	defer cancel()
	for {
		d, ok, err := b.Get(limited, "q")
		if errors.Is(err, pebblemq.ErrCorrupt) {
			require.ErrorContains(t, err, `queue "q"`)
			told++
			continue
		}
		require.NoError(t, err)
		if !ok {
			break
		}
		require.Contains(t, want, d.MessageID)
		delete(want, d.MessageID)
		require.NoError(t, d.Ack(bg))
	}
	require.Equal(t, 1, told)
	require.NotEmpty(t, want)
	require.NotContains(t, want, "0")
	require.NotContains(t, want, "497")
	require.NotContains(t, want, "new")
	st, err := b.QueueStats(bg, "q")
	require.NoError(t, err)
	require.Equal(t, workqueue.QueueStats{Bytes: st.Bytes, Unreadable: uint64(len(want))}, st)
}
