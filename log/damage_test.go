package log_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// shelf is a topic in a store whose tables are damaged while it is closed.
type shelf struct {
	storetest.Workbench
	config log.TopicConfig
	topic  *log.Topic
}

func newShelf(t *testing.T, c log.TopicConfig) *shelf {
	s := &shelf{config: c}
	s.Start(t, store.Options{}, func() {
		var err error
		s.topic, err = log.OpenTopic(ctx, s.DB, "orders", &s.config)
		require.NoError(t, err)
	})
	return s
}

// fill appends n records to each partition, each in a batch of its own. Their values
// begin with their offsets.
func (s *shelf) fill(n int, key func(i int) []byte) {
	s.T.Helper()
	for p := range s.topic.Partitions() {
		for i := range n {
			r := log.Record{Value: fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", 200))}
			if key != nil {
				r.Key = key(i)
			}
			_, err := s.topic.AppendWith(ctx, into(p), r)
			require.NoError(s.T, err)
		}
	}
}

// read reads a partition from an offset on up to its end, or an error.
func (s *shelf) read(partition int, from int64) (offsets []int64, err error) {
	s.T.Helper()
	r, err := s.topic.NewReader(partition, log.Offset(from))
	require.NoError(s.T, err)
	require.NoError(s.T, r.Until(log.End()))
	for rec, err := range r.Records(ctx) {
		if err != nil {
			require.Equal(s.T, from+int64(len(offsets)), r.Offset(), "the reader stays")
			return offsets, err
		}
		require.True(s.T, strings.HasPrefix(string(rec.Value), fmt.Sprint(rec.Offset, " ")))
		offsets = append(offsets, rec.Offset)
	}
	return offsets, nil
}

// damaged is the DamageError of an error.
func damaged(t *testing.T, err error) *log.DamageError {
	t.Helper()
	var e *log.DamageError
	require.ErrorAs(t, err, &e)
	require.ErrorContains(t, err, `topic "orders", partition `)
	require.ErrorContains(t, err, ".sst")
	require.Less(t, e.From, e.To)
	return e
}

func TestAReaderStaysBeforeDamageAndGoesOnBehindIt(t *testing.T) {
	s := newShelf(t, log.TopicConfig{})
	s.fill(500, nil)
	s.Damage(store.KindLogBatch, 0.5)
	before, err := s.read(0, 0)
	require.ErrorIs(t, err, pebblemq.ErrCorrupt)
	e := damaged(t, err)
	require.Len(t, before, int(e.From), "all before it are read")
	require.Greater(t, e.From, int64(100))
	again, err := s.read(0, 0)
	require.Equal(t, e, damaged(t, err))
	require.Len(t, again, len(before))
	behind, err := s.read(0, e.To)
	require.NoError(t, err)
	require.Len(t, behind, 500-int(e.To))
	require.Less(t, e.To-e.From, int64(50))
	require.Len(t, s.Log.Lines("topic=orders"), 1)
	require.Equal(t, []*log.DamageError{e}, s.topic.Damage())

	r, err := s.topic.NewReader(0, log.Start())
	require.NoError(t, err)
	found := 0
	for {
		records, err := r.Fetch(ctx, 7, 1<<20)
		if err != nil {
			require.Equal(t, e, damaged(t, err))
			break
		}
		found += len(records)
	}
	require.EqualValues(t, e.From, found)
	s.Repair()
	all, err := s.read(0, 0)
	require.NoError(t, err)
	require.Len(t, all, 500)
}

func TestAReaderGoesOnWhenReadsWorkAgain(t *testing.T) {
	s := newShelf(t, log.TopicConfig{})
	s.fill(100, nil)
	s.Close()
	s.Open()
	r, err := s.topic.NewReader(0, log.Start())
	require.NoError(t, err)
	s.FailReads()
	_, err = r.Fetch(ctx, 1, 1)
	require.ErrorIs(t, err, pebblemq.ErrUnreadable)
	damaged(t, err)
	s.FS.SetReadHook(nil)
	records, err := r.Fetch(ctx, 100, 1<<20)
	require.NoError(t, err)
	require.Len(t, records, 100)
	require.Empty(t, s.topic.Damage())
}

// members that meet damage in one partition serve the others.
func TestAMemberGoesOnWithItsOtherPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, log.TopicConfig{Partitions: 3})
		s.fill(200, nil)
		_, err := s.topic.OpenGroup(ctx, "g", nil)
		require.NoError(t, err)
		s.Damage(store.KindLogBatch, 0.5) // in partition 1
		g, err := s.topic.OpenGroup(ctx, "g", nil)
		require.NoError(t, err)
		m, err := g.Join(ctx, nil)
		require.NoError(t, err)
		seen := make([]int, 3)
		var e *log.DamageError
		poll := func() (told int) {
			for {
				limited, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				records, err := m.Poll(limited, 10)
				cancel()
				if errors.Is(err, context.DeadlineExceeded) {
					return told
				}
				if err != nil {
					require.ErrorIs(t, err, pebblemq.ErrCorrupt)
					e = damaged(t, err)
					told++
					continue
				}
				for _, r := range records {
					require.EqualValues(t, seen[r.Partition], r.Offset)
					seen[r.Partition]++
				}
				require.NoError(t, m.Commit(ctx, records...))
			}
		}
		require.Equal(t, 1, poll())
		require.Equal(t, []int{200, int(e.From), 200}, seen)
		require.Equal(t, 1, e.Partition)
		lags, err := g.Lag(ctx)
		require.NoError(t, err)
		require.Equal(t, e, lags[1].Err)
		require.EqualValues(t, 200-e.From, lags[1].Records)
		require.NoError(t, lags[0].Err)
		require.Zero(t, poll(), "too early for another try")
		time.Sleep(time.Minute)
		require.Equal(t, 1, poll())
		require.Len(t, s.Log.Lines("topic=orders"), 1)

		_, err = s.topic.AppendWith(ctx, into(0), log.Record{Value: []byte("200 new")})
		require.NoError(t, err)
		require.Zero(t, poll())
		require.Equal(t, 201, seen[0])
		require.NoError(t, g.Seek(ctx, log.Offset(e.To), 1))
		seen[1] = int(e.To)
		require.Zero(t, poll())
		require.Equal(t, 200, seen[1])
		lags, err = g.Lag(ctx)
		require.NoError(t, err)
		require.NoError(t, lags[1].Err)
		require.NoError(t, m.Leave(ctx))
	})
}

func TestRunGoesOnAroundDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, log.TopicConfig{Partitions: 3})
		s.fill(100, nil)
		s.Damage(store.KindLogBatch, 0.5)
		g, err := s.topic.OpenGroup(ctx, "g", nil)
		require.NoError(t, err)
		limited, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		seen := make([]int, 3)
		require.NoError(t, g.Run(limited, func(_ context.Context, r log.Record) error {
			seen[r.Partition]++
			return nil
		}, nil))
		require.Equal(t, 100, seen[0])
		require.Equal(t, 100, seen[2])
		require.Less(t, seen[1], 100)
		require.Len(t, s.Log.Lines("topic=orders"), 1)
	})
}

func TestRunGoesOnWhenReadsWorkAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, log.TopicConfig{Partitions: 3})
		s.fill(100, nil)
		s.Close()
		s.Open()
		g, err := s.topic.OpenGroup(ctx, "g", nil)
		require.NoError(t, err)
		reads := atomic.Int64{}
		s.FS.SetReadHook(func(c storetest.Call) error {
			if c.Class == storetest.ClassTable {
				reads.Add(1)
				return syscall.EIO
			}
			return nil
		})
		time.AfterFunc(10*time.Minute, func() { s.FS.SetReadHook(nil) })
		limited, cancel := context.WithCancel(ctx)
		defer cancel()
		seen := 0
		require.NoError(t, g.Run(limited, func(_ context.Context, r log.Record) error {
			if seen++; seen == 300 {
				cancel()
			}
			return nil
		}, nil))
		require.Less(t, reads.Load(), int64(100_000), "not without pauses")
		require.Len(t, s.Log.Lines("topic=orders"), 3)
		require.Empty(t, s.topic.Damage())
	})
}

