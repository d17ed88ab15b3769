package log_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// byTenant puts the records of a tenant together, whatever their keys.
func byTenant(r log.Record, partitions int) int {
	for _, h := range r.Headers {
		if h.Name == "tenant" {
			return int(h.Value[0]) % partitions
		}
	}
	return partitions - 1
}

func TestACustomPartitionerPlacesRecords(t *testing.T) {
	db, topic := openTopic(t, 3)
	tenant := func(n byte, key string) log.Record {
		return log.Record{Key: []byte(key), Headers: []log.Header{{Name: "tenant", Value: []byte{n}}}}
	}
	placed := func(records ...log.Record) []int {
		at, err := topic.Append(ctx, records...)
		require.NoError(t, err)
		numbers := make([]int, len(at))
		for i, p := range at {
			numbers[i] = p.Partition
		}
		return numbers
	}
	topic.SetPartitioner(byTenant)
	require.Equal(t, []int{1, 0, 1, 2}, placed(tenant(1, "a"), tenant(3, "b"), tenant(4, "c"), log.Record{}))
	require.Equal(t, []int{0}, placed(tenant(0, "a")))

	at, err := topic.AppendWith(ctx, into(2), tenant(0, "a"))
	require.NoError(t, err)
	require.Equal(t, 2, at[0].Partition, "an explicit partition wins")
	grow(t, db, topic, 5)
	require.Equal(t, []int{4, 4}, placed(tenant(4, "a"), log.Record{}), "it is told of the growth")

	byTenant := placed(tenant(0, "foobar"))
	topic.SetPartitioner(nil)
	require.NotEqual(t, byTenant, placed(tenant(0, "foobar")), "Kafka's again")
}

func TestABadPartitionerRefusesTheAppend(t *testing.T) {
	db, topic := openTopic(t, 3)
	for name, p := range map[string]log.Partitioner{
		"negative": func(log.Record, int) int { return -1 },
		"too high": func(_ log.Record, n int) int { return n },
		"panics":   func(log.Record, int) int { panic("bang") },
		"second":   func(r log.Record, _ int) int { return int(r.Value[0]) },
	} {
		topic.SetPartitioner(p)
		_, err := topic.Append(ctx, log.Record{Value: []byte{0}}, log.Record{Value: []byte{9}})
		var bad *log.RecordError
		require.ErrorAs(t, err, &bad, name)
		require.Equal(t, name == "second", bad.Index == 1, name)
		_, err = topic.AppendAsync(ctx, log.Record{Value: []byte{9}}).Wait(ctx)
		require.ErrorAs(t, err, &bad, name)
		require.ErrorAs(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
			_, _ = topic.In(tx).Append(log.Record{Value: []byte{9}})
			return nil
		}), &bad, name)
	}
	for p := range topic.Partitions() {
		require.Empty(t, fetchAll(t, topic, p, log.Start()))
	}
	require.NoError(t, topic.CheckInvariants())
}
