package log_test

import (
	"context"
	"errors"
	"strings"
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

func TestOpeningATopicTwiceGivesTheSame(t *testing.T) {
	db, topic := openTopic(t, 3)
	again, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 3})
	require.NoError(t, err)
	require.Same(t, topic, again)
	again, err = log.LookupTopic(ctx, db, "orders")
	require.NoError(t, err)
	require.Same(t, topic, again)
	require.Equal(t, "orders", again.Name())
	require.Equal(t, 3, again.Partitions())
}

func TestAnotherConfigIsAMismatchThatNamesTheField(t *testing.T) {
	db, _ := openTopic(t, 3)
	for _, c := range []struct {
		config *log.TopicConfig
		field  string
	}{
		{&log.TopicConfig{}, "Partitions"}, {&log.TopicConfig{Partitions: 4}, "Partitions"},
		{&log.TopicConfig{Partitions: 3, Compression: log.Zstd}, "Compression"},
		{&log.TopicConfig{Partitions: 3, MaxRecordBytes: 5}, "MaxRecordBytes"},
	} {
		_, err := log.OpenTopic(ctx, db, "orders", c.config)
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		require.ErrorContains(t, err, c.field)
		require.ErrorContains(t, err, "orders")
	}
}

func TestAnUnknownTopicIsNotCreatedByLookup(t *testing.T) {
	db := storetest.Open(t, nil)
	_, err := log.LookupTopic(ctx, db, "nope")
	require.ErrorIs(t, err, log.ErrUnknownTopic)
	require.ErrorIs(t, deleteTopic(db, "nope"), log.ErrUnknownTopic)
	list, err := log.Topics(ctx, db)
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestTopicsAreListedByName(t *testing.T) {
	db := storetest.Open(t, nil)
	for _, name := range []string{"b", "c", "a"} {
		_, err := log.OpenTopic(ctx, db, name, &log.TopicConfig{Partitions: len(name)})
		require.NoError(t, err)
	}
	list, err := log.Topics(ctx, db)
	require.NoError(t, err)
	one := log.TopicConfig{Partitions: 1, MaxRecordBytes: log.DefaultRecordBytes}
	require.Len(t, list, 3)
	for i, name := range []string{"a", "b", "c"} {
		require.Equal(t, log.TopicInfo{Name: name, ID: list[i].ID, Config: one, Created: list[i].Created}, list[i])
	}
}

func TestInfoTellsOfATopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, topic := openTopic(t, 2)
		created := time.Now()
		_, err := topic.AppendWith(ctx, into(1), numbered(10)...)
		require.NoError(t, err)
		require.NoError(t, topic.TrimTo(ctx, 1, log.Offset(4)))
		<-time.After(time.Minute)
		config := topic.Config()
		config.RetentionTime = time.Hour
		require.NoError(t, topic.Alter(ctx, &config))
		info, err := topic.Info(ctx)
		require.NoError(t, err)
		require.NotZero(t, info.ID)
		require.Positive(t, info.Partitions[1].Bytes)
		info.Partitions[1].Bytes = 0
		require.Equal(t, log.TopicInfo{
			Name: "orders", ID: info.ID, Config: config, Created: created, Altered: time.Now(),
			Partitions: []log.PartitionInfo{{}, {Start: 4, End: 10}}, Appended: 10, Kept: 6,
		}, info)
		require.NoError(t, db.Close())
	})
}

func TestInfoTellsHowMuchAPartitionHolds(t *testing.T) {
	db := storetest.Open(t, nil)
	topic, err := log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	held := func() int64 {
		info, err := topic.Info(ctx)
		require.NoError(t, err)
		return info.Partitions[0].Bytes
	}
	require.Zero(t, held())
	_, err = topic.Append(ctx, log.Record{Value: make([]byte, 10_000)})
	require.NoError(t, err)
	first := held()
	require.Greater(t, first, int64(10_000))
	_, err = topic.Append(ctx, log.Record{Value: make([]byte, 5_000)})
	require.NoError(t, err)
	both := held()
	require.Greater(t, both, first+5_000)
	require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(1)))
	require.Equal(t, both-first, held())
	require.NoError(t, topic.TrimTo(ctx, 0, log.End()))
	require.Zero(t, held())
}

