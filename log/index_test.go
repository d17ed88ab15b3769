package log_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

var indexed = &log.TopicConfig{Partitions: 3, IndexKeys: true}

// entries counts the index.
func entries(t testing.TB, db *pebblemq.DB) (n int) {
	t.Helper()
	it, err := bridge.Store(db).Iter(ctx, []byte{byte(store.KindLogIndex)}, []byte{byte(store.KindLogIndex) + 1})
	require.NoError(t, err)
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	require.NoError(t, it.Close())
	return n
}

func latest(t testing.TB, topic *log.Topic, key string) (log.Record, bool) {
	t.Helper()
	r, found, err := topic.Latest(ctx, []byte(key))
	require.NoError(t, err)
	return r, found
}

func TestLatestIsTheNewestRecordOfAKey(t *testing.T) {
	_, topic := retained(t, indexed)
	_, found := latest(t, topic, "a")
	require.False(t, found)
	at, err := topic.Append(ctx, kv("a", 1), kv("b", 1), kv("a", 2), log.Record{Value: []byte("no key")}, kv("", 1))
	require.NoError(t, err)
	r, found := latest(t, topic, "a")
	require.True(t, found)
	require.Equal(t, "2", string(r.Value))
	require.Equal(t, at[2], log.Position{Partition: r.Partition, Offset: r.Offset})
	r, _ = latest(t, topic, "")
	require.Equal(t, at[4], log.Position{Partition: r.Partition, Offset: r.Offset}, "an empty key is one")

	_, err = topic.AppendWith(ctx, into((at[0].Partition+1)%3), kv("a", 3))
	require.NoError(t, err)
	r, _ = latest(t, topic, "a")
	require.Equal(t, "3", string(r.Value), "in whatever partition it is")
	_, err = topic.Append(ctx, kv("a", nil))
	require.NoError(t, err)
	r, found = latest(t, topic, "a")
	require.True(t, found)
	require.Nil(t, r.Value, "a tombstone")
}

func TestLatestWaitsForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := storetest.NewFS(vfs.NewMem())
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", indexed)
		require.NoError(t, err)
		_, err = topic.Append(ctx, kv("a", 1))
		require.NoError(t, err)
		gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
		fs.SetHook(gate.Hook)
		gate.Shut()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := topic.Append(ctx, kv("a", 2))
			assert.NoError(t, err)
		})
		synctest.Wait()
		var opened atomic.Bool
		wg.Go(func() {
			r, found, err := topic.Latest(ctx, []byte("a"))
			assert.NoError(t, err)
			assert.True(t, found && opened.Load())
			assert.Equal(t, "2", string(r.Value))
		})
		synctest.Wait()
		opened.Store(true)
		gate.Open()
		wg.Wait()
		require.NoError(t, db.Close())
	})
}

func TestAnAppendAfterFailsIfAnotherCameFirst(t *testing.T) {
	db, topic := retained(t, indexed)
	first, err := topic.AppendWith(ctx, lastAt(log.Nowhere), kv("a", 1), kv("a", 2))
	require.NoError(t, err)
	_, err = topic.AppendWith(ctx, lastAt(log.Nowhere), kv("a", 3))
	var conflict *log.KeyConflictError
	require.ErrorAs(t, err, &conflict)
	require.ErrorIs(t, err, log.ErrConflict)
	require.Equal(t, log.KeyConflictError{Topic: "orders", Key: []byte("a"), Expected: log.Nowhere, Actual: first[1]}, *conflict)
	_, err = topic.AppendWith(ctx, lastAt(first[0]), kv("a", 3))
	require.ErrorIs(t, err, log.ErrConflict)
	_, err = topic.AppendWith(ctx, lastAt(log.Nowhere), kv("b", 1))
	require.NoError(t, err, "other keys do not matter")
	next, err := topic.AppendWith(ctx, lastAt(first[1]), kv("a", 3))
	require.NoError(t, err)

	require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
		if _, err := topic.In(tx).AppendWith(lastAt(next[0]), kv("a", 4)); err != nil {
			return err
		}
		_, err := topic.In(tx).AppendWith(lastAt(next[0]), kv("a", 5)) // it is behind the first
		return err
	}), log.ErrConflict)
	r, _ := latest(t, topic, "a")
	require.Equal(t, "3", string(r.Value), "a refused transaction leaves the index")

	require.NoError(t, topic.TrimTo(ctx, next[0].Partition, log.Offset(next[0].Offset+1)))
	_, found := latest(t, topic, "a")
	require.False(t, found)
	_, err = topic.AppendWith(ctx, lastAt(next[0]), kv("a", 6))
	require.ErrorIs(t, err, log.ErrConflict)
	_, err = topic.AppendWith(ctx, lastAt(log.Nowhere), kv("a", 6))
	require.NoError(t, err, "what was trimmed counts as none")
}

