package pebblemq_test

import (
	"bytes"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// Errors are not silent without a chosen logger.
func TestWarningsReachTheDefaultLogger(t *testing.T) {
	for name, c := range map[string]struct {
		o    *pebblemq.Options
		want bool
	}{
		"no options":  {nil, true},
		"no logger":   {&pebblemq.Options{}, true},
		"a quiet one": {&pebblemq.Options{Logger: slog.New(slog.DiscardHandler)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				text := &bytes.Buffer{}
				before := slog.Default()
				db, err := pebblemq.OpenMemory(c.o)
				require.NoError(t, err)
				slog.SetDefault(slog.New(slog.NewTextHandler(text, nil))) // after the opening
				defer slog.SetDefault(before)
				b, err := workqueue.OpenBroker(bg, db, "main")
				require.NoError(t, err)
				declareQueue(t, b, "q", &workqueue.QueueConfig{AckTimeout: time.Second})
				require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{MessageID: "m"}))
				_, ok, err := queueOf(t, b, "q").Get(bg)
				require.NoError(t, err)
				require.True(t, ok)
				<-time.After(time.Minute)
				synctest.Wait()
				require.NoError(t, db.Close())
				if !c.want {
					require.Empty(t, text.String())
					return
				}
				require.Contains(t, text.String(), "level=WARN")
				require.Contains(t, text.String(), "message_id=m")
				require.NotContains(t, text.String(), "level=INFO")
			})
		})
	}
}
