package log_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
	p := openProducer(t, topic, "p")
	for i := range int64(7) { // of two records each
		at, err := topic.AppendWith(ctx, numberedBy(0, p, 2*i), numbered(2)...)
		require.NoError(t, err)
		require.Equal(t, places(2*i+1, 2*i+2), at)
	}
	for i := range int64(5) { // the last five
		at, err := topic.AppendWith(ctx, numberedBy(0, p, 4+2*i), numbered(2)...)
		require.NoError(t, err)
		require.Equal(t, places(5+2*i, 6+2*i), at)
	}
	for name, c := range map[string]struct {
		number int64
		n      int
	}{
		"the sixth last":           {2, 2},
		"a gap":                    {15, 1},
		"an overlap with the end":  {13, 2},
		"the middle of an old one": {13, 1},
	} {
		_, err := topic.AppendWith(ctx, numberedBy(0, p, c.number), numbered(c.n)...)
		require.ErrorIs(t, err, log.ErrSequence, name)
		var e *log.SequenceError
		require.ErrorAs(t, err, &e)
		require.Equal(t, log.SequenceError{Topic: "orders", Producer: "p", Expected: 14, Given: c.number}, *e)
	}
	for name, c := range map[string]struct {
		number int64
		n      int
	}{
		"a part of an earlier one":  {12, 1},
		"more than the first time":  {12, 3},
		"two old ones in one piece": {10, 4},
	} {
		_, err := topic.AppendWith(ctx, numberedBy(0, p, c.number), numbered(c.n)...)
		var e *log.NumberReusedError
		require.ErrorAs(t, err, &e, name)
		require.Equal(t, log.NumberReusedError{Topic: "orders", Producer: "p", Expected: 14, Given: c.number, Offset: c.number + 1}, *e)
	}
	_, end := bounds(t, topic)
	require.EqualValues(t, 15, end, "nothing was appended twice")
	_, err := topic.AppendWith(ctx, numberedBy(0, p, 14), numbered(1)...)
	require.NoError(t, err)
	_, err = topic.AppendWith(ctx, numberedBy(0, openProducer(t, topic, "other"), 1), numbered(1)...)
	require.ErrorIs(t, err, log.ErrSequence, "a new producer begins at 0")
}

// Whatever differs in the records of a repetition, it is an error and not a success.
func TestANumberThatIsUsedForOtherRecordsIsAnError(t *testing.T) {
	db, topic := openTopic(t, 1)
	p := openProducer(t, topic, "p")
	then := time.Unix(1e9, 0)
	first := log.Record{Key: []byte("k"), Value: []byte("v"), Headers: []log.Header{{Name: "h", Value: []byte{}}}, Timestamp: then}
	_, err := topic.AppendWith(ctx, numberedBy(0, p, 0), first)
	require.NoError(t, err)
	for name, r := range map[string]log.Record{
		"value":         {Key: first.Key, Value: []byte("w"), Headers: first.Headers, Timestamp: then},
		"tombstone":     {Key: first.Key, Headers: first.Headers, Timestamp: then},
		"key":           {Key: []byte("l"), Value: first.Value, Headers: first.Headers, Timestamp: then},
		"no key":        {Value: first.Value, Headers: first.Headers, Timestamp: then},
		"no headers":    {Key: first.Key, Value: first.Value, Timestamp: then},
		"a nil header":  {Key: first.Key, Value: first.Value, Headers: []log.Header{{Name: "h"}}, Timestamp: then},
		"a bound moved": {Key: []byte("kv"), Value: []byte{}, Headers: first.Headers, Timestamp: then},
		"time":          {Key: first.Key, Value: first.Value, Headers: first.Headers, Timestamp: then.Add(1)},
	} {
		_, err := topic.AppendWith(ctx, numberedBy(0, p, 0), r)
		require.ErrorIs(t, err, log.ErrNumberReused, name)
		require.ErrorIs(t, err, log.ErrSequence, name)
		err = db.Update(ctx, func(tx *pebblemq.Tx) error {
			_, err := topic.In(tx).AppendWith(numberedBy(0, p, 0), r)
			return err
		})
		require.ErrorIs(t, err, log.ErrNumberReused, name)
	}
	at, err := topic.AppendWith(ctx, numberedBy(0, p, 0), first)
	require.NoError(t, err)
	require.Equal(t, places(0), at)
}