func TestEnsureTopicCreatesAndAlters(t *testing.T) {
	db := storetest.Open(t, nil)
	ensure := func(c *log.TopicConfig) (log.TopicConfig, pebblemq.Ensured) {
		topic, did, err := log.EnsureTopic(ctx, db, "orders", c)
		require.NoError(t, err)
		return topic.Config(), did
	}
	config := &log.TopicConfig{Partitions: 2, RetentionTime: time.Hour}
	_, did := ensure(config)
	require.Equal(t, pebblemq.Ensured{Created: true}, did)
	_, did = ensure(config)
	require.Zero(t, did)
	is, did := ensure(nil)
	require.Zero(t, did, "nil is as stored")
	require.Equal(t, 2, is.Partitions)
	is, did = ensure(&log.TopicConfig{Partitions: 4, Compression: log.Zstd})
	require.Equal(t, pebblemq.Ensured{Altered: []string{"Partitions", "Compression", "RetentionTime"}}, did)
	require.Equal(t, 4, is.Partitions)

	_, did, err := log.EnsureTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 3, IndexKeys: true})
	require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
	require.ErrorContains(t, err, "Partitions 4, not 3; IndexKeys false, not true, which cannot be altered")
	require.Zero(t, did)
	topic, err := log.LookupTopic(ctx, db, "orders")
	require.NoError(t, err)
	require.Equal(t, is, topic.Config(), "nothing was altered")

	_, err = log.OpenTopic(ctx, db, "orders", config)
	require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
	require.ErrorContains(t, err, "Partitions 4, not 2; Compression zstd, not none; RetentionTime 0s, not 1h0m0s; EnsureTopic alters it")
}

func TestADeletedTopicIsGoneAndItsSuccessorEmpty(t *testing.T) {
	db, old := openTopic(t, 1)
	appendAll(t, old, numbered(10)...)
	g, err := old.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	m, err := g.Join(ctx, nil)
	require.NoError(t, err)
	r, err := old.NewReader(0, log.Start())
	require.NoError(t, err)
	appendAll(t, old, numbered(10)...) // on its way while the topic goes
	require.NoError(t, deleteTopic(db, "orders"))

	_, err = old.Append(ctx, values("x")...)
	require.ErrorIs(t, err, log.ErrTopicDeleted)
	_, err = old.AppendAsync(ctx, values("x")...).Wait(ctx)
	require.ErrorIs(t, err, log.ErrTopicDeleted)
	_, err = r.Fetch(ctx, 1, 1)
	require.ErrorIs(t, err, log.ErrTopicDeleted)
	_, err = old.NewReader(0, log.Start())
	require.ErrorIs(t, err, log.ErrTopicDeleted)
	_, err = old.OpenGroup(ctx, "h", nil)
	require.ErrorIs(t, err, log.ErrTopicDeleted)
	_, err = m.Poll(ctx, 1)
	require.ErrorIs(t, err, log.ErrTopicDeleted)
	require.ErrorIs(t, m.CommitOffset(ctx, log.Committed{Partition: 0, Next: 1}), log.ErrTopicDeleted)
	require.ErrorIs(t, g.Seek(ctx, log.End()), log.ErrTopicDeleted)
	_, err = g.Lag(ctx)
	require.ErrorIs(t, err, log.ErrTopicDeleted)
	_, err = g.Join(ctx, nil)
	require.ErrorIs(t, err, log.ErrTopicDeleted)
	_, _, err = old.Offsets(ctx, 0)
	require.ErrorIs(t, err, log.ErrTopicDeleted)
	require.ErrorIs(t, old.TrimTo(ctx, 0, log.Offset(1)), log.ErrTopicDeleted)
	require.NoError(t, m.Leave(ctx))

	topic, err := log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	start, end, err := topic.Offsets(ctx, 0)
	require.NoError(t, err)
	require.Zero(t, start)
	require.Zero(t, end)
	g, err = topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	lags, err := g.Lag(ctx)
	require.NoError(t, err)
	require.Equal(t, []log.Lag{{}}, lags)
}

