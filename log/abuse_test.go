package log_test

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// A record is the caller's: what they do to it must not reach what is stored.
func TestAnAcknowledgementOfAChangedRecordCannotLeaveTheLog(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	topic, err := log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	appendAll(t, topic, numbered(3)...)
	m := join(t, openGroup(t, topic, "g"))
	found := drain(t, m, 3)
	for _, offset := range []int64{3, 1 << 40, 1<<63 - 1} {
		r := found[1]
		r.Offset = offset
		require.ErrorIs(t, m.Ack(ctx, found[0], r), log.ErrOffsetOutOfRange, offset)
		require.ErrorIs(t, m.Commit(ctx, r), log.ErrOffsetOutOfRange, offset)
	}
	r := found[1]
	r.Offset = -1
	require.ErrorIs(t, m.Ack(ctx, r), pebblemq.ErrInvalid)
	require.ErrorIs(t, m.Commit(ctx, r), pebblemq.ErrInvalid)
	require.NoError(t, topic.CheckInvariants())
	require.NoError(t, db.Close())

	db, err = storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	topic, err = log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	require.Equal(t, []int64{0}, committed(t, openGroup(t, topic, "g")))
	require.NoError(t, db.Close())
}

func TestHeadersMayBeChangedByWhoeverReadThem(t *testing.T) {
	_, topic := openTopic(t, 1)
	for range 100 {
		appendAll(t, topic, log.Record{Headers: []log.Header{{Name: "trace", Value: []byte("1")}}})
	}
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	renamed := make(chan []log.Header, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for headers := range renamed {
			headers[0].Name = "mine"
		}
	}()
	for range 100 {
		found, err := r.Fetch(ctx, 1, 1)
		require.NoError(t, err)
		require.Equal(t, "trace", found[0].Headers[0].Name)
		renamed <- found[0].Headers
	}
	close(renamed)
	<-done
}

func TestSeekLeavesItsArgumentsAlone(t *testing.T) {
	_, topic := openTopic(t, 3)
	mine := []int{7, 8, 9}
	require.NoError(t, openGroup(t, topic, "g").Seek(ctx, log.End(), mine[:0]...))
	require.Equal(t, []int{7, 8, 9}, mine)
}

// Members are not stored. So a disk that does not answer must not hold up a Join, and must not
// leave a member behind that its caller never got.
func TestMembersComeAndGoWithoutTheDisk(t *testing.T) {
	gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
	fs := crashFS{storetest.NewFS(vfs.NewCrashableMem())}
	db, topic := fs.open(t)
	g := openGroup(t, topic, "g")
	fs.SetHook(gate.Hook)
	gate.Shut()
	r := topic.AppendAsync(ctx, values("a")...)

	synced := pebblemq.WithDurability(ctx, pebblemq.Sync)
	timed, cancel := context.WithTimeout(synced, time.Minute)
	defer cancel()
	m, err := g.Join(timed, nil)
	if err == nil {
		require.Equal(t, []int{0}, m.Partitions())
		err = m.Leave(synced)
	}
	gate.Open()
	require.NoError(t, err)
	_, err = r.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, []int{0}, join(t, g).Partitions())
	require.NoError(t, db.Close())
}

// The first use of a partition in a transaction reads the disk, but no longer than
// the transaction may take.
func TestATransactionDoesNotOutwaitItsContext(t *testing.T) {
	gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
	fs := storetest.NewFS(vfs.NewCrashableMem())
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	busy, err := log.OpenTopic(ctx, db, "busy", nil)
	require.NoError(t, err)
	topic, err := log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	fs.SetHook(gate.Hook)
	gate.Shut()
	for err == nil { // until nothing more is let in
		timed, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		err = settled(busy.AppendAsync(timed, log.Record{Value: make([]byte, 64<<10)}))
		cancel()
	}
	timed, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- db.Update(timed, func(tx *pebblemq.Tx) error {
			_, err := topic.In(tx).Append(log.Record{})
			return err
		})
	}()
	select {
	case err = <-done:
	case <-time.After(time.Minute):
		err = nil
	}
	gate.Open()
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, db.Close())
}
