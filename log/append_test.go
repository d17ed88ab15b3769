package log_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

func TestOffsetsAreDenseAndInTheOrderOfTheCall(t *testing.T) {
	_, topic := openTopic(t, 1)
	for i := range 10 {
		at, err := topic.Append(ctx, numbered(3)...)
		require.NoError(t, err)
		for j, p := range at {
			require.Equal(t, log.Position{Offset: int64(3*i + j)}, p)
		}
	}
}

func TestEqualKeysShareAPartitionInOrder(t *testing.T) {
	_, topic := openTopic(t, 4)
	var records []log.Record
	for i := range 400 {
		records = append(records, log.Record{Key: fmt.Appendf(nil, "k%d", i%20), Value: fmt.Appendf(nil, "%d", i)})
	}
	at, err := topic.Append(ctx, records...)
	require.NoError(t, err)
	byKey := map[string]log.Position{}
	used := map[int]bool{}
	for i, p := range at {
		key := string(records[i].Key)
		if before, ok := byKey[key]; ok {
			require.Equal(t, before.Partition, p.Partition)
			require.Greater(t, p.Offset, before.Offset)
		}
		byKey[key] = p
		used[p.Partition] = true
		r, err := topic.NewReader(p.Partition, log.Offset(p.Offset))
		require.NoError(t, err)
		found, err := r.Fetch(ctx, 1, 1)
		require.NoError(t, err)
		require.Equal(t, records[i].Value, found[0].Value)
		require.Equal(t, p, log.Position{Partition: found[0].Partition, Offset: found[0].Offset})
	}
	require.Len(t, used, 4)
}

func TestAnExplicitPartitionWins(t *testing.T) {
	_, topic := openTopic(t, 8)
	for p := range 8 {
		at, err := topic.AppendWith(ctx, into(p), log.Record{Key: []byte("same")}, log.Record{})
		require.NoError(t, err)
		require.Equal(t, []log.Position{{Partition: p}, {Partition: p, Offset: 1}}, at)
	}
}

func TestKeylessRecordsOfACallStayTogetherAndCallsTakeTurns(t *testing.T) {
	_, topic := openTopic(t, 3)
	used := map[int]int{}
	for range 6 {
		at, err := topic.Append(ctx, numbered(5)...)
		require.NoError(t, err)
		for _, p := range at {
			require.Equal(t, at[0].Partition, p.Partition)
		}
		used[at[0].Partition]++
	}
	require.Equal(t, map[int]int{0: 2, 1: 2, 2: 2}, used)
}

func TestAnEmptyKeyIsAKey(t *testing.T) {
	_, topic := openTopic(t, 8)
	first, err := topic.Append(ctx, log.Record{Key: []byte{}})
	require.NoError(t, err)
	for range 5 {
		at, err := topic.Append(ctx, log.Record{Key: []byte{}})
		require.NoError(t, err)
		require.Equal(t, first[0].Partition, at[0].Partition)
	}
}

func TestARecordComesBackAsItWas(t *testing.T) {
	_, topic := openTopic(t, 1)
	when := time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC)
	in := []log.Record{
		{},
		{Key: []byte{}, Value: []byte{}, Timestamp: when},
		{Key: []byte("k")},
		{Value: []byte("v"), Headers: []log.Header{}},
		{Key: []byte("k"), Value: []byte("v"), Timestamp: when, Headers: []log.Header{
			{Name: "b", Value: []byte("1")}, {Name: "a"}, {Name: "b", Value: []byte{}}, {Name: "", Value: []byte("2")},
		}},
		{Key: []byte("k"), Value: []byte("v"), Headers: []log.Header{{Name: "b"}}},
		{Value: bytes.Repeat([]byte("x"), 300<<10)},
		{Timestamp: time.Unix(0, math.MinInt64)},
		{Timestamp: time.Unix(0, math.MaxInt64)},
	}
	before := time.Now().UTC()
	_, err := topic.Append(ctx, in...)
	require.NoError(t, err)
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	out, err := r.Fetch(ctx, 100, 1<<20)
	require.NoError(t, err)
	require.Len(t, out, len(in))
	for i, r := range out {
		require.Equal(t, in[i].Key, r.Key)
		require.Equal(t, in[i].Value, r.Value)
		require.Equal(t, in[i].Key == nil, r.Key == nil, i)
		require.Equal(t, in[i].Value == nil, r.Value == nil, i)
		require.Equal(t, int64(i), r.Offset)
		if len(in[i].Headers) == 0 {
			require.Empty(t, r.Headers)
		} else {
			require.Equal(t, in[i].Headers, r.Headers)
		}
		if in[i].Timestamp.IsZero() {
			require.WithinRange(t, r.Timestamp, before, time.Now())
		} else {
			require.True(t, in[i].Timestamp.Equal(r.Timestamp))
		}
		clone := r.Clone()
		require.Equal(t, r, clone)
	}
}