// TestOfWritersThatReadTheSameOneAppends counts with a record of each step.
func TestOfWritersThatReadTheSameOneAppends(t *testing.T) {
	_, topic := retained(t, indexed)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for done := 0; done < 20; {
				r, found, err := topic.Latest(ctx, []byte("n"))
				if !assert.NoError(t, err) {
					return
				}
				n, last := 0, log.Nowhere
				if found {
					_, err = fmt.Sscan(string(r.Value), &n)
					assert.NoError(t, err)
					last = log.Position{Partition: r.Partition, Offset: r.Offset}
				}
				switch _, err = topic.AppendWith(ctx, lastAt(last), kv("n", n+1)); {
				case err == nil:
					done++
				case !errors.Is(err, log.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	r, _ := latest(t, topic, "n")
	require.Equal(t, "160", string(r.Value))
	require.Equal(t, 160, total(t, topic))
}

func TestBadAppendsAfterAreRefused(t *testing.T) {
	db, topic := retained(t, indexed)
	for name, records := range map[string][]log.Record{
		"none": {}, "no key": values("x"), "two keys": {kv("a", 1), kv("b", 1)},
	} {
		_, err := topic.AppendWith(ctx, lastAt(log.Nowhere), records...)
		require.ErrorIs(t, err, pebblemq.ErrInvalid, name)
	}
	for _, last := range []log.Position{{Partition: 3}, {Partition: -1}, {Offset: -1}} {
		_, err := topic.AppendWith(ctx, lastAt(last), kv("a", 1))
		require.ErrorIs(t, err, pebblemq.ErrInvalid, "%v", last)
	}
	plain, err := log.OpenTopic(ctx, db, "plain", nil)
	require.NoError(t, err)
	_, err = plain.AppendWith(ctx, lastAt(log.Nowhere), kv("a", 1))
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	_, _, err = plain.Latest(ctx, []byte("a"))
	require.ErrorContains(t, err, "IndexKeys")
	require.ErrorIs(t, alterTopic(db, "plain", *indexed), pebblemq.ErrConfigMismatch)
	_, err = log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 3})
	require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
}

// TestIndexModel holds the index of a compacted topic against a map, over
// transactions that are refused, trims, compactions, tombstones that go, and crashes.
func TestIndexModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(3, 4))
		fs := storetest.NewFS(vfs.NewCrashableMem())
		config := &log.TopicConfig{Partitions: 2, IndexKeys: true, Compact: true, TombstoneRetention: time.Hour}
		newest := map[string]log.Record{}
		errNo := errors.New("no")
		for range 10 {
			db, err := storetest.OpenFS(fs, store.Options{})
			require.NoError(t, err)
			topic, err := log.OpenTopic(ctx, db, "orders", config)
			require.NoError(t, err)
			for i := range 30 {
				key := fmt.Sprint(rng.IntN(8))
				value := any(i)
				if rng.IntN(4) == 0 {
					value = nil
				}
				switch rng.IntN(8) {
				case 0:
					require.NoError(t, topic.Compact(ctx))
				case 1:
					p := rng.IntN(2)
					start, end, err := topic.Offsets(ctx, p)
					require.NoError(t, err)
					require.NoError(t, topic.TrimTo(ctx, p, log.Offset(min(end, start+rng.Int64N(4)))))
				case 2:
					<-time.After(40 * time.Minute)
				case 3:
					require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
						_, err := topic.In(tx).Append(kv(key, "refused"))
						require.NoError(t, err)
						return errNo
					}), errNo)
				default:
					r := kv(key, value)
					at, err := topic.Append(ctx, r)
					require.NoError(t, err)
					r.Partition, r.Offset = at[0].Partition, at[0].Offset
					newest[key] = r
				}
				requireLatest(t, topic, newest)
			}
			clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng})
			require.NoError(t, db.Close())
			fs = storetest.NewFS(clone)
		}
	})
}

