package log_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

func kv(key string, value any) log.Record {
	r := log.Record{Key: []byte(key)}
	if value != nil {
		r.Value = fmt.Append(nil, value)
	}
	return r
}

// all reads a partition from its start.
func all(t testing.TB, topic *log.Topic) (found []log.Record) {
	t.Helper()
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	for {
		more, err := r.Fetch(ctx, 1000, 1<<20)
		require.NoError(t, err)
		if len(more) == 0 {
			return found
		}
		found = append(found, more...)
	}
}

func show(records []log.Record) (s []string) {
	for _, r := range records {
		v := "-"
		if r.Value != nil {
			v = string(r.Value)
		}
		s = append(s, fmt.Sprintf("%d %s=%s", r.Offset, r.Key, v))
	}
	return s
}

// batches counts what is stored of a topic.
func batches(t testing.TB, db *pebblemq.DB) (n int) {
	t.Helper()
	it, err := bridge.Store(db).Iter(ctx, []byte{byte(store.KindLogBatch)}, []byte{byte(store.KindLogBatch) + 1})
	require.NoError(t, err)
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	require.NoError(t, it.Close())
	return n
}

func TestTheNewestRecordOfEachKeyIsKept(t *testing.T) {
	fs := vfs.NewMem()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Compact: true})
	require.NoError(t, err)
	for _, r := range []log.Record{kv("a", 1), kv("b", 1), kv("a", 2), kv("", 1), kv("c", 1), kv("b", 2), kv("", 2), kv("a", 3), kv("last", 1)} {
		_, err := topic.Append(ctx, r) // a batch each
		require.NoError(t, err)
	}
	before := show(all(t, topic))
	require.Len(t, before, 9)
	require.NoError(t, topic.Compact(ctx))
	want := []string{"4 c=1", "5 b=2", "6 =2", "7 a=3", "8 last=1"}
	require.Equal(t, want, show(all(t, topic)), "offsets and order stay")
	require.Equal(t, 2, batches(t, db), "one, and the last")
	require.NoError(t, topic.Compact(ctx))
	require.Equal(t, want, show(all(t, topic)))

	_, err = topic.Append(ctx, kv("c", 2))
	require.NoError(t, err)
	_, err = topic.Append(ctx, kv("d", 1))
	require.NoError(t, err)
	require.NoError(t, topic.Compact(ctx))
	want = []string{"5 b=2", "6 =2", "7 a=3", "8 last=1", "9 c=2", "10 d=1"}
	require.Equal(t, want, show(all(t, topic)))
	require.NoError(t, db.Close())

	db, err = storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	topic, err = log.LookupTopic(ctx, db, "orders")
	require.NoError(t, err)
	require.Equal(t, want, show(all(t, topic)))
	at, err := topic.Append(ctx, kv("e", 1))
	require.NoError(t, err)
	require.Equal(t, places(11), at)
	require.NoError(t, db.Close())
}

// TestACompactionTakesManyKeysInRounds: more than fit into memory at once.
func TestACompactionTakesManyKeysInRounds(t *testing.T) {
	const keys = 100
	_, topic := retained(t, &log.TopicConfig{Compact: true})
	topic.CompactInRoundsOf(7)
	var want []string
	for i := range 3 * keys {
		_, err := topic.Append(ctx, kv(fmt.Sprint(i%keys), i))
		require.NoError(t, err)
		if i >= 2*keys {
			want = append(want, fmt.Sprintf("%d %d=%d", i, i%keys, i))
		}
	}
	_, err := topic.Append(ctx, kv("last", 1)) // the newest batch is left alone
	require.NoError(t, err)
	want = append(want, fmt.Sprintf("%d last=1", 3*keys))
	require.NoError(t, topic.Compact(ctx))
	require.Equal(t, want, show(all(t, topic)))
}

func TestReadingAtACompactedOffsetGivesTheNextRecord(t *testing.T) {
	_, topic := retained(t, &log.TopicConfig{Compact: true})
	for i := range 10 {
		_, err := topic.Append(ctx, kv(fmt.Sprint(i%2), i))
		require.NoError(t, err)
	}
	_, err := topic.Append(ctx, kv("last", 1))
	require.NoError(t, err)
	require.NoError(t, topic.Compact(ctx))
	for from, want := range []int64{8, 8, 8, 8, 8, 8, 8, 8, 8, 9, 10} {
		r, err := topic.NewReader(0, log.Offset(int64(from)))
		require.NoError(t, err)
		found, err := r.Fetch(ctx, 1, 1<<20)
		require.NoError(t, err)
		require.Equal(t, want, found[0].Offset, "from %d", from)
	}
}