func TestCallersMayReuseTheirBytes(t *testing.T) {
	_, topic := openTopic(t, 1)
	buf := []byte("first")
	_, err := topic.Append(noSync, log.Record{Key: buf, Value: buf, Headers: []log.Header{{Name: "h", Value: buf}}})
	require.NoError(t, err)
	copy(buf, "XXXXX")
	require.Equal(t, []string{"first"}, fetchAll(t, topic, 0, log.Start()))
}

func TestLimitsHoldAtTheLimitAndRefuseOneMore(t *testing.T) {
	headers := func(n, bytes int) []log.Header {
		h := make([]log.Header, n)
		h[0] = log.Header{Name: strings.Repeat("n", bytes/2), Value: make([]byte, bytes-bytes/2)}
		return h
	}
	fill := func(total int) (records []log.Record) {
		for ; total > log.DefaultRecordBytes; total -= log.DefaultRecordBytes {
			records = append(records, log.Record{Value: make([]byte, log.DefaultRecordBytes)})
		}
		return append(records, log.Record{Key: make([]byte, total)})
	}
	for name, c := range map[string]struct {
		make  func(extra int) []log.Record
		index int
	}{
		"record": {func(x int) []log.Record {
			return []log.Record{{}, {Key: make([]byte, 100), Value: make([]byte, log.DefaultRecordBytes-103+x), Headers: headers(1, 3)}}
		}, 1},
		"header bytes": {func(x int) []log.Record { return []log.Record{{Headers: headers(2, log.MaxHeaderBytes+x)}} }, 0},
		"headers":      {func(x int) []log.Record { return []log.Record{{Headers: headers(log.MaxHeaders+x, 8)}} }, 0},
		"batch bytes":  {func(x int) []log.Record { return fill(log.MaxBatchBytes + x) }, 16},
	} {
		t.Run(name, func(t *testing.T) {
			_, topic := openTopic(t, 1)
			over := c.make(1)
			_, err := topic.Append(noSync, over...)
			require.ErrorIs(t, err, pebblemq.ErrTooLarge)
			var bad *log.RecordError
			require.ErrorAs(t, err, &bad)
			require.Equal(t, c.index, bad.Index)
			require.Empty(t, fetchAll(t, topic, 0, log.Start()), "nothing of the call may be there")
			full := c.make(0)
			at, err := topic.Append(noSync, full...)
			require.NoError(t, err)
			require.Len(t, fetchAll(t, topic, 0, log.Start()), len(at))
		})
	}
	t.Run("batch records", func(t *testing.T) {
		_, topic := openTopic(t, 1)
		_, err := topic.Append(noSync, make([]log.Record, log.MaxBatchRecords+1)...)
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		at, err := topic.Append(noSync, make([]log.Record, log.MaxBatchRecords)...)
		require.NoError(t, err)
		require.EqualValues(t, log.MaxBatchRecords-1, at[len(at)-1].Offset)
		require.Len(t, fetchAll(t, topic, 0, log.Start()), log.MaxBatchRecords)
	})
	t.Run("timestamp", func(t *testing.T) {
		_, topic := openTopic(t, 1)
		for _, when := range []time.Time{
			time.Unix(0, math.MinInt64).Add(-1), time.Unix(0, math.MaxInt64).Add(1), time.Unix(1<<40, 0),
		} {
			_, err := topic.Append(noSync, log.Record{Timestamp: when})
			require.ErrorIs(t, err, pebblemq.ErrInvalid)
		}
	})
}