// The last batches of a partition are damaged. Records before them can be read, and the other
// partitions take records without a key.
func TestADamagedEndOfAPartitionRefusesAppendsToItAlone(t *testing.T) {
	s := newShelf(t, log.TopicConfig{Partitions: 3})
	s.fill(100, nil)
	g, err := s.topic.OpenGroup(ctx, "g", &log.GroupConfig{From: log.End()})
	require.NoError(t, err)
	require.NotNil(t, g)
	s.Damage(store.KindLogBatch, 1)
	g, err = s.topic.OpenGroup(ctx, "g", &log.GroupConfig{From: log.End()})
	require.NoError(t, err)
	lags, err := g.Lag(ctx)
	require.NoError(t, err)
	require.Len(t, lags, 3)
	_, err = s.topic.AppendWith(ctx, into(2), log.Record{Value: []byte("x")})
	require.ErrorIs(t, err, pebblemq.ErrCorrupt)
	e := damaged(t, err)
	require.Equal(t, 2, e.Partition)
	require.Greater(t, e.From, int64(50))
	for range 10 {
		_, err := s.topic.Append(ctx, log.Record{Value: []byte("x")})
		require.NoError(t, err)
	}
	r, err := s.topic.NewReader(2, log.Start())
	require.NoError(t, err)
	read := 0
	for _, err := range r.Records(ctx) { // does not wait at the end
		if err != nil {
			damaged(t, err)
			break
		}
		read++
	}
	require.EqualValues(t, e.From, read)
	require.NoError(t, r.Until(log.End()))
	_, err = r.Fetch(ctx, 1, 1)
	require.Equal(t, e.From, damaged(t, err).From, "nobody knows where the end is")
	damaged(t, r.Until(log.At(time.Now().Add(time.Hour))))
	require.NoError(t, r.Until(log.Offset(e.From)))
	records, err := r.Fetch(ctx, 1, 1)
	require.NoError(t, err)
	require.Empty(t, records)
	damaged(t, r.Until(log.Offset(99)))
	_, _, err = s.topic.OffsetAt(ctx, 2, time.Now().Add(time.Hour))
	damaged(t, err)
	damaged(t, s.topic.TrimTo(ctx, 2, log.Offset(99)))
	damaged(t, g.Seek(ctx, log.Offset(99), 2))
	require.NoError(t, s.topic.Compact(ctx))
	require.Len(t, s.Log.Lines("topic=orders"), 1)
	s.Repair()
	_, err = s.topic.AppendWith(ctx, into(2), log.Record{Value: []byte("100 x")})
	require.NoError(t, err)
	all, err := s.read(2, 0)
	require.NoError(t, err)
	require.Len(t, all, 101)
}

// Neither merging nor compacting stops at damage, and neither deletes what it could not
// read.
func TestTidyingPassesOverDamage(t *testing.T) {
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprint("compact ", compact), func(t *testing.T) {
			s := newShelf(t, log.TopicConfig{Partitions: 3, Compact: compact})
			s.fill(200, func(i int) []byte { // no pass in the background
				if compact {
					return fmt.Append(nil, "key ", i%150)
				}
				return nil
			})
			s.Damage(store.KindLogBatch, 0.2, 0.5)
			require.NoError(t, s.topic.Compact(ctx))
			require.NoError(t, s.topic.Compact(ctx))
			found := s.topic.Damage()
			require.Len(t, found, 2)
			require.Len(t, s.Log.Lines("topic=orders"), 2)
			s.Repair()
			for p := range 3 {
				offsets, err := s.read0(p)
				require.NoError(t, err)
				if !compact {
					require.Len(t, offsets, 200)
					continue
				}
				for i := int64(50); i < 200; i++ { // the newest of their keys
					require.Contains(t, offsets, i)
				}
				for _, e := range found {
					if e.Partition == p {
						require.Contains(t, offsets, e.From)
						require.Contains(t, offsets, e.To-1)
					}
				}
			}
		})
	}
}

