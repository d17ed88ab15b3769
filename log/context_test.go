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
	polled, err := m.Poll(ctx, 2)
	require.NoError(t, err)
	reader, err := keyed.NewReader(0, log.Start())
	require.NoError(t, err)
	fetcher, err := keyed.NewReader(0, log.Start())
	require.NoError(t, err)
	handle := func(context.Context, log.Record) error { return nil }
	handleAll := func(context.Context, []log.Record) error { return nil }
	offset := log.Committed{Partition: polled[0].Partition, Next: polled[0].Offset + 1}
	appendAsync := func(ctx context.Context) error { return settled(plain.AppendAsync(ctx, record)) }
	billing, err := log.Subscribe(ctx, "billing", nil, plain)
	require.NoError(t, err)
	subscribed, err := billing.Poll(ctx, 2)
	require.NoError(t, err)
	typed := log.Typed(plain, pebblemq.JSON[order]())
	handleTyped := func(context.Context, order, log.Record) error { return nil }
	handleAllTyped := func(context.Context, []order, []log.Record) error { return nil }
	producer, err := plain.OpenProducer(ctx, "p")
	require.NoError(t, err)
	return storetest.Verbs{
		"Subscribe":              {log.Subscribe, "subscribed", nil, keyed},
		"Subscription.Ack":       {billing.Ack, subscribed[0]},
		"Subscription.Commit":    {billing.Commit, subscribed[0]},
		"Subscription.Leave":     {billing.Leave},
		"Subscription.Nack":      {billing.Nack, subscribed[1], time.Duration(0)},
		"Subscription.Poll":      {billing.Poll, 1},
		"Subscription.Records":   {billing.Records},
		"EnsureTopic":            {log.EnsureTopic, db, "ensured", nil},
		"LookupTopic":            {log.LookupTopic, db, "plain"},
		"OpenTopic":              {log.OpenTopic, db, "opened", nil},
		"Topics":                 {log.Topics, db},
		"Group.Alter":            {g.Alter, (*log.GroupConfig)(nil)},
		"Group.Committed":        {g.Committed},
		"Group.Info":             {g.Info},
		"Group.Delete":           {g.Delete},
		"Group.Join":             {g.Join, (*log.JoinOptions)(nil)},
		"Group.Lag":              {g.Lag},
		"Group.Run":              {openGroup(t, plain, "run").Run, log.Handler(handle), nil},
		"Group.RunBatch":         {openGroup(t, plain, "run").RunBatch, handleAll, nil},
		"Group.Seek":             {g.Seek, log.At(time.Now())},
		"Member.Ack":             {m.Ack, polled[0]},
		"Member.Commit":          {m.Commit, polled[0]},
		"Member.CommitOffset":    {m.CommitOffset, offset},
		"Member.Leave":           {m.Leave},
		"Member.Nack":            {m.Nack, polled[1], time.Duration(0)},
		"Member.Poll":            {m.Poll, 1},
		"Member.Records":         {m.Records},
		"Reader.Fetch":           {fetcher.Fetch, 1, 1},
		"Reader.Records":         {reader.Records},
		"Producer.Next":          {producer.Next, 0},
		"Topic.Alter":            {plain.Alter, &config},
		"Topic.Append":           {plain.Append, record},
		"Topic.AppendWith":       {keyed.AppendWith, lastAt(at[1]), record},
		"Topic.AppendAsync":      {appendAsync},
		"Topic.Compact":          {keyed.Compact},
		"Topic.Delete":           {plain.Delete},
		"Topic.DeleteGroup":      {plain.DeleteGroup, "g"},
		"Topic.EnsureGroup":      {plain.EnsureGroup, "ensured", (*log.GroupConfig)(nil)},
		"Topic.LookupGroup":      {plain.LookupGroup, "g"},
		"Topic.OpenProducer":     {plain.OpenProducer, "p"},
		"Topic.OpenGroup":        {plain.OpenGroup, "opened", (*log.GroupConfig)(nil)},
		"Topic.EnforceRetention": {plain.EnforceRetention},
		"Topic.Flush":            {plain.Flush},
		"Topic.ForgetProducer":   {plain.ForgetProducer, "p"},
		"Topic.Info":             {plain.Info},
		"Topic.Groups":           {plain.Groups},
		"Topic.Latest":           {keyed.Latest, record.Key},
		"Topic.OffsetAt":         {plain.OffsetAt, 0, time.Now()},
		"Topic.Offsets":          {plain.Offsets, 0},
		"Topic.Records":          {keyed.Records, log.Start()},
		"Topic.TrimTo":           {plain.TrimTo, 0, log.Start()},
		"TypedGroup.Run":         {typed.Group(openGroup(t, plain, "typed")).Run, handleTyped, nil},
		"TypedGroup.RunBatch":    {typed.Group(openGroup(t, plain, "typed")).RunBatch, handleAllTyped, nil},
		"TypedMember.Poll":       {typed.Member(m).Poll, 1},
		"TypedMember.Records":    {typed.Member(m).Records},
		"TypedReader.Fetch":      {typed.Reader(fetcher).Fetch, 1, 1},
		"TypedReader.Records":    {typed.Reader(reader).Records},
		"TypedTopic.Append":      {typed.Append, order{}, nil},
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