func TestConcurrentAppendsLoseNothing(t *testing.T) {
	_, topic := openTopic(t, 2)
	const workers, calls = 16, 50
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range calls {
				c := ctx
				if i%2 == 0 {
					c = noSync
				}
				at, err := topic.AppendWith(c, into(w%2), values(fmt.Sprintf("%d-%d", w, i), "second")...)
				if err != nil || at[1].Offset != at[0].Offset+1 {
					t.Error(at, err)
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]int{}
	for p := range 2 {
		last := map[string]int{}
		for _, v := range fetchAll(t, topic, p, log.Start()) {
			seen[v]++
			var w, i int
			if n, _ := fmt.Sscanf(v, "%d-%d", &w, &i); n == 2 {
				key := fmt.Sprint(w)
				require.Equal(t, last[key], i, "the order of a caller")
				last[key]++
			}
		}
	}
	require.Equal(t, workers*calls, seen["second"])
	require.Len(t, seen, workers*calls+1)
}

func TestAsyncAppendsKeepTheirOrderAndTellTheirPlaces(t *testing.T) {
	_, topic := openTopic(t, 1)
	var results []*pebblemq.Future[[]log.Position]
	for i := range 100 {
		results = append(results, topic.AppendAsync(ctx, values(fmt.Sprint(i), "x")...))
	}
	for i, r := range results {
		at, err := r.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, []log.Position{{Offset: int64(2 * i)}, {Offset: int64(2*i + 1)}}, at)
		again, err := r.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, at, again)
	}
	r := topic.AppendAsync(noSync, values("last")...)
	<-r.Done()
	at, err := r.Wait(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 200, at[0].Offset)
}

func TestACancelledAppendDoesNothing(t *testing.T) {
	_, topic := openTopic(t, 1)
	dead, cancel := context.WithCancel(ctx)
	cancel()
	_, err := topic.Append(dead, values("x")...)
	require.ErrorIs(t, err, context.Canceled)
	_, err = topic.AppendAsync(dead, values("x")...).Wait(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, topic.TrimTo(dead, 0, log.Offset(0)), context.Canceled)
	require.ErrorIs(t, topic.Delete(dead), context.Canceled)
	require.Empty(t, fetchAll(t, topic, 0, log.Start()))
}

func TestAppendsInATransactionHappenTogether(t *testing.T) {
	db, topic := openTopic(t, 2)
	appendAll(t, topic, log.Record{Key: []byte("a")}, log.Record{Key: []byte("b")}, log.Record{Key: []byte("c")})
	var results []*log.Placement
	require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
		for p := range 2 {
			r, err := topic.In(tx).AppendWith(into(p), numbered(3)...)
			require.NoError(t, err)
			_, err = r.Positions()
			require.ErrorIs(t, err, log.ErrPending)
			results = append(results, r)
		}
		r, err := topic.In(tx).Append(log.Record{Key: []byte("a")}, log.Record{Key: []byte("b")})
		results = append(results, r)
		require.NoError(t, err)
		return tx.Set([]byte("k"), []byte("v"))
	}))
	for p := range 2 {
		at, err := results[p].Positions()
		require.NoError(t, err)
		require.Len(t, at, 3)
		require.Equal(t, []string{"v0", "v1", "v2"}, fetchAll(t, topic, p, log.Offset(at[0].Offset))[:3])
	}
	at, err := results[2].Positions()
	require.NoError(t, err)
	require.Len(t, at, 2)
}

func TestARefusedTransactionLeavesNoTraceInTheLog(t *testing.T) {
	db, topic := openTopic(t, 1)
	other, err := log.OpenTopic(ctx, db, "other", nil)
	require.NoError(t, err)
	appendAll(t, topic, values("before")...)
	var r *log.Placement
	for _, size := range []int{1, 40, 5000} { // in the open segment, in several
		err = db.Update(ctx, func(tx *pebblemq.Tx) error {
			for range 3 {
				if r, err = topic.In(tx).Append(values(strings.Repeat("x", size), strings.Repeat("y", 40*size))...); err != nil {
					return err
				}
			}
			if _, err := other.In(tx).Append(values("refused")...); err != nil {
				return err
			}
			return deleteTopic(db, "other")
		})
		require.ErrorIs(t, err, log.ErrTopicDeleted)
		require.ErrorContains(t, err, `append 1 records to topic "other"`)
		_, err = r.Positions()
		require.ErrorIs(t, err, log.ErrPending)
		other, err = log.OpenTopic(ctx, db, "other", nil)
		require.NoError(t, err)
		at, err := topic.Append(noSync, values("after")...)
		require.NoError(t, err)
		require.Len(t, fetchAll(t, topic, 0, log.Start()), int(at[0].Offset)+1)
	}
	require.Equal(t, []string{"before", "after", "after", "after"}, fetchAll(t, topic, 0, log.Start()))
}