// read0 reads a partition that may have gaps.
func (s *shelf) read0(partition int) (offsets []int64, err error) {
	r, err := s.topic.NewReader(partition, log.Start())
	require.NoError(s.T, err)
	require.NoError(s.T, r.Until(log.End()))
	for rec, err := range r.Records(ctx) {
		if err != nil {
			return offsets, err
		}
		offsets = append(offsets, rec.Offset)
	}
	return offsets, nil
}

func TestACompactionEndsBeforeADamagedEnd(t *testing.T) {
	s := newShelf(t, log.TopicConfig{Partitions: 1, Compact: true})
	s.fill(200, func(i int) []byte { return fmt.Append(nil, "key ", i%50) })
	s.Damage(store.KindLogBatch, 1)
	limited, cancel := context.WithTimeout(ctx, storetest.Patience)
	defer cancel()
	require.NoError(t, s.topic.Compact(limited))
	require.Len(t, s.Log.Lines("topic=orders"), 1)
}

// A tombstone whose time is over stays while there is damage before it, which may hold
// what it deletes.
func TestATombstoneBehindDamageStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, log.TopicConfig{Compact: true, TombstoneRetention: time.Hour})
		s.fill(100, func(i int) []byte { return fmt.Append(nil, "key ", i) })
		for i := range 100 {
			_, err := s.topic.Append(ctx, log.Record{Key: fmt.Append(nil, "key ", i)})
			require.NoError(t, err)
		}
		s.Damage(store.KindLogBatch, 0)
		require.NoError(t, s.topic.Compact(ctx))
		time.Sleep(2 * time.Hour)
		_, err := s.topic.Append(ctx, log.Record{Key: []byte("another")})
		require.NoError(t, err)
		require.NoError(t, s.topic.Compact(ctx))
		s.Repair()
		alive := map[string]bool{}
		r, err := s.topic.NewReader(0, log.Start())
		require.NoError(t, err)
		require.NoError(t, r.Until(log.End()))
		for rec, err := range r.Records(ctx) {
			require.NoError(t, err)
			alive[string(rec.Key)] = rec.Value != nil
		}
		for key, is := range alive {
			require.False(t, is, key)
		}
	})
}

func TestRetentionPassesOverDamage(t *testing.T) {
	for _, part := range []float64{0, 0.4, 1} {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShelf(t, log.TopicConfig{RetentionTime: time.Hour})
				const old = 120
				s.fill(old, nil)
				time.Sleep(50 * time.Minute)
				for i := range old {
					_, err := s.topic.Append(ctx, log.Record{Value: fmt.Appendf(nil, "%d %s", old+i, strings.Repeat("y", 200))})
					require.NoError(t, err)
				}
				s.Damage(store.KindLogBatch, part)
				time.Sleep(20 * time.Minute)
				start, end, err := s.topic.Offsets(ctx, 0)
				require.NoError(t, err)
				require.EqualValues(t, old, start)
				require.Equal(t, part == 1, end < 2*old)
				time.Sleep(24 * time.Hour)
				require.Empty(t, s.Log.Lines("enforce retention"))
				if part == 1 { // what cannot be read may be younger
					s.Repair()
					_, end, err = s.topic.Offsets(ctx, 0)
					require.NoError(t, err)
					require.EqualValues(t, 2*old, end)
				}
			})
		})
	}
}