func TestAReaderInTheMiddleGoesOn(t *testing.T) {
	_, topic := retained(t, &log.TopicConfig{Compact: true})
	for i := 0; i < 3000; i += 100 { // too few batches for a pass in the background
		var some []log.Record
		for j := range 100 {
			some = append(some, kv(fmt.Sprint((i+j)%7), i+j))
		}
		_, err := topic.Append(noSync, some...)
		require.NoError(t, err)
	}
	_, err := topic.Append(ctx, kv("last", 1))
	require.NoError(t, err)
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	found, err := r.Fetch(ctx, 1000, 1<<20)
	require.NoError(t, err)
	require.Len(t, found, 1000)
	require.NoError(t, topic.Compact(ctx))
	last := found[len(found)-1].Offset
	state := map[string]string{}
	for {
		more, err := r.Fetch(ctx, 1000, 1<<20)
		require.NoError(t, err)
		if len(more) == 0 {
			break
		}
		for _, rec := range more {
			require.Greater(t, rec.Offset, last)
			last = rec.Offset
			state[string(rec.Key)] = string(rec.Value)
		}
	}
	require.Len(t, state, 8)
	require.Equal(t, "2999", state["3"])
}

func TestAGroupAcknowledgesOverGaps(t *testing.T) {
	_, topic := retained(t, &log.TopicConfig{Compact: true})
	for i := range 10 {
		_, err := topic.Append(ctx, kv(fmt.Sprint(i%3), i))
		require.NoError(t, err)
	}
	require.NoError(t, topic.Compact(ctx))
	g := openGroup(t, topic, "g")
	m := join(t, g)
	found := drain(t, m, 4)
	require.Equal(t, []string{"6 0=6", "7 1=7", "8 2=8", "9 0=9"}, show(found), "the last batch is left alone")
	require.NoError(t, m.Ack(ctx, found[1], found[2]))
	require.Equal(t, []int64{0}, committed(t, g))
	require.NoError(t, m.Ack(ctx, found[0]))
	require.Equal(t, []int64{9}, committed(t, g))
	require.NoError(t, m.Ack(ctx, found[3]))
	lags, err := g.Lag(ctx)
	require.NoError(t, err)
	require.Zero(t, lags[0].Records)
}

func TestATombstoneDeletesItsKeyAndGoesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := retained(t, &log.TopicConfig{Compact: true, TombstoneRetention: time.Hour})
		put := func(rs ...log.Record) {
			for _, r := range rs {
				_, err := topic.Append(ctx, r)
				require.NoError(t, err)
			}
		}
		compacted := func() []string {
			require.NoError(t, topic.Compact(ctx))
			return show(all(t, topic))
		}
		put(kv("a", 1), kv("b", 1), kv("a", nil), kv("c", 1))
		require.Equal(t, []string{"1 b=1", "2 a=-", "3 c=1"}, compacted())
		<-time.After(30 * time.Minute)
		put(kv("d", 1))
		require.Equal(t, []string{"1 b=1", "2 a=-", "3 c=1", "4 d=1"}, compacted())
		<-time.After(31 * time.Minute)
		put(kv("e", 1))
		require.Equal(t, []string{"1 b=1", "3 c=1", "4 d=1", "5 e=1"}, compacted())
		put(kv("c", nil), kv("c", 2), kv("f", 1))
		require.Equal(t, []string{"1 b=1", "4 d=1", "5 e=1", "7 c=2", "8 f=1"}, compacted(), "a superseded tombstone goes at once")
	})
}

func TestYoungRecordsAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := retained(t, &log.TopicConfig{Compact: true, MinCompactionLag: time.Hour})
		for i := range 4 {
			_, err := topic.Append(ctx, kv("a", i))
			require.NoError(t, err)
			<-time.After(25 * time.Minute)
		}
		require.NoError(t, topic.Compact(ctx))
		require.Equal(t, []string{"1 a=1", "2 a=2", "3 a=3"}, show(all(t, topic)), "those of the last hour, and the newest of the others")
	})
}

func TestACompactedTopicRefusesRecordsWithoutAKey(t *testing.T) {
	db, topic := retained(t, &log.TopicConfig{Compact: true})
	_, err := topic.Append(ctx, kv("a", 1), log.Record{Value: []byte("v")})
	var e *log.RecordError
	require.ErrorAs(t, err, &e)
	require.Equal(t, 1, e.Index)
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	require.Empty(t, all(t, topic))

	// Those of before stay.
	plain, err := log.OpenTopic(ctx, db, "plain", nil)
	require.NoError(t, err)
	for range 3 {
		_, err = plain.Append(ctx, values("keyless")...)
		require.NoError(t, err)
	}
	require.NoError(t, alterTopic(db, "plain", log.TopicConfig{Compact: true}))
	_, err = plain.Append(ctx, kv("a", 1))
	require.NoError(t, err)
	require.NoError(t, plain.Compact(ctx))
	require.Len(t, all(t, plain), 4)
}

func TestBadCompactionConfigsAreRefused(t *testing.T) {
	db := storetest.Open(t, nil)
	for name, c := range map[string]log.TopicConfig{
		"lag without compaction":        {MinCompactionLag: 1},
		"tombstones without compaction": {TombstoneRetention: 1},
		"negative lag":                  {Compact: true, MinCompactionLag: -1},
		"negative retention":            {Compact: true, TombstoneRetention: -1},
	} {
		_, err := log.OpenTopic(ctx, db, "orders", &c)
		require.ErrorIs(t, err, pebblemq.ErrInvalid, name)
	}
	_, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Compact: true})
	require.NoError(t, err)
	_, err = log.OpenTopic(ctx, db, "orders", &log.TopicConfig{})
	require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
	require.ErrorContains(t, err, "Compact true, not false")
}

