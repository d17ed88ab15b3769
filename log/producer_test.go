package log_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

func places(offsets ...int64) (at []log.Position) {
	for _, n := range offsets {
		at = append(at, log.Position{Offset: n})
	}
	return at
}

func TestARepeatedAppendReturnsTheOriginalOffsets(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, values("somebody else's")...)
	p := func(n int64) log.Producer { return log.Producer{Name: "p", Number: n} }
	for i := range int64(7) { // of two records each
		at, err := topic.AppendWith(ctx, numberedBy(0, p(2*i)), numbered(2)...)
		require.NoError(t, err)
		require.Equal(t, places(2*i+1, 2*i+2), at)
	}
	for i := range int64(5) { // the last five
		at, err := topic.AppendWith(ctx, numberedBy(0, p(4+2*i)), numbered(2)...)
		require.NoError(t, err)
		require.Equal(t, places(5+2*i, 6+2*i), at)
	}
	for name, c := range map[string]struct {
		number int64
		n      int
	}{
		"the sixth last":            {2, 2},
		"a gap":                     {15, 1},
		"a part of an earlier one":  {12, 1},
		"an overlap with the end":   {13, 2},
		"more than the first time":  {12, 3},
		"the middle of an old one":  {13, 1},
		"two old ones in one piece": {10, 4},
	} {
		_, err := topic.AppendWith(ctx, numberedBy(0, p(c.number)), numbered(c.n)...)
		require.ErrorIs(t, err, log.ErrSequence, name)
		var e *log.SequenceError
		require.ErrorAs(t, err, &e)
		require.Equal(t, log.SequenceError{Topic: "orders", Producer: "p", Expected: 14, Given: c.number}, *e)
	}
	_, end := bounds(t, topic)
	require.EqualValues(t, 15, end, "nothing was appended twice")
	_, err := topic.AppendWith(ctx, numberedBy(0, p(14)), numbered(1)...)
	require.NoError(t, err)
	_, err = topic.AppendWith(ctx, numberedBy(0, log.Producer{Name: "other", Number: 1}), numbered(1)...)
	require.ErrorIs(t, err, log.ErrSequence, "a new producer begins at 0")
	require.NoError(t, topic.ForgetProducer(ctx, "p"))
	at, err := topic.AppendWith(ctx, numberedBy(0, p(0)), numbered(1)...)
	require.NoError(t, err)
	require.Equal(t, places(16), at)
}

func TestEachPartitionHasItsOwnSequence(t *testing.T) {
	_, topic := openTopic(t, 2)
	for p := range 2 {
		for range 2 {
			at, err := topic.AppendWith(ctx, numberedBy(p, log.Producer{Name: "p"}), numbered(1)...)
			require.NoError(t, err)
			require.Equal(t, []log.Position{{Partition: p}}, at)
		}
	}
}

func TestARefusedTransactionLeavesTheSequenceAlone(t *testing.T) {
	db, topic := openTopic(t, 1)
	for range 2 {
		err := db.Update(ctx, func(tx *pebblemq.Tx) error {
			_, err := topic.In(tx).AppendWith(numberedBy(0, log.Producer{Name: "p"}), numbered(2)...)
			_, err2 := topic.In(tx).AppendWith(numberedBy(0, log.Producer{Name: "p", Number: 2}), numbered(2)...)
			_, err3 := topic.In(tx).AppendWith(expecting(0, 100), numbered(1)...)
			return errors.Join(err, err2, err3)
		})
		require.ErrorIs(t, err, log.ErrConflict)
	}
	var first, again *log.Placement
	require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) (err error) {
		if first, err = topic.In(tx).AppendWith(numberedBy(0, log.Producer{Name: "p"}), numbered(2)...); err != nil {
			return err
		}
		again, err = topic.In(tx).AppendWith(numberedBy(0, log.Producer{Name: "p"}), numbered(2)...)
		return err
	}))
	for _, r := range []*log.Placement{first, again} {
		at, err := r.Positions()
		require.NoError(t, err)
		require.Equal(t, places(0, 1), at)
	}
	_, end := bounds(t, topic)
	require.EqualValues(t, 2, end)
}

