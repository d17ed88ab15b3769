package log_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

func nack(t testing.TB, m *log.Member, r log.Record, delay time.Duration) {
	t.Helper()
	require.NoError(t, m.Nack(ctx, r, delay))
}

func TestARecordThatIsGivenBackComesFirst(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, values("a", "b", "c", "d")...)
	m := join(t, openGroup(t, topic, "g"))
	got := poll(t, m, 3)
	nack(t, m, got[1], 0)
	require.Equal(t, []string{"b", "d"}, valuesOf(poll(t, m, 10)))
}

// What else is on its way to the disk does not matter: nothing of a Nack is written.
func TestARecordThatIsGivenBackComesFirstOnASlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := storetest.NewFS(vfs.NewCrashableMem())
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", nil)
		require.NoError(t, err)
		appendAll(t, topic, values("a", "b", "c")...)
		m := join(t, openGroup(t, topic, "g"))
		got := poll(t, m, 2)
		fs.SetHook(func(c storetest.Call) error {
			if c.Op == storetest.OpSync {
				<-time.After(time.Second)
			}
			return nil
		})
		topic.AppendAsync(ctx, values("d")...)
		nack(t, m, got[0], 0)
		require.Equal(t, []string{"a", "c"}, valuesOf(poll(t, m, 10)))
		require.NoError(t, db.Close())
	})
}

func TestARecordThatIsGivenBackWithADelayComesThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 1)
		m := join(t, openGroup(t, topic, "g"))
		appendAll(t, topic, kv("k", 0), kv("other", 1), kv("k", 2), log.Record{Value: []byte("no key")})
		start := time.Now()
		nack(t, m, poll(t, m, 1)[0], time.Minute)
		require.Equal(t, []string{"1", "no key"}, valuesOf(poll(t, m, 10)), "the second of its key waits for it")
		require.Equal(t, []string{"0", "2"}, valuesOf(poll(t, m, 10)))
		require.Equal(t, time.Minute, time.Since(start))
		pollNothing(t, m)
	})
}

func TestNoCommitPassesARecordThatIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", nil)
		require.NoError(t, err)
		appendAll(t, topic, numbered(6)...)
		g := openGroup(t, topic, "g")
		m := join(t, g)
		got := poll(t, m, 10)
		nack(t, m, got[1], time.Hour)
		nack(t, m, got[3], time.Hour)
		require.NoError(t, m.Commit(ctx, got[4]))
		require.Equal(t, []int64{1}, committed(t, g))
		require.NoError(t, m.CommitOffset(ctx, log.Committed{Next: 5, Metadata: "m"}))
		require.Equal(t, []int64{1}, committed(t, g))
		lags, err := g.Lag(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 3, lags[0].Records)

		other := join(t, g)
		require.NoError(t, m.Leave(ctx))
		require.Equal(t, []string{"v1", "v3", "v5"}, valuesOf(poll(t, other, 10)), "for another owner they are due")
		require.NoError(t, other.Leave(pebblemq.WithDurability(ctx, pebblemq.Sync)))
		require.NoError(t, topic.Flush(ctx))
		require.NoError(t, db.Close())

		db, err = storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err = log.OpenTopic(ctx, db, "orders", nil)
		require.NoError(t, err)
		m = join(t, openGroup(t, topic, "g"))
		got = poll(t, m, 10)
		require.Equal(t, []string{"v1", "v3", "v5"}, valuesOf(got))
		require.NoError(t, m.Commit(ctx, got...))
		require.Equal(t, []int64{6}, committed(t, m.Group()))
		require.NoError(t, db.Close())
	})
}

func TestARecordIsGivenBackWithItsTransactionOrNot(t *testing.T) {
	db, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(3)...)
	g := openGroup(t, topic, "g")
	m := join(t, g)
	got := poll(t, m, 10)
	refused := errors.New("no")
	giveBack := func(err error) error {
		return db.Update(ctx, func(tx *pebblemq.Tx) error {
			return errors.Join(m.In(tx).Nack(got[0], 0), m.In(tx).Commit(got[2]), err)
		})
	}
	require.ErrorIs(t, giveBack(refused), refused)
	require.Equal(t, []int64{0}, committed(t, g))
	require.NoError(t, giveBack(nil))
	require.Equal(t, []string{"v0"}, valuesOf(poll(t, m, 10)))
	lags, err := g.Lag(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1, lags[0].Records)
}

