package log_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/log"
)

// A trim may come at any moment. A caller who asks for a time or a lag gets no error about a
// position that it never named.
func TestATrimDoesNotDisturbLookups(t *testing.T) {
	_, topic := openTopic(t, 1)
	g := openGroup(t, topic, "g")
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for range 300 {
			appendAll(t, topic, log.Record{Timestamp: time.Unix(1000, 0)}, log.Record{Timestamp: time.Unix(1000, 0)})
			_, end, err := topic.Offsets(ctx, 0)
			if err == nil {
				err = topic.TrimTo(noSync, 0, log.Offset(end-1))
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				_, _, err := topic.OffsetAt(ctx, 0, time.Unix(1000, 0))
				if err == nil {
					_, err = g.Lag(ctx)
				}
				if err == nil {
					_, err = topic.NewReader(0, log.At(time.Unix(1, 0)))
				}
				if err == nil {
					err = g.Seek(noSync, log.Start())
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, topic.CheckInvariants())
}
