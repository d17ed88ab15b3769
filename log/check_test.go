package log

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// checkedTopic is a topic of two partitions with ten batches in the first, a group that has
// committed 7 of them, a producer and a message id.
func checkedTopic(t *testing.T) (fs *vfs.MemFS, topic, group uint32) {
	t.Helper()
	ctx := context.Background()
	fs = vfs.NewMem()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	events, err := OpenTopic(ctx, db, "events", &TopicConfig{Partitions: 2, IndexKeys: true, DedupeWindow: time.Hour})
	require.NoError(t, err)
	for i := range 10 {
		_, err := events.AppendWith(ctx, AppendOptions{Partition: InPartition(0)}, Record{Key: fmt.Appendf(nil, "k%d", i%5), Value: []byte("v")})
		require.NoError(t, err)
	}
	_, err = events.AppendWith(ctx, AppendOptions{ID: "id"}, Record{Key: []byte("u"), Value: []byte("v")})
	require.NoError(t, err)
	p, err := events.OpenProducer(ctx, "p")
	require.NoError(t, err)
	_, err = events.AppendWith(ctx, AppendOptions{Partition: InPartition(1), Producer: p}, Record{Value: []byte("v")})
	require.NoError(t, err)
	g, err := events.OpenGroup(ctx, "billing", nil)
	require.NoError(t, err)
	m, err := g.Join(ctx, nil)
	require.NoError(t, err)
	require.NoError(t, m.CommitOffset(ctx, Committed{Partition: 0, Next: 7}))
	require.NoError(t, db.Close())
	return fs, events.id, g.id
}

