package visibility_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func age(t tester, q *visibility.Queue, want time.Duration) {
	t.Helper()
	got, err := q.OldestAge(ctx)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestTheAgeOfTheOldestIsExactAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		dead := d.queue("dead", nil, nil)
		config := &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 1}
		q := d.queue("q", config, nil)
		age(t, q, 0)
		send(t, q, "1")
		age(t, q, 0)
		pass(time.Minute)
		send(t, q, "2")
		_, err := q.Send(ctx, visibility.Message{Delay: ptr(time.Second)})
		require.NoError(t, err)
		m := one(t, q)
		age(t, q, time.Minute)
		require.NoError(t, q.Delete(ctx, m.Receipt))
		age(t, q, 0)
		pass(time.Minute)
		age(t, q, time.Minute)
		require.NoError(t, q.Delete(ctx, one(t, q).Receipt))
		age(t, q, 59*time.Second)
		one(t, q)
		age(t, q, 59*time.Second)
		d.reopen()
		dead = d.queue("dead", nil, nil)
		q = d.queue("q", config, nil)
		age(t, q, 59*time.Second)
		pass(31 * time.Second)
		send(t, dead, "own")
		none(t, q)
		age(t, q, 0)
		age(t, dead, 90*time.Second)
		_, err = dead.Purge(ctx)
		require.NoError(t, err)
		age(t, dead, 0)
		require.NoError(t, visibility.DeleteQueue(ctx, d.db, "q"))
		_, err = q.OldestAge(ctx)
		require.ErrorIs(t, err, visibility.ErrNoQueue)
	})
}

func TestAttributesUpToTheLimitOfTheQueue(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		for name, c := range map[string]*visibility.QueueConfig{
			"10":   nil,
			"1":    {MaxAttributes: 1},
			"1000": {MaxAttributes: visibility.MaxAttributes},
		} {
			q := open(t, db, name, c)
			m := visibility.Message{Attributes: map[string]visibility.Attribute{}}
			for i := range q.Config().MaxAttributes {
				m.Attributes[fmt.Sprint(i)] = visibility.StringAttribute("v")
			}
			_, err := q.Send(ctx, m)
			require.NoError(t, err)
			require.Equal(t, m.Attributes, one(t, q).Attributes)
			m.Attributes["more"] = visibility.StringAttribute("v")
			_, err = q.Send(ctx, m)
			require.ErrorIs(t, err, pebblemq.ErrTooLarge)
			require.ErrorContains(t, err, name)
		}
		_, err := visibility.OpenQueue(db, "q", &visibility.QueueConfig{MaxAttributes: -1})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		_, err = visibility.OpenQueue(db, "q", &visibility.QueueConfig{MaxAttributes: visibility.MaxAttributes + 1})
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
	})
}

func TestEmptyBodiesAreRefusedIfAsked(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		_, err := open(t, db, "any", nil).Send(ctx, visibility.Message{})
		require.NoError(t, err)
		q := open(t, db, "q", &visibility.QueueConfig{RefuseEmptyBody: true})
		_, err = q.Send(ctx, visibility.Message{Attributes: map[string]visibility.Attribute{"a": visibility.StringAttribute("x")}})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		require.ErrorContains(t, err, "body is empty")
		send(t, q, "m")
		counts(t, q, 1, 0, 0)
	})
}
