package log_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// model is the log as it should be, beside the log as it is. Nothing but Sync is
// used, so that a crash may take nothing.
type model struct {
	fs    crashFS
	db    *pebblemq.DB
	topic *log.Topic
	group *log.Group

	compression log.Compression

	member  *log.Member
	held    []log.Record // polled by member, not committed
	records [modelPartitions][]string
	start   [modelPartitions]int
	commit  [modelPartitions]int
	n       int // records ever made
	crashes uint64
}

const modelPartitions = 2

func (m *model) open(t *rapid.T) {
	db, err := storetest.OpenFS(m.fs, store.Options{MemoryBytes: store.MinMemoryBytes})
	require.NoError(t, err)
	m.db = db
	m.topic, err = log.OpenTopic(ctx, db, "t", &log.TopicConfig{Partitions: modelPartitions, Compression: m.compression})
	require.NoError(t, err)
	m.group, err = m.topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	m.member, m.held = nil, nil
}

func (m *model) batch(t *rapid.T) []log.Record {
	records := make([]log.Record, rapid.IntRange(1, 30).Draw(t, "count"))
	pad := make([]byte, rapid.SampledFrom([]int{0, 10, 3000, 50000}).Draw(t, "pad"))
	for i := range records {
		records[i].Key = fmt.Appendf(nil, "%d", m.n)
		records[i].Value = append(fmt.Appendf(nil, "%d/", m.n), pad...)
		m.n++
	}
	return records
}

func (m *model) check(t *rapid.T, records []log.Record, at []log.Position, err error) {
	require.NoError(t, err)
	for i, p := range at {
		require.EqualValues(t, len(m.records[p.Partition]), p.Offset)
		m.records[p.Partition] = append(m.records[p.Partition], string(records[i].Value))
	}
}