// A producer that appends again whatever it does not know of, over crashes, finds
// each record in the log exactly once, in order.
func TestSequencesSurviveCrashes(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	fs := vfs.NewCrashableMem()
	type batch struct {
		seq log.Producer
		n   int
	}
	var unsure []batch // may be in the log or not
	sent, lost := int64(0), 0
	for round := range 20 {
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", nil)
		require.NoError(t, err)
		send := func(b batch) {
			records := make([]log.Record, b.n)
			for i := range records {
				records[i].Value = fmt.Append(nil, b.seq.Number+int64(i))
			}
			_, err := topic.AppendWith(noSync, numberedBy(0, b.seq), records...)
			require.NoError(t, err)
		}
		_, end := bounds(t, topic)
		lost += int(sent - end)
		for _, b := range unsure {
			send(b)
		}
		_, end = bounds(t, topic)
		require.Equal(t, sent, end)
		require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte("k"), nil) })) // syncs all that
		for i, v := range fetchAll(t, topic, 0, log.Start()) {
			require.Equal(t, fmt.Sprint(i), v)
		}
		unsure = nil
		for range 1 + rng.IntN(5) {
			b := batch{log.Producer{Name: "p", Number: sent}, 1 + rng.IntN(3)}
			unsure = append(unsure, b)
			sent += int64(b.n)
			send(b)
		}
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 5 * round, RNG: rng})
		require.NoError(t, db.Close())
		fs = clone
	}
	require.Positive(t, lost, "the crashes took something")
}

func TestAppendAtAppendsOnlyIfNobodyElseDid(t *testing.T) {
	_, topic := openTopic(t, 1)
	at, err := topic.AppendWith(ctx, expecting(0, 0), numbered(3)...)
	require.NoError(t, err)
	require.Equal(t, places(0, 1, 2), at)
	for _, next := range []int64{0, 2, 4} {
		_, err = topic.AppendWith(ctx, expecting(0, next), numbered(1)...)
		require.ErrorIs(t, err, log.ErrConflict)
		var e *log.ConflictError
		require.ErrorAs(t, err, &e)
		require.Equal(t, log.ConflictError{Topic: "orders", Expected: next, Actual: 3}, *e)
	}
	_, end := bounds(t, topic)
	require.EqualValues(t, 3, end)
}

// Many who each read the end and append there: every one that succeeds knew the end.
func TestAppendAtLetsOneOfManyThrough(t *testing.T) {
	_, topic := openTopic(t, 1)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				_, end, err := topic.Offsets(ctx, 0)
				if err != nil {
					t.Error(err)
				}
				at, err := topic.AppendWith(ctx, expecting(0, end), log.Record{Value: fmt.Append(nil, end)})
				switch {
				case errors.Is(err, log.ErrConflict):
				case err != nil || at[0].Offset != end:
					t.Error(at, err)
				}
			}
		})
	}
	wg.Wait()
	for i, v := range fetchAll(t, topic, 0, log.Start()) {
		require.Equal(t, fmt.Sprint(i), v)
	}
}

func TestBadSequencesAreRefused(t *testing.T) {
	_, topic := openTopic(t, 1)
	once := func(partition int, s log.Producer, n int) error {
		_, err := topic.AppendWith(ctx, numberedBy(partition, s), numbered(n)...)
		return err
	}
	_, negative := topic.AppendWith(ctx, expecting(0, -1), numbered(1)...)
	_, nowhere := topic.AppendWith(ctx, expecting(1, 0), numbered(1)...)
	for name, c := range map[string]struct{ err, want error }{
		"no name":           {once(0, log.Producer{Number: 1}, 1), pebblemq.ErrInvalid},
		"long name":         {once(0, log.Producer{Name: strings.Repeat("p", 256)}, 1), pebblemq.ErrTooLarge},
		"negative":          {once(0, log.Producer{Name: "p", Number: -1}, 1), pebblemq.ErrInvalid},
		"absurd":            {once(0, log.Producer{Name: "p", Number: 1<<63 - 1}, 1), pebblemq.ErrInvalid},
		"no records":        {once(0, log.Producer{Name: "p"}, 0), pebblemq.ErrInvalid},
		"unknown partition": {once(1, log.Producer{Name: "p"}, 1), log.ErrUnknownPartition},
		"negative offset":   {negative, pebblemq.ErrInvalid},
		"at no partition":   {nowhere, log.ErrUnknownPartition},
		"forget nobody":     {topic.ForgetProducer(ctx, ""), pebblemq.ErrInvalid},
	} {
		require.ErrorIs(t, c.err, c.want, name)
	}
}