// Times that the store sets are others the second time.
func TestARepetitionMayHaveAnotherTimeOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, nil)
		for name, r := range map[log.TimestampType]func() log.Record{
			log.CreateTime: func() log.Record { return log.Record{Value: []byte("v")} },
			log.AppendTime: func() log.Record { return log.Record{Value: []byte("v"), Timestamp: time.Now()} },
		} {
			topic, err := log.OpenTopic(ctx, db, name.String(), &log.TopicConfig{TimestampType: name})
			require.NoError(t, err)
			p := openProducer(t, topic, "p")
			for range 2 {
				at, err := topic.AppendWith(ctx, numberedBy(0, p, 0), r())
				require.NoError(t, err, name)
				require.Equal(t, places(0), at)
				time.Sleep(time.Hour)
			}
		}
	})
}

// A producer that is restarted goes on where Next says, over crashes and a forgetting.
func TestNextIsWhereAProducerGoesOn(t *testing.T) {
	fs := vfs.NewCrashableMem()
	for life := range int64(3) {
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 2})
		require.NoError(t, err)
		p, err := topic.OpenProducer(ctx, "p")
		require.NoError(t, err)
		require.Equal(t, life+1, p.Epoch())
		require.Equal(t, "p", p.Name())
		next, err := p.Next(ctx, 1)
		require.NoError(t, err)
		require.Equal(t, 3*life, next)
		for i := range int64(3) {
			_, err := topic.AppendWith(ctx, numberedBy(1, p, next+i), numbered(1)...)
			require.NoError(t, err)
		}
		other, err := p.Next(ctx, 0)
		require.NoError(t, err)
		require.Zero(t, other)
		_, err = p.Next(ctx, 2)
		require.ErrorIs(t, err, log.ErrUnknownPartition)
		clone := fs.CrashClone(vfs.CrashCloneCfg{})
		require.NoError(t, db.Close())
		fs = clone
	}
}

func TestAForgottenProducerBeginsAtZero(t *testing.T) {
	_, topic := openTopic(t, 1)
	p := openProducer(t, topic, "p")
	_, err := topic.AppendWith(ctx, numberedBy(0, p, 0), numbered(3)...)
	require.NoError(t, err)
	require.NoError(t, topic.ForgetProducer(ctx, "p"))
	_, err = p.Next(ctx, 0)
	var fenced *log.ProducerFencedError
	require.ErrorAs(t, err, &fenced)
	require.Equal(t, log.ProducerFencedError{Topic: "orders", Producer: "p", Epoch: 1}, *fenced)
	again := openProducer(t, topic, "p")
	next, err := again.Next(ctx, 0)
	require.NoError(t, err)
	require.Zero(t, next)
	at, err := topic.AppendWith(ctx, numberedBy(0, again, 0), numbered(1)...)
	require.NoError(t, err)
	require.Equal(t, places(3), at)
}

// Who takes a producer over fences all handles before, in transactions too.
func TestAZombieIsFenced(t *testing.T) {
	db, topic := openTopic(t, 1)
	zombie := openProducer(t, topic, "p")
	_, err := topic.AppendWith(ctx, numberedBy(0, zombie, 0), numbered(1)...)
	require.NoError(t, err)
	successor := openProducer(t, topic, "p")
	for number := range int64(3) {
		_, err = topic.AppendWith(ctx, numberedBy(0, zombie, number), numbered(1)...)
		require.ErrorIs(t, err, log.ErrProducerFenced)
		require.ErrorIs(t, err, pebblemq.ErrLost)
		var fenced *log.ProducerFencedError
		require.ErrorAs(t, err, &fenced)
		require.Equal(t, log.ProducerFencedError{Topic: "orders", Producer: "p", Epoch: 1, Current: 2}, *fenced)
	}
	err = db.Update(ctx, func(tx *pebblemq.Tx) error {
		_, err := topic.In(tx).AppendWith(numberedBy(0, zombie, 1), numbered(1)...)
		return errors.Join(err, tx.Set([]byte("state"), []byte("of the zombie")))
	})
	require.ErrorIs(t, err, log.ErrProducerFenced)
	_, err = zombie.Next(ctx, 0)
	require.ErrorIs(t, err, log.ErrProducerFenced)
	next, err := successor.Next(ctx, 0)
	require.NoError(t, err)
	require.EqualValues(t, 1, next)
	at, err := topic.AppendWith(ctx, numberedBy(0, successor, next), numbered(1)...)
	require.NoError(t, err)
	require.Equal(t, places(1), at)
	require.NoError(t, topic.Delete(ctx))
	_, err = successor.Next(ctx, 0)
	require.ErrorIs(t, err, log.ErrTopicDeleted)
}