func TestTimesAreLookedUpAroundDamage(t *testing.T) {
	s := newShelf(t, log.TopicConfig{})
	begin := time.Unix(1_700_000_000, 0)
	for i := range 200 {
		_, err := s.topic.Append(ctx, log.Record{
			Timestamp: begin.Add(time.Duration(i) * time.Minute), Value: []byte(strings.Repeat("x", 200)),
		})
		require.NoError(t, err)
	}
	s.Damage(store.KindLogBatch, 0.5)
	failed := 0
	for i := range int64(200) {
		offset, ok, err := s.topic.OffsetAt(ctx, 0, begin.Add(time.Duration(i)*time.Minute))
		if err != nil {
			require.ErrorIs(t, err, pebblemq.ErrCorrupt)
			e := damaged(t, err)
			require.LessOrEqual(t, e.From, i)
			require.GreaterOrEqual(t, e.To, i)
			failed++
			continue
		}
		require.True(t, ok)
		require.Equal(t, i, offset)
	}
	require.NotZero(t, failed)
	require.Less(t, failed, 50)
}

func TestKeysProducersAndIDsThatCannotBeReadRefuseAlone(t *testing.T) {
	s := newShelf(t, log.TopicConfig{IndexKeys: true, DedupeWindow: time.Hour})
	const n = 1000
	name := func(i int) string { return fmt.Sprintf("a rather long name %04d", i) }
	for i := range n {
		_, err := s.topic.AppendWith(noSync, numberedBy(0, openProducer(t, s.topic, name(i)), 0), log.Record{Key: []byte(name(i))})
		require.NoError(t, err)
		_, err = s.topic.AppendWith(noSync, log.AppendOptions{ID: name(i)}, values("x")...)
		require.NoError(t, err)
	}
	for kind, try := range map[store.Kind]func(i int) error{
		store.KindLogIndex: func(i int) error {
			r, found, err := s.topic.Latest(ctx, []byte(name(i)))
			if err == nil {
				require.True(t, found)
				_, err := s.topic.AppendWith(ctx, lastAt(log.Position{Offset: r.Offset}), log.Record{Key: []byte(name(i))})
				require.NoError(t, err)
				return nil
			}
			_, after := s.topic.AppendWith(ctx, lastAt(log.Nowhere), log.Record{Key: []byte(name(i))})
			require.ErrorIs(t, after, pebblemq.ErrCorrupt)
			return err
		},
		store.KindLogProducer: func(i int) error {
			p, err := s.topic.OpenProducer(noSync, name(i))
			if err == nil {
				_, err = s.topic.AppendWith(noSync, numberedBy(0, p, 1), log.Record{Key: []byte(name(i))})
			}
			return err
		},
		store.KindLogWindow: func(i int) error {
			_, err := s.topic.AppendWith(noSync, log.AppendOptions{ID: name(i)}, values("y")...)
			return err
		},
	} {
		s.Damage(kind, 0.5)
		failed := 0
		for i := range n {
			if err := try(i); err != nil {
				require.ErrorIs(t, err, pebblemq.ErrCorrupt)
				require.ErrorContains(t, err, `topic "orders"`)
				failed++
			}
		}
		require.NotZero(t, failed, kind)
		require.Less(t, failed, n/2)
		s.Repair()
	}
}

func TestAGroupWhoseOffsetsCannotBeReadRefusesAlone(t *testing.T) {
	s := newShelf(t, log.TopicConfig{Partitions: 50})
	for i := range 50 {
		_, err := s.topic.OpenGroup(ctx, fmt.Sprint("g", i), nil)
		require.NoError(t, err)
	}
	s.Damage(store.KindLogCommit, 0.5)
	failed := 0
	for i := range 50 {
		if _, err := s.topic.OpenGroup(ctx, fmt.Sprint("g", i), nil); err != nil {
			require.ErrorIs(t, err, pebblemq.ErrCorrupt)
			require.ErrorContains(t, err, `topic "orders"`)
			failed++
		}
	}
	require.NotZero(t, failed)
	require.Less(t, failed, 25)
}