func TestARecordIsGivenBackOnlyByWhoHasIt(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(3)...)
	g := openGroup(t, topic, "g")
	m, other := join(t, g), join(t, g)
	got := poll(t, m, 10)
	require.ErrorIs(t, other.Nack(ctx, got[0], 0), pebblemq.ErrInvalid)
	require.ErrorIs(t, m.Nack(ctx, log.Record{}, 0), pebblemq.ErrInvalid)
	require.ErrorIs(t, m.Nack(ctx, got[0], -1), pebblemq.ErrInvalid)
	require.ErrorIs(t, m.Nack(ctx, got[0], log.MaxNackDelay+1), pebblemq.ErrInvalid)
	require.NoError(t, m.Commit(ctx, got[0]))
	require.ErrorContains(t, m.Nack(ctx, got[0], 0), "is finished in group")
	nack(t, m, got[1], time.Hour)
	require.ErrorContains(t, m.Nack(ctx, got[1], 0), "has been given back")
	require.NoError(t, m.Leave(ctx))
	require.ErrorIs(t, m.Nack(ctx, got[2], 0), log.ErrFenced)
}

func TestRecordsGivenBackAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 1)
		m := join(t, openGroup(t, topic, "g"))
		appendAll(t, topic, kv("k", 0))
		for range 3 {
			appendAll(t, topic, repeated(log.MaxGaps, kv("k", 1))...)
		}
		appendAll(t, topic, kv("other", 2))
		nack(t, m, poll(t, m, 1)[0], time.Hour)
		start := time.Now()
		n := len(poll(t, m, 1))
		require.Equal(t, time.Hour, time.Since(start), "it reads on only so far")
		for n < 3*log.MaxGaps+2 {
			n += len(poll(t, m, 1000))
		}
		require.Equal(t, time.Hour, time.Since(start))

		appendAll(t, topic, numbered(log.MaxGaps+1)...)
		for range log.MaxGaps {
			nack(t, m, poll(t, m, 1)[0], time.Hour)
		}
		require.ErrorIs(t, m.Nack(ctx, poll(t, m, 1)[0], 0), pebblemq.ErrTooLarge)
	})
}

func repeated(n int, r log.Record) []log.Record {
	list := make([]log.Record, n)
	for i := range list {
		list[i] = r
	}
	return list
}

// Records are given back and finished at random. Each is finished once, those of a key in
// their order, and what is committed never passes one that is not.
func TestRecordsKeepTheirOrderByKeyHoweverTheyAreGivenBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			_, topic := openTopic(t, 2)
			g := openGroup(t, topic, "g")
			m := join(t, g)
			const total = 60
			for i := range total {
				appendAll(t, topic, kv(fmt.Sprint("k", i%7), i))
			}
			next := map[string]int{} // by key: how many are finished
			finished := map[log.Position]bool{}
			for n := 0; n < total; {
				found, err := m.Poll(ctx, rapid.IntRange(1, 10).Draw(rt, "limit"))
				require.NoError(rt, err)
				back := map[string]bool{}
				for _, r := range found {
					key := string(r.Key)
					if back[key] || rapid.IntRange(0, 2).Draw(rt, "what") == 0 {
						back[key] = true
						delay := time.Duration(rapid.IntRange(0, 3).Draw(rt, "delay")) * time.Second
						require.NoError(rt, m.Nack(ctx, r, delay))
						continue
					}
					require.Equal(rt, fmt.Sprint(next[key]*7+keyNumber(key)), string(r.Value), "the order of a key")
					next[key]++
					n++
					finished[log.Position{Partition: r.Partition, Offset: r.Offset}] = true
					if rapid.Bool().Draw(rt, "ack") {
						require.NoError(rt, m.Ack(ctx, r))
					} else {
						require.NoError(rt, m.Commit(ctx, r))
					}
				}
				for p, next := range committed(t, g) {
					for at := range next {
						require.True(rt, finished[log.Position{Partition: p, Offset: at}], "%d/%d is committed and not finished", p, at)
					}
				}
			}
			soon, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			_, err := m.Poll(soon, 1)
			require.ErrorIs(rt, err, context.DeadlineExceeded)
		})
	})
}

func keyNumber(key string) (n int) {
	_, _ = fmt.Sscanf(key, "k%d", &n)
	return n
}