// Handles of one name that are taken over all the time: the log has each number once, in order.
func TestTakeoversLoseNothing(t *testing.T) {
	_, topic := openTopic(t, 1)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				p, err := topic.OpenProducer(noSync, "p")
				if err != nil {
					t.Error(err)
					return
				}
				next, err := p.Next(noSync, 0)
				for range 5 {
					if err == nil {
						_, err = topic.AppendWith(noSync, numberedBy(0, p, next), log.Record{Value: fmt.Append(nil, next)})
						next++
					}
				}
				if err != nil && !errors.Is(err, log.ErrProducerFenced) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, topic.Flush(ctx))
	for i, v := range fetchAll(t, topic, 0, log.Start()) {
		require.Equal(t, fmt.Sprint(i), v)
	}
}

func TestEachPartitionHasItsOwnSequence(t *testing.T) {
	_, topic := openTopic(t, 2)
	producer := openProducer(t, topic, "p")
	for p := range 2 {
		for range 2 {
			at, err := topic.AppendWith(ctx, numberedBy(p, producer, 0), numbered(1)...)
			require.NoError(t, err)
			require.Equal(t, []log.Position{{Partition: p}}, at)
		}
	}
}

func TestARefusedTransactionLeavesTheSequenceAlone(t *testing.T) {
	db, topic := openTopic(t, 1)
	p := openProducer(t, topic, "p")
	for range 2 {
		err := db.Update(ctx, func(tx *pebblemq.Tx) error {
			_, err := topic.In(tx).AppendWith(numberedBy(0, p, 0), numbered(2)...)
			_, err2 := topic.In(tx).AppendWith(numberedBy(0, p, 2), numbered(2)...)
			_, err3 := topic.In(tx).AppendWith(expecting(0, 100), numbered(1)...)
			return errors.Join(err, err2, err3)
		})
		require.ErrorIs(t, err, log.ErrConflict)
	}
	var first, again *log.Placement
	require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) (err error) {
		if first, err = topic.In(tx).AppendWith(numberedBy(0, p, 0), numbered(2)...); err != nil {
			return err
		}
		again, err = topic.In(tx).AppendWith(numberedBy(0, p, 0), numbered(2)...)
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
		number int64
		n      int
	}
	var unsure []batch // may be in the log or not
	sent, lost := int64(0), 0
	for round := range 20 {
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", nil)
		require.NoError(t, err)
		p := openProducer(t, topic, "p")
		send := func(b batch) {
			records := make([]log.Record, b.n)
			for i := range records {
				records[i].Value = fmt.Append(nil, b.number+int64(i))
			}
			_, err := topic.AppendWith(noSync, numberedBy(0, p, b.number), records...)
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
			b := batch{sent, 1 + rng.IntN(3)}
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
	db, topic := openTopic(t, 1)
	other, err := log.OpenTopic(ctx, db, "other", nil)
	require.NoError(t, err)
	p := openProducer(t, topic, "p")
	with := func(o log.AppendOptions, n int) error {
		_, err := topic.AppendWith(ctx, o, numbered(n)...)
		return err
	}
	open := func(name string) error {
		_, err := topic.OpenProducer(ctx, name)
		return err
	}
	_, negative := topic.AppendWith(ctx, expecting(0, -1), numbered(1)...)
	_, nowhere := topic.AppendWith(ctx, expecting(1, 0), numbered(1)...)
	for name, c := range map[string]struct{ err, want error }{
		"no name":           {open(""), pebblemq.ErrInvalid},
		"long name":         {open(strings.Repeat("p", 256)), pebblemq.ErrTooLarge},
		"no producer":       {with(numberedBy(0, nil, 1), 1), pebblemq.ErrInvalid},
		"of another topic":  {with(numberedBy(0, openProducer(t, other, "p"), 0), 1), pebblemq.ErrInvalid},
		"no partition":      {with(log.AppendOptions{Producer: p}, 1), pebblemq.ErrInvalid},
		"negative":          {with(numberedBy(0, p, -1), 1), pebblemq.ErrInvalid},
		"absurd":            {with(numberedBy(0, p, 1<<63-1), 1), pebblemq.ErrInvalid},
		"no records":        {with(numberedBy(0, p, 0), 0), pebblemq.ErrInvalid},
		"unknown partition": {with(numberedBy(1, p, 0), 1), log.ErrUnknownPartition},
		"negative offset":   {negative, pebblemq.ErrInvalid},
		"at no partition":   {nowhere, log.ErrUnknownPartition},
		"forget nobody":     {topic.ForgetProducer(ctx, ""), pebblemq.ErrInvalid},
	} {
		require.ErrorIs(t, c.err, c.want, name)
	}
}
