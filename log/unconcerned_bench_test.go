package log_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/log"
)

// BenchmarkUnconcerned measures what costs nothing for what there is beside it.
func BenchmarkUnconcerned(b *testing.B) {
	for _, groups := range []int{0, 2000} {
		b.Run(fmt.Sprint("append/groups=", groups), func(b *testing.B) {
			topic := benchTopic(b)
			for i := range groups {
				_, err := topic.OpenGroup(noSync, fmt.Sprint("g", i), nil)
				require.NoError(b, err)
			}
			records := benchRecords(1)
			for b.Loop() {
				_, err := topic.Append(noSync, records...)
				require.NoError(b, err)
			}
		})
	}
	for _, topics := range []int{10, 10_000} {
		db, _ := openTopic(b, 1)
		for i := range topics {
			topic, err := log.OpenTopic(noSync, db, topicName(i), nil)
			require.NoError(b, err)
			_, err = topic.OpenGroup(noSync, "g", nil)
			require.NoError(b, err)
		}
		topic, err := log.LookupTopic(ctx, db, topicName(5))
		require.NoError(b, err)
		b.Run(fmt.Sprint("groups/topics=", topics), func(b *testing.B) {
			for b.Loop() {
				_, err := topic.Groups(ctx)
				require.NoError(b, err)
			}
		})
		b.Run(fmt.Sprint("list/topics=", topics), func(b *testing.B) {
			for b.Loop() {
				_, err := log.Topics(ctx, db)
				require.NoError(b, err)
			}
		})
		b.Run(fmt.Sprint("create/topics=", topics), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				_, err := log.OpenTopic(noSync, db, fmt.Sprint("new", i), nil)
				require.NoError(b, err)
			}
		})
	}
	b.Run("join/partitions=4096", func(b *testing.B) {
		_, topic := openTopic(b, log.MaxPartitions)
		g, err := topic.OpenGroup(noSync, "g", nil)
		require.NoError(b, err)
		_, err = g.Join(noSync, nil)
		require.NoError(b, err)
		for b.Loop() {
			m, err := g.Join(noSync, nil)
			require.NoError(b, err)
			require.NoError(b, m.Leave(noSync))
		}
	})
}
