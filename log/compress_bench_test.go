package log_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// likeJSON makes records of recordSize bytes that compress as events do: about
// four to one.
func likeJSON(n int) []log.Record {
	records := make([]log.Record, n)
	for i := range records {
		v := fmt.Sprintf(`{"order":%08d,"customer":"c-%05d","state":"accepted","amount":%6d,"currency":"EUR","at":%10d}`,
			i, i*7919%99991, i*31%999983, 1700000000+i*17)
		records[i].Value = []byte(v[:recordSize])
	}
	return records
}

func compressedTopic(b *testing.B, c log.Compression) *log.Topic {
	db, err := pebblemq.Open(b.TempDir(), nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	topic, err := log.OpenTopic(ctx, db, "t", &log.TopicConfig{Compression: c})
	require.NoError(b, err)
	return topic
}

// BenchmarkCompressedAppend has calls that are compressed when the group is sealed (1 and 100
// records), and by the caller (1000). NoSync is the worst case, because it does not wait for the
// disk.
func BenchmarkCompressedAppend(b *testing.B) {
	for _, perCall := range []int{1, 100, 1000} {
		for _, c := range compressions {
			b.Run(fmt.Sprintf("%d/%v", perCall, c), func(b *testing.B) {
				topic, records := compressedTopic(b, c), likeJSON(perCall)
				ctx := pebblemq.WithDurability(context.Background(), pebblemq.NoSync)
				spread(b, 16, perCall, recordSize, func(uint64) error {
					_, err := topic.Append(ctx, records...)
					return err
				})
			})
		}
	}
}

func BenchmarkCompressedReplay(b *testing.B) {
	ctx := pebblemq.WithDurability(context.Background(), pebblemq.NoSync)
	for _, c := range compressions {
		b.Run(c.String(), func(b *testing.B) {
			topic, records := compressedTopic(b, c), likeJSON(1000)
			for range replayed / len(records) {
				_, err := topic.Append(ctx, records...)
				require.NoError(b, err)
			}
			replay(b, func() int {
				r, err := topic.NewReader(0, log.Start())
				require.NoError(b, err)
				n := 0
				for rec, err := range r.Records(ctx) {
					require.NoError(b, err)
					if n++; rec.Offset == replayed-1 {
						break
					}
				}
				return n
			})
		})
	}
}
