package log_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

func TestReadersBeginWhereTheyAreTold(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(5000)...)
	require.Len(t, fetchAll(t, topic, 0, log.Start()), 5000)
	require.Empty(t, fetchAll(t, topic, 0, log.End()))
	require.Empty(t, fetchAll(t, topic, 0, log.Offset(5000)))
	for _, n := range []int{0, 1, 17, 4998, 4999} {
		require.Equal(t, fmt.Sprintf("v%d", n), fetchAll(t, topic, 0, log.Offset(int64(n)))[0])
	}
}

func TestTheEndIsThatOfTheCall(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, values("old")...)
	r, err := topic.NewReader(0, log.End())
	require.NoError(t, err)
	appendAll(t, topic, values("new")...)
	found, err := r.Fetch(ctx, 10, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"new"}, valuesOf(found))
}

func TestFetchRespectsBothBoundsButReturnsTheFirst(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, values("aaaa", "bbbb", "cc", "dddddddd")...)
	appendAll(t, topic, values("e")...)
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	for _, c := range []struct {
		records, bytes int
		want           []string
	}{
		{1, 100, []string{"aaaa"}},
		{10, 6, []string{"bbbb", "cc"}},
		{10, 7, []string{"dddddddd"}},
		{10, 1, []string{"e"}},
		{10, 1, []string{}},
	} {
		found, err := r.Fetch(ctx, c.records, c.bytes)
		require.NoError(t, err)
		require.Equal(t, c.want, valuesOf(found))
	}
	require.EqualValues(t, 5, r.Offset())
}

func TestAReaderWaitsAtTheEndAndWakesForEachRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 1)
		r, err := topic.NewReader(0, log.End())
		require.NoError(t, err)
		got := make(chan string)
		go func() {
			for rec, err := range r.Records(ctx) {
				if err != nil || string(rec.Value) == "stop" {
					close(got)
					return
				}
				got <- string(rec.Value)
			}
		}()
		for i := range 10 {
			synctest.Wait()
			select {
			case v := <-got:
				t.Fatal("out of nothing:", v)
			default:
			}
			_, err := topic.Append(ctx, values(fmt.Sprint(i))...)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(i), <-got)
		}
		_, err = topic.Append(ctx, values("stop")...)
		require.NoError(t, err)
		<-got
	})
}

// TestBlockedReadersAreReleased covers what can end a wait.
func TestBlockedReadersAreReleased(t *testing.T) {
	type blocked struct {
		db     *pebblemq.DB
		cancel context.CancelFunc
	}
	for name, c := range map[string]struct {
		release func(blocked) error
		want    error
	}{
		"context": {func(b blocked) error { b.cancel(); return nil }, context.Canceled},
		"close":   {func(b blocked) error { return b.db.Close() }, pebblemq.ErrClosed},
		"delete":  {func(b blocked) error { return deleteTopic(b.db, "orders") }, log.ErrTopicDeleted},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, topic := openTopic(t, 2)
				g, err := topic.OpenGroup(ctx, "g", nil)
				require.NoError(t, err)
				m, err := g.Join(ctx, nil)
				require.NoError(t, err)
				other, err := g.Join(ctx, nil)
				require.NoError(t, err)
				r, err := topic.NewReader(0, log.Start())
				require.NoError(t, err)
				waiting, cancel := context.WithCancel(ctx)
				defer cancel()
				ended := make(chan error, 4)
				go func() {
					for _, err := range r.Records(waiting) {
						ended <- err
					}
				}()
				go func() {
					for _, err := range other.Records(waiting) {
						ended <- err
					}
				}()
				go func() { _, err := m.Poll(waiting, 1); ended <- err }()
				go func() {
					err := g.Run(waiting, func(context.Context, log.Record) error { return nil }, nil)
					if waiting.Err() != nil {
						err = errors.Join(err, waiting.Err()) // it ends without an error then
					}
					ended <- err
				}()
				synctest.Wait()
				require.Empty(t, ended)
				require.NoError(t, c.release(blocked{db, cancel}))
				for range 4 {
					require.ErrorIs(t, <-ended, c.want)
				}
			})
		})
	}
}

func TestACancelledReadReturnsAtOnce(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(10)...)
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	n := 0
	for _, err := range r.Records(reading) {
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			break
		}
		if n++; n == 3 {
			cancel()
		}
	}
	require.Equal(t, 3, n)
	_, err = r.Fetch(reading, 1, 1)
	require.ErrorIs(t, err, context.Canceled)
	_, _, err = topic.Offsets(reading, 0)
	require.ErrorIs(t, err, context.Canceled)
	_, _, err = topic.OffsetAt(reading, 0, time.Now())
	require.ErrorIs(t, err, context.Canceled)
	found, err := r.Fetch(ctx, 1, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"v3"}, valuesOf(found), "the reader stands where it was")
}

func TestPositionsOutOfRangeSayWhatThereIs(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(100)...)
	stale, err := topic.NewReader(0, log.Offset(10))
	require.NoError(t, err)
	require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(40)))
	_, err = topic.NewReader(0, log.Offset(39))
	var out *log.OffsetError
	require.ErrorAs(t, err, &out)
	require.Equal(t, log.OffsetError{Topic: "orders", Offset: 39, Start: 40, End: 100}, *out)
	require.EqualValues(t, 1, out.Lost())
	_, err = stale.Fetch(ctx, 1, 1)
	require.ErrorAs(t, err, &out)
	require.EqualValues(t, 30, out.Lost())
	_, err = topic.NewReader(0, log.Offset(101))
	require.ErrorAs(t, err, &out)
	require.Zero(t, out.Lost())
}

