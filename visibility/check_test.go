package visibility

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// newCheckedQueue is the queue "q" with three groups of two messages each.
func newCheckedQueue(t *testing.T) (fs *vfs.MemFS, id uint32) {
	t.Helper()
	ctx := context.Background()
	fs = vfs.NewMem()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	q, err := OpenQueue(ctx, db, "q", &QueueConfig{FIFO: true, MaxPriority: 2, DedupeWindow: time.Hour})
	require.NoError(t, err)
	for i := range 6 {
		_, err := q.Send(ctx, Message{Body: []byte("body"), Group: fmt.Sprint("g", i%3), Priority: uint8(i % 3), DedupeID: fmt.Sprint(i)})
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())
	return fs, q.id
}

func TestContradictionsOfAQueueAreFoundAndMended(t *testing.T) {
	entry := func(id uint32, lane byte, seq uint64) []byte {
		return binary.BigEndian.AppendUint64(append(store.Key(store.KindVisMessage, id, 9), lane), seq)
	}
	pin := func(id uint32, group string) []byte { return append(store.Key(store.KindVisPin, id, 2), group...) }
	for _, c := range []struct {
		name, text string
		change     func(t *store.Turn, id uint32)
		left       int
	}{
		{"a message of a group is missing", `group "g1" has 2 messages of priority 1 on record, 1 of priority 1 in the queue`,
			func(t *store.Turn, id uint32) { t.Delete(entry(id, 1, 0)) }, 5},
		{"a group is missing", `group "g1" has 2 messages, which are not on record`,
			func(t *store.Turn, id uint32) { t.Delete(pin(id, "g1")) }, 6},
		{"a group has no messages", `group "g9" has 4 messages on record, and none in the queue`,
			func(t *store.Turn, id uint32) { t.Set(pin(id, "g9"), []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 4}) }, 6},
		{"a group cannot be decoded", `group "g1"`, func(t *store.Turn, id uint32) { t.Set(pin(id, "g1"), []byte{1}) }, 6},
		{"a message is older than one before it", `message 1: is older than one before it`, func(t *store.Turn, id uint32) {
			v, _ := t.Get(entry(id, 1, 1))
			binary.BigEndian.PutUint64(v[28:], 1) // when it was sent, behind three heads and a number
			t.Set(entry(id, 1, 1), v)
		}, 5},
		{"a deduplication id cannot be decoded", "answer", func(t *store.Turn, id uint32) {
			key := append(store.Key(store.KindVisWindow, id, 24), make([]byte, 24)...)
			t.Set(key, append([]byte{1}, make([]byte, 9)...))
		}, 6},
		{"a redrive cannot be decoded", "redrive", func(t *store.Turn, id uint32) {
			t.Set(binary.BigEndian.AppendUint64(store.Key(store.KindVisRedrive, id, 8), 1), []byte{1})
		}, 6},
		{"a delay of a group cannot be decoded", `delay of group "g"`, func(t *store.Turn, id uint32) {
			t.Set(append(store.Key(store.KindVisHold, id, 1), 'g'), []byte{holdVersion})
		}, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs, id := newCheckedQueue(t)
			db := storetest.Contradict(t, fs, c.text, func(turn *store.Turn) { c.change(turn, id) })
			q, err := LookupQueue(context.Background(), db, "q")
			require.NoError(t, err)
			n := 0
			for {
				got, err := q.Receive(context.Background(), &ReceiveOptions{Max: 10})
				require.NoError(t, err)
				if len(got) == 0 {
					break
				}
				for _, r := range got {
					n++
					require.NoError(t, q.Delete(context.Background(), r.Receipt))
				}
			}
			require.Equal(t, c.left, n)
			storetest.Close(t, db)
		})
	}
}
