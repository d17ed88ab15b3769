package log_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

type order struct {
	ID    string `json:"id"`
	Total int    `json:"total"`
}

// wild is a Codec that panics, or does what it is told.
type wild struct{ err error }

func (w wild) Encode(order) ([]byte, error) {
	if w.err == nil {
		panic("on purpose")
	}
	return nil, w.err
}

func (w wild) Decode([]byte) (order, error) {
	if w.err == nil {
		panic("on purpose")
	}
	return order{"half", 1}, w.err
}

func openTyped(t *testing.T) (*pebblemq.DB, log.TypedTopic[order]) {
	t.Helper()
	db, topic := openTopic(t, 1)
	return db, log.Typed(topic, pebblemq.JSON[order]())
}

func TestATypedTopicReadsWhatWasAppended(t *testing.T) {
	db, topic := openTyped(t)
	at, err := topic.Append(ctx, order{"1", 10}, nil)
	require.NoError(t, err)
	require.Equal(t, log.Position{}, at)
	at, err = topic.Append(ctx, order{"2", 20}, &log.Record{Key: []byte("k"), Headers: []log.Header{{Name: "a"}}})
	require.NoError(t, err)
	require.EqualValues(t, 1, at.Offset)
	r, err := topic.Record(order{"3", 30}, nil)
	require.NoError(t, err)
	_, err = topic.AppendAsync(ctx, r).Wait(ctx)
	require.NoError(t, err)
	var placed *log.Placement
	require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) (err error) {
		placed, err = topic.In(tx).Append(order{"4", 40}, nil)
		return err
	}))
	places, err := placed.Positions()
	require.NoError(t, err)
	require.Equal(t, []log.Position{{Offset: 3}}, places)

	check := func(n int, r log.TypedRecord[order]) {
		t.Helper()
		v, err := r.Decode()
		require.NoError(t, err)
		require.Equal(t, 10*(n+1), v.Total)
		require.EqualValues(t, n, r.Offset)
	}
	plain, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	reader := topic.Reader(plain)
	list, err := reader.Fetch(ctx, 2, 1<<20)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, "k", string(list[1].Key))
	check(0, list[0])
	check(1, list[1])
	require.NoError(t, reader.Until(log.End()))
	n := 2
	for r, err := range reader.Records(ctx) {
		require.NoError(t, err)
		check(n, r)
		n++
	}
	require.Equal(t, 4, n)

	group, err := topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	m, err := group.Join(ctx, nil)
	require.NoError(t, err)
	member := topic.Member(m)
	polled, err := member.Poll(ctx, 3)
	require.NoError(t, err)
	require.Len(t, polled, 3)
	check(2, polled[2])
	for r, err := range member.Records(ctx) {
		require.NoError(t, err)
		check(3, r)
		require.NoError(t, member.Commit(ctx, r.Record))
		break
	}
	require.NoError(t, member.Leave(ctx))
}

// appendBad appends what is no order.
func appendBad(t *testing.T, topic log.TypedTopic[order]) {
	t.Helper()
	_, err := topic.Topic.Append(ctx, log.Record{Key: []byte("bad"), Value: []byte("{")})
	require.NoError(t, err)
}

func TestWhatCannotBeDecodedIsADeadLetterOfRunAtOnce(t *testing.T) {
	db, topic := openTyped(t)
	appendBad(t, topic)
	_, err := topic.Append(ctx, order{"1", 10}, nil)
	require.NoError(t, err)
	group, err := topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	var failures []error
	running, stop := context.WithCancel(ctx)
	require.NoError(t, topic.Group(group).Run(running, func(_ context.Context, v order, r log.Record) error {
		require.Equal(t, order{"1", 10}, v)
		require.EqualValues(t, 1, r.Offset)
		stop()
		return nil
	}, &log.RunOptions{OnError: func(_ context.Context, _ log.Record, err error) { failures = append(failures, err) }}))
	require.Len(t, failures, 1)
	require.ErrorContains(t, failures[0], `cannot decode record 0/0 of topic "orders": unexpected end of JSON input`)
	dead, err := log.LookupTopic(ctx, db, "orders.dead")
	require.NoError(t, err)
	require.Equal(t, []string{"{"}, fetchAll(t, dead, 0, log.Start()))
}

func TestReadingWhatCannotBeDecodedLosesNothing(t *testing.T) {
	_, topic := openTyped(t)
	appendBad(t, topic)
	plain, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	list, err := topic.Reader(plain).Fetch(ctx, 10, 1<<20)
	require.NoError(t, err)
	require.Len(t, list, 1)
	v, err := list[0].Decode()
	var failed *pebblemq.CodecError
	require.ErrorAs(t, err, &failed)
	require.Zero(t, v)
	require.Equal(t, "{", string(list[0].Value))
}

func TestADeletionIsNotDecoded(t *testing.T) {
	_, topic := openTyped(t)
	_, err := topic.Topic.Append(ctx, log.Record{Key: []byte("k")})
	require.NoError(t, err)
	group, err := topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	running, stop := context.WithCancel(ctx)
	require.NoError(t, topic.Group(group).Run(running, func(_ context.Context, v order, r log.Record) error {
		require.Zero(t, v)
		require.Nil(t, r.Value)
		stop()
		return nil
	}, nil))
}