func TestTrimmingMovesTheStartForGood(t *testing.T) {
	fs := newCrashFS(t)
	db, topic := fs.open(t)
	appendAll(t, topic, numbered(1000)...)
	appendAll(t, topic, numbered(1000)...)
	start := int64(0)
	for _, to := range []int64{1, 500, 300, 1000, 1500, 2000, 2000} {
		require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(to)))
		start = max(start, to)
		s, e, err := topic.Offsets(ctx, 0)
		require.NoError(t, err)
		require.Equal(t, start, s)
		require.EqualValues(t, 2000, e)
		require.Len(t, fetchAll(t, topic, 0, log.Start()), int(2000-start))
	}
	require.ErrorIs(t, topic.TrimTo(ctx, 0, log.Offset(2001)), log.ErrOffsetOutOfRange)
	require.NoError(t, db.Close())

	db, topic = fs.open(t)
	s, e, err := topic.Offsets(ctx, 0)
	require.NoError(t, err)
	require.EqualValues(t, 2000, s)
	require.EqualValues(t, 2000, e)
	at, err := topic.Append(ctx, values("next")...)
	require.NoError(t, err)
	require.EqualValues(t, 2000, at[0].Offset, "offsets go on")
	require.Equal(t, []string{"next"}, fetchAll(t, topic, 0, log.Start()))
	require.NoError(t, db.Close())
}

func TestTimesAreLookedUpEvenOutOfOrder(t *testing.T) {
	_, topic := openTopic(t, 1)
	at := func(sec int64) time.Time { return time.Unix(sec, 0) }
	offset, ok, err := topic.OffsetAt(ctx, 0, at(0))
	require.NoError(t, err)
	require.False(t, ok)
	require.Zero(t, offset)
	var secs []int64
	for i := range 200 {
		sec := int64(i * 10)
		if i%7 == 0 {
			sec += 55 // ahead of its time
		}
		secs = append(secs, sec)
		appendAll(t, topic, log.Record{Timestamp: at(sec), Value: fmt.Append(nil, i)})
		if i%20 == 0 { // ends a stored batch
			_, err := topic.Append(ctx, log.Record{Timestamp: at(sec)})
			require.NoError(t, err)
			secs = append(secs, sec)
		}
	}
	check := func(from int) {
		for sec := int64(-5); sec < 2100; sec += 5 {
			want := -1
			for i := from; i < len(secs); i++ {
				if secs[i] >= sec {
					want = i
					break
				}
			}
			offset, ok, err := topic.OffsetAt(ctx, 0, at(sec))
			require.NoError(t, err)
			require.Equal(t, want >= 0, ok)
			if ok {
				require.EqualValues(t, want, offset, sec)
			}
			r, err := topic.NewReader(0, log.At(at(sec)))
			require.NoError(t, err)
			if want < 0 {
				want = len(secs)
			}
			require.EqualValues(t, want, r.Offset())
		}
	}
	check(0)
	require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(92))) // an early bird goes
	check(92)
}

func TestASyncRecordIsNotReadBeforeItIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newCrashFS(t)
		db, topic := fs.open(t)
		gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
		r, err := topic.NewReader(0, log.Start())
		require.NoError(t, err)
		fs.SetHook(gate.Hook)
		gate.Shut()
		done := make(chan error)
		go func() { _, err := topic.Append(ctx, values("x")...); done <- err }()
		synctest.Wait()
		found, err := r.Fetch(ctx, 1, 1)
		require.NoError(t, err)
		require.Empty(t, found)
		gate.Open()
		require.NoError(t, <-done)
		found, err = r.Fetch(ctx, 1, 1)
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.NoError(t, db.Close())
	})
}

func TestRecordsStayValidForEver(t *testing.T) {
	_, topic := openTopic(t, 1)
	const n = 5000
	for i := range n {
		appendAll(t, topic, values(fmt.Sprint(i))...)
	}
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	var kept []log.Record
	for rec, err := range r.Records(ctx) {
		require.NoError(t, err)
		if kept = append(kept, rec); len(kept) == n {
			break
		}
	}
	for i, rec := range kept {
		require.Equal(t, fmt.Sprint(i), string(rec.Value))
	}
}

func TestReplayAllocatesPerBatchNotPerRecord(t *testing.T) {
	_, topic := openTopic(t, 1)
	v := make([]byte, 100)
	const batches, perBatch = 200, 1000
	for range batches {
		records := make([]log.Record, perBatch)
		for i := range records {
			records[i].Value = v
		}
		appendAll(t, topic, records...)
	}
	allocs := testing.AllocsPerRun(3, func() {
		r, err := topic.NewReader(0, log.Start())
		require.NoError(t, err)
		for rec := range r.Records(ctx) {
			if rec.Offset == batches*perBatch-1 {
				break
			}
		}
	})
	// About two a batch; ten times that under the race detector, which empties
	// pools.
	require.Less(t, allocs, batches*perBatch/20.0)
}

// TestAPausedReaderPinsNothing: records that it has not read yet may be trimmed, and the disk
// gets their space back, however long it pauses.
func TestAPausedReaderPinsNothing(t *testing.T) {
	db, err := storetest.OpenFS(vfs.NewMem(), store.Options{MemoryBytes: store.MinMemoryBytes})
	require.NoError(t, err)
	topic, err := log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	random := rand.NewChaCha8([32]byte{})
	for range 200 { // 25 MiB
		value := make([]byte, 128<<10)
		_, _ = random.Read(value)
		appendAll(t, topic, log.Record{Value: value})
	}
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	for rec, err := range r.Records(ctx) { // stands in the middle of what it has read ahead
		require.NoError(t, err)
		require.Zero(t, rec.Offset)
		break
	}
	require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(199)))
	require.Eventually(t, func() bool { return db.Stats().DiskBytes < 5<<20 }, time.Minute, 10*time.Millisecond)
	require.NoError(t, db.Close())
}
