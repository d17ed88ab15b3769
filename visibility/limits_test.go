package visibility_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func TestLargestMessage(t *testing.T) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for limit, c := range map[int]*visibility.QueueConfig{1 << 20: nil, 64 << 20: {MaxBodyBytes: visibility.MaxBodyBytes}} {
		name := "default"
		if c != nil {
			name = "largest"
		}
		q := open(t, db, name, c)
		body := bytes.Repeat([]byte{7}, limit+1)
		_, err := q.Send(ctx, visibility.Message{Body: body})
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		_, err = q.Send(ctx, visibility.Message{Body: body[:limit]})
		require.NoError(t, err)
		m := one(t, q)
		require.True(t, bytes.Equal(body[:limit], m.Body))
		require.NoError(t, q.Delete(ctx, m.Receipt))
	}
}

func TestTheDefaultsTakeOrdinaryMessagesAndSQSLimitsAreThoseOfSQS(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		m := visibility.Message{ID: "event", Attributes: map[string]visibility.Attribute{}} // a CloudEvent without data
		for i := range 11 {
			m.Attributes[fmt.Sprint("ce-", i)] = visibility.StringAttribute("x")
		}
		q, err := visibility.OpenQueue(ctx, db, "q", nil)
		require.NoError(t, err)
		_, err = q.Send(ctx, m)
		require.NoError(t, err)
		got := one(t, q)
		require.Len(t, got.Attributes, 11)
		require.Empty(t, got.Body)

		like, err := visibility.OpenQueue(ctx, db, "like", visibility.SQSLimits())
		require.NoError(t, err)
		_, err = like.Send(ctx, m)
		require.ErrorContains(t, err, "RequireBody")
		m.Body = []byte("x")
		_, err = like.Send(ctx, m)
		require.ErrorContains(t, err, "QueueConfig.MaxAttributes")
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
	})
}

func TestAttributesAreLimitedToWhatTheQueueSays(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		for limit, c := range map[int]*visibility.QueueConfig{10: {MaxAttributes: 10}, visibility.MaxAttributes: nil} {
			q := open(t, db, fmt.Sprint("q", limit), c)
			m := visibility.Message{Attributes: map[string]visibility.Attribute{}}
			for i := range limit {
				m.Attributes[fmt.Sprint(i)] = visibility.NumberAttribute("1")
			}
			_, err := q.Send(ctx, m)
			require.NoError(t, err)
			require.Equal(t, m.Attributes, one(t, q).Attributes)
			m.Attributes["more"] = visibility.StringAttribute("x")
			_, err = q.Send(ctx, m)
			require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		}
		_, err := visibility.OpenQueue(ctx, db, "q", &visibility.QueueConfig{MaxAttributes: visibility.MaxAttributes + 1})
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		_, err = visibility.OpenQueue(ctx, db, "q", &visibility.QueueConfig{MaxAttributes: -1})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
	})
}

func TestAnEmptyBodyIsRefusedIfTheQueueRequiresOne(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q, err := visibility.OpenQueue(ctx, db, "q", &visibility.QueueConfig{RequireBody: true})
		require.NoError(t, err)
		_, err = q.Send(ctx, visibility.Message{})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		require.NoError(t, alterQueue(db, "q", nil))
		_, err = q.Send(ctx, visibility.Message{})
		require.NoError(t, err)
		require.Empty(t, one(t, q).Body)
	})
}

func TestTheVisibilityTimeoutIsTwelveHoursAtMostUnlessTheQueueSaysOtherwise(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		for limit, c := range map[time.Duration]*visibility.QueueConfig{
			12 * time.Hour: nil, time.Minute: {MaxVisibilityTimeout: time.Minute}, visibility.MaxVisibility: {MaxVisibilityTimeout: visibility.MaxVisibility},
		} {
			q := open(t, db, limit.String(), c)
			send(t, q, "a")
			_, err := q.Receive(ctx, &visibility.ReceiveOptions{VisibilityTimeout: limit + 1})
			require.ErrorIs(t, err, pebblemq.ErrInvalid)
			m := receiveFor(t, q, 1, limit)[0]
			require.NoError(t, q.ChangeVisibility(ctx, m.Receipt, limit))
			<-time.After(1)
			require.ErrorIs(t, q.ChangeVisibility(ctx, m.Receipt, limit), pebblemq.ErrInvalid, "it would end too late")
		}
		for _, limit := range []time.Duration{-1, visibility.MaxVisibility + 1} {
			_, err := visibility.OpenQueue(ctx, db, "q", &visibility.QueueConfig{MaxVisibilityTimeout: limit})
			require.ErrorIs(t, err, pebblemq.ErrInvalid)
		}
		_, err := visibility.OpenQueue(ctx, db, "q", &visibility.QueueConfig{MaxVisibilityTimeout: time.Second})
		require.ErrorIs(t, err, pebblemq.ErrInvalid, "the timeout of 30 s is longer")
	})
}