// none is a Codec whose payloads are nil.
type none struct{}

func (none) Encode(order) ([]byte, error) { return nil, nil }
func (none) Decode([]byte) (order, error) { return order{ID: "decoded"}, nil }

func TestACodecWithNilPayloadsDeletesNothing(t *testing.T) {
	_, plain := openTopic(t, 1)
	topic := log.Typed(plain, none{})
	r, err := topic.Record(order{}, nil)
	require.NoError(t, err)
	require.NotNil(t, r.Value)
	v, err := topic.Decode(r)
	require.NoError(t, err)
	require.Equal(t, "decoded", v.ID)
}

func TestACodecThatFailsOrPanicsIsAnErrorOfTheCall(t *testing.T) {
	db, topic := openTyped(t)
	mine := errors.New("mine")
	for name, c := range map[string]pebblemq.Codec[order]{"fails": wild{mine}, "panics": wild{}, "is nil": nil} {
		t.Run(name, func(t *testing.T) {
			w := log.Typed(topic.Topic, c)
			check := func(err error) {
				t.Helper()
				var failed *pebblemq.CodecError
				switch {
				case c == nil:
					require.ErrorIs(t, err, pebblemq.ErrInvalid)
				case name == "fails":
					require.ErrorAs(t, err, &failed)
					require.ErrorIs(t, err, mine)
				default:
					require.ErrorAs(t, err, &failed)
					require.ErrorContains(t, err, "codec panicked: on purpose")
				}
			}
			_, err := w.Append(ctx, order{}, nil)
			check(err)
			check(db.Update(ctx, func(tx *pebblemq.Tx) error {
				_, err := w.In(tx).Append(order{}, nil)
				check(err)
				return nil
			}))
			v, err := w.Decode(log.Record{Value: []byte("x")})
			check(err)
			require.Zero(t, v)
		})
	}
}

func TestATypedAppendRefusesAValueBesideTheValueAndRunANilHandler(t *testing.T) {
	_, topic := openTyped(t)
	_, err := topic.Append(ctx, order{}, &log.Record{Value: []byte("x")})
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	require.ErrorContains(t, err, `record for topic "orders" has a Value of 1 bytes`)
	group, err := topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	require.ErrorIs(t, topic.Group(group).Run(ctx, nil, nil), pebblemq.ErrInvalid)
}

func TestRunBatchHandsOverWhatCanBeDecoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, topic := openTyped(t)
		appendBad(t, topic)
		for i := range 3 {
			_, err := topic.Append(ctx, order{"o", i}, nil)
			require.NoError(t, err)
		}
		appendBad(t, topic)
		group, err := topic.OpenGroup(ctx, "g", nil)
		require.NoError(t, err)
		running, stop := context.WithTimeout(ctx, time.Hour)
		defer stop()
		var calls [][]int
		require.NoError(t, topic.Group(group).RunBatch(running, func(_ context.Context, values []order, batch []log.Record) error {
			outcome := make(pebblemq.BatchError, len(values))
			var totals []int
			for i, v := range values {
				require.EqualValues(t, v.Total+1, batch[i].Offset, "they belong together")
				totals = append(totals, v.Total)
				if v.Total == 1 && len(calls) == 0 {
					outcome[i] = errors.New("once")
				}
			}
			calls = append(calls, totals)
			return outcome
		}, nil))
		require.Equal(t, [][]int{{0, 1, 2}, {1}}, calls)
		require.Equal(t, []int64{5}, committed(t, group))
		dead, err := log.LookupTopic(ctx, db, "orders.dead")
		require.NoError(t, err)
		require.Equal(t, []string{"{", "{"}, fetchAll(t, dead, 0, log.Start()))
	})
}

func TestATypedRunWithoutACodecRejectsNothing(t *testing.T) {
	_, topic := openTyped(t)
	_, err := topic.Append(ctx, order{}, nil)
	require.NoError(t, err)
	group, err := topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	none := log.Typed[order](topic.Topic, nil).Group(group)
	require.ErrorIs(t, none.Run(ctx, func(context.Context, order, log.Record) error { return nil }, nil), pebblemq.ErrInvalid)
	require.ErrorIs(t, none.RunBatch(ctx, func(context.Context, []order, []log.Record) error { return nil }, nil), pebblemq.ErrInvalid)
	require.ErrorIs(t, topic.Group(group).RunBatch(ctx, nil, nil), pebblemq.ErrInvalid)
}

func TestATypedRunOfSeveralTopicsNamesTheTopicOfARecord(t *testing.T) {
	db, topic := openTyped(t)
	refunds, err := log.OpenTopic(ctx, db, "refunds", nil)
	require.NoError(t, err)
	appendAll(t, refunds, values("{")...)
	group, err := topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	running, stop := context.WithCancel(ctx)
	require.NoError(t, topic.Group(group).Run(running, func(context.Context, order, log.Record) error { return nil }, &log.RunOptions{
		Topics: []*log.Topic{refunds},
		OnError: func(_ context.Context, _ log.Record, err error) {
			require.ErrorContains(t, err, `cannot decode record 0/0 of topic "refunds"`)
			stop()
		},
	}))
}
