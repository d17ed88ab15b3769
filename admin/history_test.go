package admin

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

func TestTheHistoryHasAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := pebblemq.OpenMemory(&pebblemq.Options{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		h := historyOf(db)
		require.Same(t, h, historyOf(db), "handlers of a store share it")
		b, err := workqueue.OpenBroker(t.Context(), db, "main")
		require.NoError(t, err)
		_, err = b.DeclareQueue(t.Context(), "emails", nil)
		require.NoError(t, err)
		require.NoError(t, b.Publish(t.Context(), "", "emails", workqueue.Message{}))
		<-time.After(30 * time.Minute)
		require.InDelta(t, maxSamples/2, len(h.with(sample{})), 3)
		last, ok := h.last()
		require.True(t, ok)
		require.EqualValues(t, 1, last.ready)
		require.InDelta(t, (30 * time.Minute).Seconds(), last.oldest.Seconds(), 20)
		<-time.After(3 * time.Hour)
		require.Len(t, h.with(sample{}), maxSamples+1)
		require.NoError(t, db.Close())
	})
}