func (m *model) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"append": func(t *rapid.T) {
			records := m.batch(t)
			at, err := m.topic.Append(ctx, records...)
			m.check(t, records, at, err)
		},
		"transaction": func(t *rapid.T) {
			a, b := m.batch(t), m.batch(t)
			var ra, rb *log.Placement
			refuse := rapid.Bool().Draw(t, "refuse")
			err := m.db.Update(ctx, func(tx *pebblemq.Tx) (err error) {
				ra, _ = m.topic.In(tx).Append(a...)
				rb, _ = m.topic.In(tx).AppendWith(into(1), b...)
				if refuse {
					return m.refuse(tx)
				}
				return nil
			})
			if refuse {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			at, err := ra.Positions()
			m.check(t, a, at, err)
			at, err = rb.Positions()
			m.check(t, b, at, err)
		},
		"read": func(t *rapid.T) {
			p := rapid.IntRange(0, modelPartitions-1).Draw(t, "partition")
			from := rapid.IntRange(0, len(m.records[p])+1).Draw(t, "from")
			r, err := m.topic.NewReader(p, log.Offset(int64(from)))
			if from < m.start[p] || from > len(m.records[p]) {
				require.ErrorIs(t, err, log.ErrOffsetOutOfRange)
				return
			}
			require.NoError(t, err)
			limit := rapid.IntRange(1, 100).Draw(t, "limit")
			found, err := r.Fetch(ctx, limit, 10<<20)
			require.NoError(t, err)
			want := m.records[p][from:min(from+limit, len(m.records[p]))]
			require.Equal(t, len(want), len(found))
			for i, rec := range found {
				require.EqualValues(t, from+i, rec.Offset)
				require.Equal(t, want[i], string(rec.Value))
			}
		},
		"trim": func(t *rapid.T) {
			p := rapid.IntRange(0, modelPartitions-1).Draw(t, "partition")
			to := rapid.IntRange(0, len(m.records[p])).Draw(t, "to")
			require.NoError(t, m.topic.TrimTo(ctx, p, log.Offset(int64(to))))
			m.start[p] = max(m.start[p], to)
		},
		"join": func(t *rapid.T) {
			if m.member != nil {
				require.NoError(t, m.member.Leave(ctx))
			}
			m.held = nil
			var err error
			m.member, err = m.group.Join(ctx, nil)
			require.NoError(t, err)
		},
		"poll": func(t *rapid.T) {
			if m.member == nil || m.waiting() == 0 {
				t.Skip("would wait")
			}
			found, err := m.member.Poll(ctx, rapid.IntRange(1, 50).Draw(t, "limit"))
			if err != nil {
				require.ErrorIs(t, err, log.ErrOffsetOutOfRange)
				require.True(t, m.commit[0] < m.start[0] || m.commit[1] < m.start[1])
				return
			}
			for _, r := range found {
				require.EqualValues(t, m.next(r.Partition), r.Offset)
				require.Equal(t, m.records[r.Partition][r.Offset], string(r.Value))
				m.held = append(m.held, r)
			}
		},
		"commit": func(t *rapid.T) {
			if len(m.held) == 0 {
				t.Skip("nothing polled")
			}
			n := rapid.IntRange(1, len(m.held)).Draw(t, "n")
			require.NoError(t, m.member.Commit(pebblemq.WithDurability(ctx, pebblemq.Sync), m.held[:n]...))
			for _, r := range m.held[:n] {
				m.commit[r.Partition] = int(r.Offset) + 1
			}
			m.held = m.held[n:]
		},
		"seek": func(t *rapid.T) {
			p := rapid.IntRange(0, modelPartitions-1).Draw(t, "partition")
			to := rapid.IntRange(m.start[p], len(m.records[p])).Draw(t, "to")
			require.NoError(t, m.group.Seek(ctx, log.Offset(int64(to)), p))
			m.commit[p] = to
			var held []log.Record
			for _, r := range m.held {
				if r.Partition == p {
					require.ErrorIs(t, m.member.Commit(ctx, r), log.ErrFenced)
				} else {
					held = append(held, r)
				}
			}
			m.held = held
		},
		"reopen": func(t *rapid.T) {
			require.NoError(t, m.db.Close())
			m.open(t)
		},
		"crash": func(t *rapid.T) {
			m.crashes++
			crashed := m.fs.crash(m.crashes, rapid.SampledFrom([]int{0, 50}).Draw(t, "percent"))
			require.NoError(t, m.db.Close())
			m.fs = crashed
			m.open(t)
		},
		"": func(t *rapid.T) {
			require.NoError(t, m.topic.CheckInvariants())
			lags, err := m.group.Lag(ctx)
			require.NoError(t, err)
			for p, l := range lags {
				start, end, err := m.topic.Offsets(ctx, p)
				require.NoError(t, err)
				require.EqualValues(t, m.start[p], start)
				require.EqualValues(t, len(m.records[p]), end)
				require.EqualValues(t, m.commit[p], l.Committed)
				require.EqualValues(t, len(m.records[p])-max(m.commit[p], m.start[p]), l.Records)
			}
		},
	}
}

// refuse makes the transaction fail in its turn, after the appends have run.
func (m *model) refuse(tx *pebblemq.Tx) error {
	g, err := m.topic.OpenGroup(ctx, "refusing", nil)
	if err != nil {
		return err
	}
	member, err := g.Join(ctx, nil)
	if err != nil {
		return err
	}
	return errors.Join(member.In(tx).CommitOffset(log.Committed{Partition: 0, Next: 1 << 40}), member.Leave(ctx))
}

// next is the offset that the member should get from a partition.
func (m *model) next(partition int) int {
	next := m.commit[partition]
	for _, r := range m.held {
		if r.Partition == partition {
			next = int(r.Offset) + 1
		}
	}
	return next
}

func (m *model) waiting() (n int) {
	for p := range modelPartitions {
		n += len(m.records[p]) - m.next(p)
	}
	return n
}

func TestTheLogBehavesLikeItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{fs: newCrashFS(nil), compression: rapid.SampledFrom(compressions).Draw(t, "compression")}
		m.open(t)
		defer func() { require.NoError(t, m.db.Close()) }()
		t.Repeat(m.actions())
	})
}
