package log_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// conditional returns a topic for which all options have what they need.
func conditional(t testing.TB) (*pebblemq.DB, *log.Topic) {
	return retained(t, &log.TopicConfig{Partitions: 2, DedupeWindow: time.Hour, IndexKeys: true})
}

func TestAppendWithoutOptionsIsAppend(t *testing.T) {
	_, topic := openTopic(t, 4)
	for _, key := range []string{"a", "b", "c", "d"} {
		plain, err := topic.Append(ctx, log.Record{Key: []byte(key)})
		require.NoError(t, err)
		with, err := topic.AppendWith(ctx, log.AppendOptions{}, log.Record{Key: []byte(key)})
		require.NoError(t, err)
		require.Equal(t, plain[0].Partition, with[0].Partition)
	}
}

// A repeated append is told before its conditions, which it has made fail itself.
func TestARepeatedAppendReturnsItsPlacesWhateverItExpects(t *testing.T) {
	for name, o := range map[string]log.AppendOptions{
		"by id":                  {ID: "1"},
		"by number":              {Producer: new(log.Producer), Partition: log.InPartition(1)},
		"by id in a partition":   {ID: "1", Partition: log.InPartition(1)},
		"at an offset":           {ID: "1", Partition: log.InPartition(1), ExpectOffset: log.AtOffset(0)},
		"after a record":         {ID: "1", ExpectLast: log.LastAt(log.Nowhere)},
		"by number at an offset": {Producer: new(log.Producer), Partition: log.InPartition(1), ExpectOffset: log.AtOffset(0)},
		"all conditions": {
			ID: "1", Partition: log.InPartition(1),
			ExpectOffset: log.AtOffset(0), ExpectLast: log.LastAt(log.Nowhere),
		},
	} {
		t.Run(name, func(t *testing.T) {
			db, topic := conditional(t)
			if o.Producer != nil {
				o.Producer = openProducer(t, topic, "p")
			}
			first, err := topic.AppendWith(ctx, o, kv("k", 1), kv("k", 2))
			require.NoError(t, err)
			again, err := topic.AppendWith(ctx, o, kv("k", 1), kv("k", 2))
			require.NoError(t, err)
			require.Equal(t, first, again)
			var in *log.Placement
			require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) (err error) {
				in, err = topic.In(tx).AppendWith(o, kv("k", 1), kv("k", 2))
				return err
			}))
			third, err := in.Positions()
			require.NoError(t, err)
			require.Equal(t, first, third)
			require.Equal(t, 2, total(t, topic))
		})
	}
}

// An append that is refused by a condition leaves nothing by which it would be known again.
func TestARefusedConditionalAppendMayBeRepeated(t *testing.T) {
	for name, o := range map[string]log.AppendOptions{
		"by id":     {ID: "1", Partition: log.InPartition(0)},
		"by number": {Producer: new(log.Producer), Partition: log.InPartition(0)},
	} {
		t.Run(name, func(t *testing.T) {
			_, topic := conditional(t)
			if o.Producer != nil {
				o.Producer = openProducer(t, topic, "p")
			}
			o.ExpectOffset = log.AtOffset(1)
			_, err := topic.AppendWith(ctx, o, kv("k", 1))
			require.ErrorIs(t, err, log.ErrConflict)
			o.ExpectOffset = log.AtOffset(0)
			o.ExpectLast = log.LastAt(log.Position{Partition: 1})
			_, err = topic.AppendWith(ctx, o, kv("k", 1))
			var conflict *log.KeyConflictError
			require.ErrorAs(t, err, &conflict)
			o.ExpectLast = log.LastAt(log.Nowhere)
			at, err := topic.AppendWith(ctx, o, kv("k", 1))
			require.NoError(t, err)
			require.Equal(t, places(0), at)
		})
	}
}

func TestAppendOptionsThatDoNotGoTogetherAreRefusedByName(t *testing.T) {
	_, topic := conditional(t)
	_, plain := openTopic(t, 1)
	producer := openProducer(t, topic, "shop")
	for name, c := range map[string]struct {
		topic *log.Topic
		o     log.AppendOptions
		err   error
		says  string
	}{
		"partition too low":       {topic, log.AppendOptions{Partition: log.InPartition(-1)}, log.ErrUnknownPartition, "-1"},
		"partition too high":      {topic, log.AppendOptions{Partition: log.InPartition(2)}, log.ErrUnknownPartition, "2"},
		"producer anywhere":       {topic, log.AppendOptions{Producer: producer}, pebblemq.ErrInvalid, `"shop" needs a Partition`},
		"number of nobody":        {topic, log.AppendOptions{Number: 1, Partition: log.InPartition(0)}, pebblemq.ErrInvalid, "no Producer"},
		"producer of another":     {plain, log.AppendOptions{Producer: producer, Partition: log.InPartition(0)}, pebblemq.ErrInvalid, "another handle"},
		"two ways to repeat":      {topic, log.AppendOptions{Producer: producer, Partition: log.InPartition(0), ID: "1"}, pebblemq.ErrInvalid, `both Producer "shop" and ID "1"`},
		"offset anywhere":         {topic, log.AppendOptions{ExpectOffset: log.AtOffset(7)}, pebblemq.ErrInvalid, "ExpectOffset 7 needs a Partition"},
		"offset below 0":          {topic, log.AppendOptions{Partition: log.InPartition(0), ExpectOffset: log.AtOffset(-1)}, pebblemq.ErrInvalid, "ExpectOffset -1"},
		"last is no position":     {topic, log.AppendOptions{ExpectLast: log.LastAt(log.Position{Partition: 2})}, pebblemq.ErrInvalid, "ExpectLast {2 0}"},
		"long id":                 {topic, log.AppendOptions{ID: strings.Repeat("x", log.MaxMessageID+1)}, pebblemq.ErrTooLarge, "message id"},
		"id without a window":     {plain, log.AppendOptions{ID: "1"}, pebblemq.ErrInvalid, "DedupeWindow"},
		"last without IndexKeys":  {plain, log.AppendOptions{ExpectLast: log.LastAt(log.Nowhere)}, pebblemq.ErrInvalid, "IndexKeys"},
		"last of different keys":  {topic, log.AppendOptions{ExpectLast: log.LastAt(log.Nowhere)}, pebblemq.ErrInvalid, "record 1"},
		"number out of all range": {topic, log.AppendOptions{Producer: producer, Number: -1, Partition: log.InPartition(0)}, pebblemq.ErrInvalid, "Number -1"},
	} {
		_, err := c.topic.AppendWith(ctx, c.o, kv("k", 1), kv("other", 1))
		require.ErrorIs(t, err, c.err, name)
		require.ErrorContains(t, err, c.says, name)
	}
	require.Zero(t, total(t, topic))
}