func TestATopicAndItsOffsetsSurviveReopening(t *testing.T) {
	fs := vfs.NewMem()
	for life := range 4 {
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 2})
		require.NoError(t, err)
		at, err := topic.AppendWith(ctx, into(1), numbered(100)...)
		require.NoError(t, err)
		require.Equal(t, log.Position{Partition: 1, Offset: int64(100 * life)}, at[0])
		require.Len(t, fetchAll(t, topic, 1, log.Start()), 100*(life+1))
		require.Empty(t, fetchAll(t, topic, 0, log.Start()))
		require.NoError(t, db.Close())
	}
}

func TestBadArgumentsAreRefused(t *testing.T) {
	db, topic := openTopic(t, 2)
	g, err := topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	m, err := g.Join(ctx, nil)
	require.NoError(t, err)
	long := strings.Repeat("x", 256)
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	second := func(_ any, err error) error { return err }
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"empty topic name":          {second(log.OpenTopic(ctx, db, "", nil)), pebblemq.ErrInvalid},
		"empty name to look up":     {second(log.LookupTopic(ctx, db, "")), pebblemq.ErrInvalid},
		"over-long topic name":      {second(log.OpenTopic(ctx, db, long, nil)), pebblemq.ErrTooLarge},
		"topic name not UTF-8":      {second(log.OpenTopic(ctx, db, "\xff", nil)), pebblemq.ErrInvalid},
		"negative partitions":       {second(log.OpenTopic(ctx, db, "t", &log.TopicConfig{Partitions: -1})), pebblemq.ErrInvalid},
		"too many partitions":       {second(log.OpenTopic(ctx, db, "t", &log.TopicConfig{Partitions: log.MaxPartitions + 1})), pebblemq.ErrTooLarge},
		"negative record bytes":     {second(log.OpenTopic(ctx, db, "t", &log.TopicConfig{MaxRecordBytes: -1})), pebblemq.ErrInvalid},
		"too many record bytes":     {second(log.OpenTopic(ctx, db, "t", &log.TopicConfig{MaxRecordBytes: log.MaxRecordBytes + 1})), pebblemq.ErrTooLarge},
		"no records":                {second(topic.Append(ctx)), pebblemq.ErrInvalid},
		"no records, async":         {second(topic.AppendAsync(ctx).Wait(ctx)), pebblemq.ErrInvalid},
		"append below partitions":   {second(topic.AppendWith(ctx, into(-1), values("x")...)), log.ErrUnknownPartition},
		"append beyond partitions":  {second(topic.AppendWith(ctx, into(2), values("x")...)), log.ErrUnknownPartition},
		"read unknown partition":    {second(topic.NewReader(2, log.Start())), log.ErrUnknownPartition},
		"negative offset":           {second(topic.NewReader(0, log.Offset(-1))), pebblemq.ErrInvalid},
		"offset beyond the end":     {second(topic.NewReader(0, log.Offset(1))), log.ErrOffsetOutOfRange},
		"fetch of no records":       {second(r.Fetch(ctx, 0, 1)), pebblemq.ErrInvalid},
		"fetch of no bytes":         {second(r.Fetch(ctx, 1, 0)), pebblemq.ErrInvalid},
		"trim unknown partition":    {topic.TrimTo(ctx, 2, log.Offset(0)), log.ErrUnknownPartition},
		"trim below zero":           {topic.TrimTo(ctx, 0, log.Offset(-1)), pebblemq.ErrInvalid},
		"trim beyond the end":       {topic.TrimTo(ctx, 0, log.Offset(1)), log.ErrOffsetOutOfRange},
		"empty group name":          {second(topic.OpenGroup(ctx, "", nil)), pebblemq.ErrInvalid},
		"over-long group name":      {second(topic.OpenGroup(ctx, long, nil)), pebblemq.ErrTooLarge},
		"group at negative offset":  {second(topic.OpenGroup(ctx, "h", &log.GroupConfig{From: log.Offset(-1)})), pebblemq.ErrInvalid},
		"group beyond the end":      {second(topic.OpenGroup(ctx, "h", &log.GroupConfig{From: log.Offset(1)})), log.ErrOffsetOutOfRange},
		"group with another start":  {second(topic.OpenGroup(ctx, "g", &log.GroupConfig{From: log.End()})), pebblemq.ErrConfigMismatch},
		"poll of no records":        {second(m.Poll(ctx, 0)), pebblemq.ErrInvalid},
		"commit of no records":      {m.Commit(ctx), pebblemq.ErrInvalid},
		"commit of a foreign one":   {m.Commit(ctx, log.Record{Offset: 0}), pebblemq.ErrInvalid},
		"commit below zero":         {m.CommitOffset(ctx, log.Committed{Partition: 0, Next: -1}), pebblemq.ErrInvalid},
		"commit beyond the end":     {m.CommitOffset(ctx, log.Committed{Partition: 0, Next: 1}), log.ErrOffsetOutOfRange},
		"commit unknown partition":  {m.CommitOffset(ctx, log.Committed{Partition: 2, Next: 0}), log.ErrUnknownPartition},
		"seek to a negative offset": {g.Seek(ctx, log.Offset(-1)), pebblemq.ErrInvalid},
		"seek beyond the end":       {g.Seek(ctx, log.Offset(1)), log.ErrOffsetOutOfRange},
		"seek unknown partition":    {g.Seek(ctx, log.Start(), 2), log.ErrUnknownPartition},
	} {
		require.ErrorIs(t, c.err, c.want, name)
	}
	_, err = log.OpenTopic(ctx, db, "wide", &log.TopicConfig{Partitions: log.MaxPartitions})
	require.NoError(t, err)
}

