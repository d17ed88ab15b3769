package log_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// clock is set by tests.
type clock struct{ nanos atomic.Int64 }

func (c *clock) set(sec int64)  { c.nanos.Store(sec * 1e9) }
func (c *clock) now() time.Time { return time.Unix(0, c.nanos.Load()) }

func openClocked(t *testing.T, fs vfs.FS, c *clock, config log.TopicConfig) (*pebblemq.DB, *log.Topic) {
	db, err := storetest.OpenFS(fs, store.Options{Clock: c.now})
	require.NoError(t, err)
	topic, err := log.OpenTopic(ctx, db, "orders", &config)
	require.NoError(t, err)
	return db, topic
}

// times returns the timestamps of partition 0, in seconds.
func times(t *testing.T, topic *log.Topic) (sec []int64) {
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	for {
		found, err := r.Fetch(ctx, 1, 1)
		require.NoError(t, err)
		if len(found) == 0 {
			return sec
		}
		require.Equal(t, time.UTC, found[0].Timestamp.Location())
		require.Zero(t, found[0].Timestamp.Nanosecond())
		sec = append(sec, found[0].Timestamp.Unix())
	}
}

// appendSynced appends records that are in a group of their own.
func appendSynced(t *testing.T, topic *log.Topic, records ...log.Record) {
	_, err := topic.Append(ctx, records...)
	require.NoError(t, err)
}

func at(sec int64) time.Time { return time.Unix(sec, 0) }

func TestCreateTimeIsTheCallersByDefault(t *testing.T) {
	var c clock
	c.set(100)
	db, topic := openClocked(t, vfs.NewMem(), &c, log.TopicConfig{})
	defer func() { require.NoError(t, db.Close()) }()
	appendSynced(t, topic, log.Record{Timestamp: at(7)}, log.Record{}, log.Record{Timestamp: at(500)})
	require.Equal(t, []int64{7, 100, 500}, times(t, topic))
}

func TestAppendTimeIsTheStoresWhateverTheCallerSays(t *testing.T) {
	for _, compression := range compressions {
		t.Run(compression.String(), func(t *testing.T) {
			var c clock
			config := log.TopicConfig{TimestampType: log.AppendTime, Compression: compression}
			fs := vfs.NewMem()
			c.set(100)
			db, topic := openClocked(t, fs, &c, config)
			appendSynced(t, topic, log.Record{Timestamp: at(7)}, log.Record{Timestamp: at(9999)})
			require.Equal(t, []int64{100, 100}, times(t, topic))
			c.set(200)
			appendSynced(t, topic, text(1000)...)
			c.set(300)
			require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
				_, err := topic.In(tx).Append(log.Record{Value: []byte("v"), Headers: []log.Header{{Name: "n"}}})
				c.set(400) // between the call and the commit
				return err
			}))
			require.NoError(t, db.Close())

			db, topic = openClocked(t, fs, &c, config)
			defer func() { require.NoError(t, db.Close()) }()
			got := times(t, topic)
			require.Len(t, got, 1003)
			for i, sec := range got {
				want := int64(200)
				switch {
				case i < 2:
					want = 100
				case i == 1002:
					want = 400
				}
				require.Equal(t, want, sec, i)
			}
			for sec, want := range map[int64]int64{0: 0, 100: 0, 101: 2, 200: 2, 201: 1002, 400: 1002} {
				n, ok, err := topic.OffsetAt(ctx, 0, at(sec))
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, want, n, sec)
			}
			_, ok, err := topic.OffsetAt(ctx, 0, at(401))
			require.NoError(t, err)
			require.False(t, ok)
		})
	}
}

func TestAppendTimeNeverGoesBackWithTheClock(t *testing.T) {
	var c clock
	config := log.TopicConfig{TimestampType: log.AppendTime}
	fs := vfs.NewMem()
	for _, sec := range []int64{100, 50, 200} {
		c.set(sec)
		db, topic := openClocked(t, fs, &c, config)
		appendSynced(t, topic, values("x")...)
		c.set(sec - 20)
		appendSynced(t, topic, values("y")...)
		require.NoError(t, db.Close())
	}
	db, topic := openClocked(t, fs, &c, config)
	defer func() { require.NoError(t, db.Close()) }()
	require.Equal(t, []int64{100, 100, 100, 100, 200, 200}, times(t, topic))
}

// A record with a time from the future does not lend it to later records.
func TestTheTimestampTypeCanBeAltered(t *testing.T) {
	var c clock
	c.set(100)
	db, topic := openClocked(t, vfs.NewMem(), &c, log.TopicConfig{})
	defer func() { require.NoError(t, db.Close()) }()
	appendSynced(t, topic, log.Record{Timestamp: at(9999)})
	require.NoError(t, alterTopic(db, topic.Name(), log.TopicConfig{TimestampType: log.AppendTime}))
	c.set(200)
	appendSynced(t, topic, log.Record{Timestamp: at(7)}, log.Record{Timestamp: at(9999)})
	require.NoError(t, alterTopic(db, topic.Name(), log.TopicConfig{}))
	appendSynced(t, topic, log.Record{Timestamp: at(7)})
	require.Equal(t, []int64{9999, 200, 200, 7}, times(t, topic))
}

func TestGroupsSeeTheAppendTime(t *testing.T) {
	var c clock
	c.set(100)
	db, topic := openClocked(t, vfs.NewMem(), &c, log.TopicConfig{TimestampType: log.AppendTime})
	defer func() { require.NoError(t, db.Close()) }()
	appendSynced(t, topic, log.Record{Timestamp: at(7)})
	g, err := topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	m, err := g.Join(ctx, nil)
	require.NoError(t, err)
	found, err := m.Poll(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, at(100).UTC(), found[0].Timestamp)
}

func TestTheTimestampTypeIsPartOfTheConfig(t *testing.T) {
	db, _ := openTopic(t, 1)
	_, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{TimestampType: log.AppendTime})
	require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
	require.ErrorContains(t, err, "TimestampType create time")
	_, err = log.OpenTopic(ctx, db, "t", &log.TopicConfig{TimestampType: 2})
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
}