// requireLatest allows a tombstone to be gone.
func requireLatest(t *testing.T, topic *log.Topic, newest map[string]log.Record) {
	t.Helper()
	for key, want := range newest {
		start, _, err := topic.Offsets(ctx, want.Partition)
		require.NoError(t, err)
		r, found := latest(t, topic, key)
		if want.Offset < start || want.Value == nil && !found {
			require.False(t, found)
			continue
		}
		require.True(t, found)
		require.Equal(t, want.Value, r.Value)
		require.Equal(t, []int64{int64(want.Partition), want.Offset}, []int64{int64(r.Partition), r.Offset})
	}
}

func TestEntriesOfTombstonesThatAreGoneAreSweptOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, topic := retained(t, &log.TopicConfig{IndexKeys: true, Compact: true, TombstoneRetention: time.Hour})
		for i := range 10 {
			_, err := topic.Append(ctx, kv(fmt.Sprint(i), nil))
			require.NoError(t, err)
		}
		_, err := topic.Append(ctx, kv("last", 1))
		require.NoError(t, err)
		require.NoError(t, topic.Compact(ctx))
		require.Equal(t, 11, entries(t, db))
		<-time.After(2 * time.Hour)
		_, err = topic.Append(ctx, kv("more", 1)) // or there is nothing to compact
		require.NoError(t, err)
		require.NoError(t, topic.Compact(ctx))
		require.Equal(t, 2, entries(t, db))
		_, found := latest(t, topic, "3")
		require.False(t, found)
	})
}

// The newest record of a key is gone. Older ones are left in another partition, where the key
// was before the topic grew, and the index leads to none.
func TestVerifyTakesRecordsWhoseNewestIsGoneInAnotherPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := log.TopicConfig{IndexKeys: true, Compact: true, TombstoneRetention: time.Hour}
		db, topic := retained(t, &c)
		keys := []string{"a", "b", "c", "d", "e", "f"}
		for _, k := range keys {
			_, err := topic.Append(ctx, kv(k, 1))
			require.NoError(t, err)
		}
		c.Partitions = 2
		require.NoError(t, topic.Alter(ctx, &c))
		for _, k := range keys {
			_, err := topic.Append(ctx, kv(k, nil))
			require.NoError(t, err)
		}
		<-time.After(3 * time.Hour)
		synctest.Wait()
		require.Less(t, entries(t, db), len(keys))
		for _, k := range keys {
			r, found := latest(t, topic, k)
			require.False(t, found && r.Value != nil, k)
		}
		report, err := db.Verify(ctx, nil)
		require.NoError(t, err)
		require.NoError(t, report.Err())
	})
}

func TestEntriesOfTrimmedRecordsAreSweptOut(t *testing.T) {
	db, topic := retained(t, &log.TopicConfig{IndexKeys: true})
	const records = 2000
	topic.SweepAfter(records / 2)
	batch := make([]log.Record, 100)
	for i := range records / len(batch) {
		for j := range batch {
			batch[j] = kv(fmt.Sprint(i*len(batch)+j), "x")
		}
		appendAll(t, topic, batch...)
	}
	require.Equal(t, records, entries(t, db))
	require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(records/4)))
	require.Equal(t, records, entries(t, db), "a few do no harm")
	require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(records-10)))
	require.Eventually(t, func() bool { return entries(t, db) == 10 }, time.Minute, time.Millisecond)
	r, found := latest(t, topic, fmt.Sprint(records-1))
	require.True(t, found)
	require.EqualValues(t, records-1, r.Offset)
}