func TestUseAfterCloseIsErrClosed(t *testing.T) {
	db, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(2)...)
	g, err := topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	m, err := g.Join(ctx, nil)
	require.NoError(t, err)
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	require.NoError(t, db.Close())
	second := func(_ any, err error) error { return err }
	_, _, offsetsErr := topic.Offsets(ctx, 0)
	for name, err := range map[string]error{
		"OpenTopic":    second(log.OpenTopic(ctx, db, "orders", nil)),
		"LookupTopic":  second(log.LookupTopic(ctx, db, "orders")),
		"Topics":       second(log.Topics(ctx, db)),
		"Delete":       topic.Delete(ctx),
		"Alter":        topic.Alter(ctx, nil),
		"Info":         second(topic.Info(ctx)),
		"Append":       second(topic.Append(ctx, values("x")...)),
		"AppendAsync":  second(topic.AppendAsync(ctx, values("x")...).Wait(ctx)),
		"Offsets":      offsetsErr,
		"NewReader":    second(topic.NewReader(0, log.Start())),
		"Fetch":        second(r.Fetch(ctx, 1, 1)),
		"TrimTo":       topic.TrimTo(ctx, 0, log.Offset(1)),
		"Group":        second(topic.OpenGroup(ctx, "g", nil)),
		"Join":         second(g.Join(ctx, nil)),
		"Seek":         g.Seek(ctx, log.End()),
		"Lag":          second(g.Lag(ctx)),
		"Poll":         second(m.Poll(ctx, 1)),
		"CommitOffset": m.CommitOffset(ctx, log.Committed{Partition: 0, Next: 1}),
		"Leave":        m.Leave(ctx),
		"Run":          g.Run(ctx, func(context.Context, log.Record) error { return nil }, nil),
	} {
		if !errors.Is(err, pebblemq.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
