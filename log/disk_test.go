package log_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// Ten times its limit is written to a topic as fast as it takes it. Then all of it goes, by a
// trim or with the topic, and the disk comes back without another write.
func TestATopicGivesTheDiskBack(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes more than a gigabyte")
	}
	const memory, limit = 16 << 20, 64 << 20
	const idle = 2 * memory // of an empty store, mostly WALs
	for name, drop := range map[string]func(*log.Topic) error{
		"trimmed": func(topic *log.Topic) error { return topic.TrimTo(ctx, 0, log.End()) },
		"deleted": func(topic *log.Topic) error { return topic.Delete(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			db, err := pebblemq.Open(t.TempDir(), &pebblemq.Options{MemoryBytes: memory})
			require.NoError(t, err)
			topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{RetentionBytes: limit})
			require.NoError(t, err)
			random, records := rand.NewChaCha8([32]byte{}), numbered(1000)
			most := uint64(0)
			for written := 0; written < 10*limit; {
				for i := range records {
					records[i].Value = make([]byte, 1000)
					_, _ = random.Read(records[i].Value) // never fails
					written += len(records[i].Value)
				}
				_, err := topic.Append(noSync, records...)
				require.NoError(t, err)
				most = max(most, db.Stats().DiskBytes)
			}
			t.Logf("at most %d MiB, limit %d, memory %d", most>>20, limit>>20, memory>>20)
			require.NoError(t, drop(topic))
			begin := time.Now()
			require.Eventually(t, func() bool { return db.Stats().DiskBytes < idle }, time.Minute, 10*time.Millisecond)
			t.Logf("%d MiB are left after %v", db.Stats().DiskBytes>>20, time.Since(begin))
			require.NoError(t, db.Close())
		})
	}
}