// A topic that is written one record at a time reads like any other, after a while.
func TestSmallBatchesAreMergedInTheBackground(t *testing.T) {
	for name, c := range storedInManyWays {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { mergeInTheBackground(t, c) })
		})
	}
}

// storedInManyWays are configs under which batches must be rewritten.
var storedInManyWays = map[string]log.TopicConfig{
	"plain":               {},
	"snappy":              {Compression: log.Snappy},
	"zstd":                {Compression: log.Zstd},
	"append time":         {TimestampType: log.AppendTime},
	"append time, snappy": {TimestampType: log.AppendTime, Compression: log.Snappy},
}

func mergeInTheBackground(t *testing.T, c log.TopicConfig) {
	db, topic := retained(t, &c)
	const records = 700
	var want []string
	for i := range records {
		_, err := topic.Append(ctx, values(fmt.Sprint(i))...)
		require.NoError(t, err)
		want = append(want, fmt.Sprint(i))
		<-time.After(time.Second)
	}
	synctest.Wait()
	require.Less(t, batches(t, db), 300)
	found := all(t, topic)
	require.Equal(t, want, valuesOf(found))
	begin := found[0].Timestamp
	for i, r := range found {
		require.Equal(t, begin.Add(time.Duration(i)*time.Second), r.Timestamp)
	}
	for _, i := range []int64{0, 1, 299, records - 1} {
		offset, ok, err := topic.OffsetAt(ctx, 0, begin.Add(time.Duration(i)*time.Second))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, i, offset, "times are found as before")
	}
	require.NoError(t, topic.CheckInvariants())
}

func TestCompactionGoesWithRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := retained(t, &log.TopicConfig{Compact: true, RetentionTime: time.Hour})
		_, err := topic.Append(ctx, kv("old", 1))
		require.NoError(t, err)
		<-time.After(30 * time.Minute)
		for i := range 3 {
			_, err := topic.Append(ctx, kv("a", i))
			require.NoError(t, err)
		}
		<-time.After(40 * time.Minute)
		require.NoError(t, topic.Compact(ctx))
		synctest.Wait()
		require.Equal(t, []string{"3 a=2"}, show(all(t, topic)), "the newest batch is not young any more")
	})
}

// TestCompactionModel holds a compacted topic against a map, over crashes at any
// moment of passes that run while records come in and the partition is trimmed.
func TestCompactionModel(t *testing.T) {
	for name, c := range storedInManyWays {
		c.Compact = true
		t.Run(name, func(t *testing.T) { compactionModel(t, &c) })
	}
}

func compactionModel(t *testing.T, c *log.TopicConfig) {
	rng := rand.New(rand.NewPCG(7, 8))
	fs := vfs.NewCrashableMem()
	latest := map[string]string{} // by key: value and offset
	next, trimmed := int64(0), int64(0)
	for round := range 8 {
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", c)
		require.NoError(t, err)
		for range 20 {
			switch rng.IntN(12) {
			case 0, 1, 2:
				require.NoError(t, topic.Compact(ctx))
			case 3:
				if to := trimmed + rng.Int64N(3); to < next {
					require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(to)))
					trimmed = to
				}
			default:
				var records []log.Record
				for range 1 + rng.IntN(4) {
					key, value := fmt.Sprint(rng.IntN(12)), any(next+int64(len(records)))
					if rng.IntN(6) == 0 {
						value = nil
					}
					records = append(records, kv(key, value))
				}
				at, err := topic.Append(ctx, records...)
				require.NoError(t, err)
				for i, r := range records {
					require.Equal(t, next, at[i].Offset)
					latest[string(r.Key)] = show([]log.Record{{Key: r.Key, Value: r.Value, Offset: next}})[0]
					next++
				}
			}
			requireCompacted(t, topic, latest, trimmed)
		}
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 10 * (round % 11), RNG: rng})
		require.NoError(t, db.Close())
		fs = clone
		db, err = storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err = log.OpenTopic(ctx, db, "orders", c)
		require.NoError(t, err)
		requireCompacted(t, topic, latest, trimmed)
		require.NoError(t, topic.CheckInvariants())
		require.NoError(t, db.Close())
	}
}

// requireCompacted checks that the newest of each key is there, unless it was
// trimmed, that offsets rise, and that every value is one that was written there.
func requireCompacted(t *testing.T, topic *log.Topic, latest map[string]string, trimmed int64) {
	t.Helper()
	found, last := map[string]string{}, int64(-1)
	records := all(t, topic)
	for i, s := range show(records) {
		r := records[i]
		require.Greater(t, r.Offset, last)
		last = r.Offset
		if r.Value != nil {
			require.Equal(t, fmt.Sprint(r.Offset), string(r.Value))
		}
		found[string(r.Key)] = s
	}
	for key, s := range latest {
		var offset int64
		_, err := fmt.Sscan(s, &offset)
		require.NoError(t, err)
		if offset >= trimmed {
			require.Equal(t, s, found[key])
		}
	}
}
