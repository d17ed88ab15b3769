package pebblemq_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/pebblemqtest"
	"github.com/pebblemq/pebblemq/visibility"
)

// A redrive that is cancelled on a full disk ends when there is room to note it.
func TestARedriveThatIsCancelledOnAFullDiskEndsLater(t *testing.T) {
	disk := pebblemqtest.NewDisk()
	db := pebblemqtest.Open(t, &pebblemqtest.Options{Disk: disk})
	q, err := visibility.OpenQueue(bg, db, "q", nil)
	require.NoError(t, err)
	to, err := visibility.OpenQueue(bg, db, "to", nil)
	require.NoError(t, err)
	for range 3 {
		_, err := q.Send(bg, visibility.Message{Body: []byte("x")})
		require.NoError(t, err)
	}
	reached, full := make(chan struct{}), make(chan struct{})
	r, err := q.Redrive(bg, &visibility.RedriveOptions{To: "to", Filter: func(*visibility.Browsed) bool {
		select {
		case <-full:
		default:
			close(reached)
			<-full
		}
		return true
	}})
	require.NoError(t, err)
	<-reached
	disk.Fill()
	for err == nil {
		_, err = to.Send(bg, visibility.Message{Body: make([]byte, 100<<10)})
	}
	require.ErrorIs(t, err, pebblemq.ErrDiskFull)
	close(full)
	short, cancel := context.WithTimeout(bg, 200*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, r.Cancel(short), context.DeadlineExceeded)
	require.Equal(t, visibility.RedriveRunning, r.Info().State)
	disk.Free()
	info, err := r.Wait(bg)
	require.NoError(t, err)
	require.Equal(t, visibility.RedriveCancelled, info.State)
	again, err := q.Redrive(bg, &visibility.RedriveOptions{To: "to"})
	require.NoError(t, err)
	_, err = again.Wait(bg)
	require.NoError(t, err)
}
