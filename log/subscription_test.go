package log_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// twoTopics returns the topics orders and payments, of two partitions each.
func twoTopics(t testing.TB) (*pebblemq.DB, *log.Topic, *log.Topic) {
	t.Helper()
	db, orders := openTopic(t, 2)
	payments, err := log.OpenTopic(ctx, db, "payments", &log.TopicConfig{Partitions: 2})
	require.NoError(t, err)
	return db, orders, payments
}

func subscribe(t testing.TB, o *log.JoinOptions, topics ...*log.Topic) *log.Subscription {
	t.Helper()
	s, err := log.Subscribe(ctx, "billing", o, topics...)
	require.NoError(t, err)
	return s
}

func TestASubscriptionReadsSeveralTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, orders, payments := twoTopics(t)
		var told []string
		note := func(_ context.Context, m *log.Member, partitions []int) {
			told = append(told, fmt.Sprint(m.Group().Topic().Name(), partitions))
		}
		s := subscribe(t, &log.JoinOptions{OnAssigned: note}, orders, payments)
		other := subscribe(t, nil, payments)
		seen := map[string]int{}
		var got []log.Record
		read := func() {
			soon, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			for {
				found, err := s.Poll(soon, 3)
				if err != nil {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					return
				}
				for _, r := range found {
					seen[r.Topic()]++
				}
				got = append(got, found...)
			}
		}
		for _, topic := range []*log.Topic{orders, payments} {
			for p := range 2 {
				_, err := topic.AppendWith(ctx, into(p), numbered(10)...)
				require.NoError(t, err)
			}
		}
		read()
		require.Equal(t, map[string]int{"orders": 20, "payments": 10}, seen, "the others share")
		require.ElementsMatch(t, []string{"orders[0 1]", "payments[0]"}, told)
		require.NoError(t, s.Commit(ctx, got...))
		for _, m := range s.Members() {
			lags, err := m.Group().Lag(ctx)
			require.NoError(t, err)
			require.Zero(t, lags[0].Records)
		}

		go func() {
			<-time.After(time.Minute)
			_, _ = payments.AppendWith(ctx, into(0), values("new")...)
		}()
		found, err := s.Poll(ctx, 10)
		require.NoError(t, err)
		require.Equal(t, []string{"new"}, valuesOf(found), "any topic wakes it")
		require.NoError(t, s.Nack(ctx, found[0], time.Minute))
		start := time.Now()
		found, err = s.Poll(ctx, 10)
		require.NoError(t, err)
		require.Equal(t, []string{"new"}, valuesOf(found))
		require.Equal(t, time.Minute, time.Since(start))
		refused := errors.New("no")
		require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
			return errors.Join(s.In(tx).Ack(found...), refused)
		}), refused)
		require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) error { return s.In(tx).Ack(found...) }))
		require.NoError(t, other.Leave(ctx))
		read()
		require.Equal(t, 20, seen["payments"])
		require.NoError(t, s.Leave(ctx))
		_, err = s.Poll(ctx, 1)
		require.ErrorIs(t, err, log.ErrLeft)
	})
}

func TestASubscriptionCommitsAllOrNothing(t *testing.T) {
	_, orders, payments := twoTopics(t)
	for _, topic := range []*log.Topic{orders, payments} {
		_, err := topic.AppendWith(ctx, into(0), numbered(1)...)
		require.NoError(t, err)
	}
	s := subscribe(t, nil, orders, payments)
	var got []log.Record
	for len(got) < 2 {
		found, err := s.Poll(ctx, 10)
		require.NoError(t, err)
		got = append(got, found...)
	}
	group, err := payments.LookupGroup(ctx, "billing")
	require.NoError(t, err)
	require.NoError(t, group.Seek(ctx, log.End()))
	require.ErrorIs(t, s.Commit(ctx, got...), log.ErrFenced)
	group, err = orders.LookupGroup(ctx, "billing")
	require.NoError(t, err)
	require.Equal(t, []int64{0, 0}, committed(t, group))
}

func TestASubscriptionGivesBackWhatItsLoopHasNotTaken(t *testing.T) {
	_, orders, _ := twoTopics(t)
	_, err := orders.AppendWith(ctx, into(0), numbered(5)...)
	require.NoError(t, err)
	s := subscribe(t, nil, orders)
	var got []string
	for range 5 {
		for r, err := range s.Records(ctx) {
			require.NoError(t, err)
			got = append(got, string(r.Value))
			break
		}
	}
	require.Equal(t, []string{"v0", "v1", "v2", "v3", "v4"}, got)
}

func TestBadSubscriptionsAreRefused(t *testing.T) {
	_, orders, payments := twoTopics(t)
	_, elsewhere := openTopic(t, 1)
	for says, topics := range map[string][]*log.Topic{
		"subscribes to no topics":         {},
		`subscribes to topic "orders" tw`: {orders, payments, orders},
		"different stores":                {orders, elsewhere},
	} {
		_, err := log.Subscribe(ctx, "g", nil, topics...)
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		require.ErrorContains(t, err, says)
	}
	m := join(t, openGroup(t, orders, "g"))
	appendAll(t, orders, values("x")...)
	require.ErrorIs(t, subscribe(t, nil, orders).Commit(ctx, poll(t, m, 1)...), pebblemq.ErrInvalid)
}