func TestContradictionsOfATopicAreFoundAndMended(t *testing.T) {
	first := func(topic uint32) []byte { return partitionKey(store.KindLogMeta, topic, 0) }
	for _, c := range []struct {
		name, text string
		change     func(t *store.Turn, topic, group uint32)
	}{
		{"a batch is missing", `topic "events": partition 0: offsets 4 to 4 are missing`, func(t *store.Turn, topic, _ uint32) {
			t.Delete(batchKey(topic, 0, 4))
		}},
		{"the first batches are missing", `partition 0: offsets 0 to 1 are missing at its start`, func(t *store.Turn, topic, _ uint32) {
			t.DeleteRange(batchKey(topic, 0, 0), batchKey(topic, 0, 2))
		}},
		{"the last batches are missing", `partition 0: offsets up to 9 were given to records, and the last that is there is 4`, func(t *store.Turn, topic, _ uint32) {
			t.DeleteRange(batchKey(topic, 0, 5), batchKey(topic, 0, 99))
		}},
		{"all batches are missing", `partition 0: offsets up to 9 were given to records, and the last that is there is -1`, func(t *store.Turn, topic, _ uint32) {
			t.DeleteRange(batchKey(topic, 0, 0), batchKey(topic, 0, 99))
		}},
		{"a batch cannot be decoded", `partition 0: batch up to offset 3 cannot be decoded`, func(t *store.Turn, topic, _ uint32) {
			t.Set(batchKey(topic, 0, 3), []byte{batchVersion, 0, 1, 2, 3})
		}},
		{"a batch overlaps another", `partition 0: batch of offsets 3 to 4 overlaps the one before`, func(t *store.Turn, topic, _ uint32) {
			v, _ := t.Get(batchKey(topic, 0, 4))
			h, _ := decodeHeader(v, 4)
			h.base, h.sparse, h.count = 3, true, 0
			b := make([]byte, headerLen)
			h.encode(b)
			t.Set(batchKey(topic, 0, 4), b)
		}},
		{"running bytes go back", `partition 0: the running times or bytes of the batch up to offset 4 go back`, func(t *store.Turn, topic, _ uint32) {
			v, _ := t.Get(batchKey(topic, 0, 4))
			h, _ := decodeHeader(v, 4)
			h.bytes = uint64(len(v))
			h.encode(v)
			t.Set(batchKey(topic, 0, 4), v)
		}},
		{"the start lies behind the end", `partition 0: offsets up to 49 were given to records`, func(t *store.Turn, topic, _ uint32) {
			t.Set(first(topic), startRecord{start: 50}.encode())
		}},
		{"the start cannot be decoded", `start of partition 0`, func(t *store.Turn, topic, _ uint32) {
			t.Set(first(topic), []byte{startVersion, 1})
		}},
		{"a group is ahead of the end", `partition 0: offsets up to 76 were given to records`, func(t *store.Turn, _, group uint32) {
			t.Set(partitionKey(store.KindLogCommit, group, 0), progress{next: 77}.encode())
		}},
		{"a group cannot be decoded", `group "billing"`, func(t *store.Turn, _, group uint32) {
			t.Set(partitionKey(store.KindLogCommit, group, 0), []byte{commitVersion})
		}},
		{"a group is in a partition that is not there", `group "billing" has committed an offset of a partition`, func(t *store.Turn, _, group uint32) {
			t.Set(partitionKey(store.KindLogCommit, group, 5), progress{next: 1}.encode())
		}},
		{"a producer is ahead of the end", `partition 1: offsets up to 8 were given to records`, func(t *store.Turn, topic, _ uint32) {
			p := produced{next: 9, batches: []producedBatch{{count: 9}}}
			t.Set(producerKey(topic, 1, "p"), p.encode())
		}},
		{"a producer cannot be decoded", `producer "p"`, func(t *store.Turn, topic, _ uint32) {
			t.Set(producerKey(topic, 1, "p"), []byte{producerVersion})
		}},
		{"the epoch of a producer cannot be decoded", `producer "p"`, func(t *store.Turn, topic, _ uint32) {
			t.Set(producerKey(topic, allPartitions, "p"), encodeEpoch(0))
		}},
		{"a record is not in the index", `partition 0: the record at offset 8 is not in the index by key`, func(t *store.Turn, topic, _ uint32) {
			t.Delete(indexKey(topic, []byte("k3")))
		}},
		{"the index leads to an older record", `partition 0: the record at offset 8 is not in the index by key`, func(t *store.Turn, topic, _ uint32) {
			t.Set(indexKey(topic, []byte("k3")), encodeIndex(0, 3))
		}},
		{"an index entry cannot be decoded", `index of key "x"`, func(t *store.Turn, topic, _ uint32) {
			t.Set(indexKey(topic, []byte("x")), []byte{indexVersion})
		}},
		{"an index entry leads behind the end", `index of key "x" leads to a record that is missing`, func(t *store.Turn, topic, _ uint32) {
			t.Set(indexKey(topic, []byte("x")), encodeIndex(0, 33))
		}},
		{"a message id cannot be decoded", `message id`, func(t *store.Turn, topic, _ uint32) {
			key := append(store.Key(store.KindLogWindow, topic, 24), make([]byte, 24)...)
			t.Set(key, []byte{1, 2})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs, topic, group := checkedTopic(t)
			db := storetest.Contradict(t, fs, c.text, func(turn *store.Turn) { c.change(turn, topic, group) })
			events, err := LookupTopic(context.Background(), db, "events")
			require.NoError(t, err)
			ctx := context.Background()
			at, err := events.AppendWith(ctx, AppendOptions{Partition: InPartition(0)}, Record{Key: []byte("new"), Value: []byte("v")})
			require.NoError(t, err)
			require.GreaterOrEqual(t, at[0].Offset, int64(10), "no offset is given twice")
			r, err := events.NewReader(0, Start())
			require.NoError(t, err)
			for last := int64(-1); last < at[0].Offset; {
				records, err := r.Fetch(ctx, 100, 1<<20)
				require.NoError(t, err)
				last = records[len(records)-1].Offset
			}
			storetest.Close(t, db)
		})
	}
}

func TestTheIndexOfLostRecordsLeadsToTheNewestThatAreLeft(t *testing.T) {
	fs, topic, _ := checkedTopic(t)
	db := storetest.Contradict(t, fs, `index of key "k3" leads to a record that is missing, and not to the newest that is left`,
		func(turn *store.Turn) { turn.Delete(batchKey(topic, 0, 8)) })
	events, err := LookupTopic(context.Background(), db, "events")
	require.NoError(t, err)
	r, found, err := events.Latest(context.Background(), []byte("k3"))
	require.NoError(t, err)
	require.True(t, found)
	require.EqualValues(t, 3, r.Offset)
	storetest.Close(t, db)
}
