package log_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// contextVerbs returns every verb that takes a context, ready to be called once on db.
func contextVerbs(t testing.TB, db *pebblemq.DB) storetest.Verbs {
	t.Helper()
	plain, err := log.OpenTopic(ctx, db, "plain", &log.TopicConfig{Partitions: 2})
	require.NoError(t, err)
	keyed, err := log.OpenTopic(ctx, db, "keyed", &log.TopicConfig{DedupeWindow: time.Hour, IndexKeys: true, Compact: true})
	require.NoError(t, err)
	config := plain.Config()
	record := log.Record{Key: []byte("k"), Value: []byte("v")}
	at, err := keyed.Append(ctx, record, record)
	require.NoError(t, err)
	_, err = plain.Append(ctx, record, record)
	require.NoError(t, err)
	g := openGroup(t, plain, "g")
	m := join(t, g)
	polled, err := m.Poll(ctx, 1)
	require.NoError(t, err)
	reader, err := keyed.NewReader(0, log.Start())
	require.NoError(t, err)
	fetcher, err := keyed.NewReader(0, log.Start())
	require.NoError(t, err)
	pending, err := plain.AppendAsync(ctx, record)
	require.NoError(t, err)
	handle := func(context.Context, log.Record) error { return nil }
	handleAll := func(context.Context, []log.Record) error { return nil }
	offset := log.Committed{Partition: polled[0].Partition, Next: polled[0].Offset + 1}
	return storetest.Verbs{
		"EnsureTopic":            {log.EnsureTopic, db, "ensured", nil},
		"LookupTopic":            {log.LookupTopic, db, "plain"},
		"OpenTopic":              {log.OpenTopic, db, "opened", nil},
		"Topics":                 {log.Topics, db},
		"Group.Alter":            {g.Alter, (*log.GroupConfig)(nil)},
		"Group.Committed":        {g.Committed},
		"Group.Info":             {g.Info},
		"Group.Join":             {g.Join},
		"Group.Lag":              {g.Lag},
		"Group.Run":              {openGroup(t, plain, "run").Run, log.Handler(handle), nil},
		"Group.RunBatch":         {openGroup(t, plain, "run").RunBatch, handleAll, nil},
		"Group.Seek":             {g.Seek, log.At(time.Now())},
		"Member.Ack":             {m.Ack, polled[0]},
		"Member.Commit":          {m.Commit, polled[0]},
		"Member.CommitOffset":    {m.CommitOffset, offset},
		"Member.Leave":           {m.Leave},
		"Member.Poll":            {m.Poll, 1},
		"Member.Records":         {m.Records},
		"Reader.Fetch":           {fetcher.Fetch, 1, 1},
		"Reader.Records":         {reader.Records},
		"Result.Wait":            {pending.Wait},
		"Topic.Alter":            {plain.Alter, &config},
		"Topic.Append":           {plain.Append, record},
		"Topic.AppendAfter":      {keyed.AppendAfter, at[1], record},
		"Topic.AppendAsync":      {plain.AppendAsync, record},
		"Topic.AppendAt":         {keyed.AppendAt, 0, int64(2), record},
		"Topic.AppendOnce":       {plain.AppendOnce, 0, log.Sequence{Producer: "p"}, record},
		"Topic.AppendTo":         {plain.AppendTo, 0, record},
		"Topic.AppendUnique":     {keyed.AppendUnique, "id", record},
		"Topic.Compact":          {keyed.Compact},
		"Topic.Delete":           {plain.Delete},
		"Topic.DeleteGroup":      {plain.DeleteGroup, "g"},
		"Topic.EnsureGroup":      {plain.EnsureGroup, "ensured", (*log.GroupConfig)(nil)},
		"Topic.LookupGroup":      {plain.LookupGroup, "g"},
		"Topic.OpenGroup":        {plain.OpenGroup, "opened", (*log.GroupConfig)(nil)},
		"Topic.EnforceRetention": {plain.EnforceRetention},
		"Topic.Flush":            {plain.Flush},
		"Topic.ForgetProducer":   {plain.ForgetProducer, "p"},
		"Topic.Info":             {plain.Info},
		"Topic.Groups":           {plain.Groups},
		"Topic.Latest":           {keyed.Latest, record.Key},
		"Topic.OffsetAt":         {plain.OffsetAt, 0, time.Now()},
		"Topic.Offsets":          {plain.Offsets, 0},
		"Topic.TrimTo":           {plain.TrimTo, 0, int64(0)},
	}
}

func TestEveryVerbRefusesANilContext(t *testing.T) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	contextVerbs(t, db).RefuseNilContext(t)
	require.NoError(t, db.Close(), "nothing was left open")
}

func TestEveryVerbEndsWithItsContextOnAFrozenDisk(t *testing.T) {
	storetest.RequireEnd(t, contextVerbs)
}