func TestABadRecordDoomsItsTransaction(t *testing.T) {
	db, topic := openTopic(t, 1)
	for _, bad := range []func(log.TopicTx) error{
		func(x log.TopicTx) error { _, err := x.Append(); return err },
		func(x log.TopicTx) error { _, err := x.AppendWith(into(7), log.Record{}); return err },
		func(x log.TopicTx) error {
			_, err := x.Append(log.Record{Value: make([]byte, log.DefaultRecordBytes+1)})
			return err
		},
	} {
		var refusal error
		err := db.Update(ctx, func(tx *pebblemq.Tx) error {
			_, err := topic.In(tx).Append(values("good")...)
			require.NoError(t, err)
			refusal = bad(topic.In(tx))
			return nil // ignored by the caller
		})
		require.Error(t, refusal)
		require.ErrorIs(t, err, refusal)
	}
	require.Empty(t, fetchAll(t, topic, 0, log.Start()))
}

func TestATransactionThatFailsAppendsNothing(t *testing.T) {
	db, topic := openTopic(t, 1)
	oops := errors.New("oops")
	var late log.TopicTx
	require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
		late = topic.In(tx)
		_, err := late.Append(values("x")...)
		require.NoError(t, err)
		return oops
	}), oops)
	_, err := late.Append(values("x")...)
	require.ErrorIs(t, err, pebblemq.ErrTxDone)
	require.ErrorIs(t, db.View(ctx, func(tx *pebblemq.Tx) error {
		_, err := topic.In(tx).Append(values("x")...)
		return err
	}), pebblemq.ErrReadOnly)
	require.Empty(t, fetchAll(t, topic, 0, log.Start()))
}

func TestATransactionOfAnotherStoreIsRefused(t *testing.T) {
	_, topic := openTopic(t, 1)
	db, _ := openTopic(t, 1)
	m := join(t, openGroup(t, topic, "g"))
	require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
		_, err := topic.In(tx).Append(values("x")...)
		return err
	}), pebblemq.ErrInvalid)
	require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
		return m.In(tx).CommitOffset(log.Committed{Partition: 0, Next: 0})
	}), pebblemq.ErrInvalid)
	require.Empty(t, fetchAll(t, topic, 0, log.Start()))
}

// TestARefusalCutsTheOpenSegmentBack refuses a transaction while records of
// others wait in the segment that it appended to.
func TestARefusalCutsTheOpenSegmentBack(t *testing.T) {
	for _, size := range []int{1, 2000, 40000, 200000} { // in place, in a grown buffer, in further segments
		synctest.Test(t, func(t *testing.T) {
			fs := newCrashFS(t)
			db, topic := fs.open(t)
			g := openGroup(t, topic, "g")
			m := join(t, g)
			gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
			fs.SetHook(gate.Hook)
			gate.Shut()
			var wg sync.WaitGroup
			do := func(f func() error) {
				wg.Go(func() { assert.NoError(t, f()) })
				synctest.Wait() // until it waits for the disk
				require.NoError(t, topic.CheckInvariants())
			}
			add := func(v string) func() error {
				return func() error { _, err := topic.Append(ctx, values(v)...); return err }
			}
			do(add("a")) // its fsync hangs, so the next ones gather
			do(add("b"))
			do(func() error {
				err := db.Update(ctx, func(tx *pebblemq.Tx) error {
					for range 4 {
						if _, err := topic.In(tx).Append(values(strings.Repeat("x", size), "y")...); err != nil {
							return err
						}
					}
					return m.In(tx).CommitOffset(log.Committed{Partition: 0, Next: 1 << 40})
				})
				assert.ErrorIs(t, err, log.ErrOffsetOutOfRange)
				return nil
			})
			do(add("c"))
			gate.Open()
			wg.Wait()
			require.Equal(t, []string{"a", "b", "c"}, fetchAll(t, topic, 0, log.Start()))
			require.NoError(t, db.Close())
		})
	}
}
