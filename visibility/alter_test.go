package visibility_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func alter(t testing.TB, db *pebblemq.DB, name string, c visibility.QueueConfig) {
	t.Helper()
	require.NoError(t, visibility.AlterQueue(ctx, db, name, bodiless(&c)))
}

func TestAlterCountsForWhatIsThereAndForAllHandles(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		open(t, db, "dead", nil)
		q := open(t, db, "q", nil)
		send(t, q, "a")
		receiveFor(t, q, 1, 0)
		alter(t, db, "q", visibility.QueueConfig{
			VisibilityTimeout: time.Minute, Delay: time.Second, MaxBodyBytes: 3, MaxAttributes: 1, MaxInFlight: 2, DeadLetterQueue: "dead", MaxReceives: 2,
		})
		_, err := q.Send(ctx, visibility.Message{Body: []byte("long")})
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		two := map[string]visibility.Attribute{"a": visibility.StringAttribute(""), "b": visibility.StringAttribute("")}
		_, err = q.Send(ctx, visibility.Message{Body: []byte("b"), Attributes: two})
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		send(t, q, "b", "c")
		counts(t, q, 1, 0, 2)
		require.Equal(t, time.Now().Add(time.Minute), one(t, q).VisibleAt)
		pass(time.Second)
		one(t, q)
		_, err = q.Receive(ctx, nil)
		require.ErrorIs(t, err, visibility.ErrInFlightLimit)
		alter(t, db, "q", visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 1})
		require.Equal(t, "c", string(one(t, q).Body), "no limit any more")
		pass(time.Minute)
		none(t, q)
		counts(t, open(t, db, "dead", nil), 3, 0, 0)
	})
}

func TestAlterOfTheRetentionCountsForOldMessages(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "a")
		pass(time.Minute)
		send(t, q, "b")
		alter(t, db, "q", visibility.QueueConfig{Retention: time.Minute})
		counts(t, q, 1, 0, 0)
		alter(t, db, "q", visibility.QueueConfig{Retention: time.Hour})
		pass(time.Hour - 1)
		counts(t, q, 1, 0, 0)
		pass(1)
		counts(t, q, 0, 0, 0)
	})
}

func TestAlterIsRefusedForWhatCannotChangeAndChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", fifo)
		for field, c := range map[string]visibility.QueueConfig{
			"FIFO":           {DedupeWindow: time.Minute},
			"DedupeWindow":   {FIFO: true, DedupeWindow: time.Minute},
			"DedupeByBody":   {FIFO: true, DedupeByBody: true},
			"DedupePerGroup": {FIFO: true, DedupePerGroup: true},
		} {
			err := visibility.AlterQueue(ctx, db, "q", bodiless(&c))
			require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
			require.ErrorContains(t, err, field)
		}
		require.ErrorIs(t, visibility.AlterQueue(ctx, db, "q", &visibility.QueueConfig{FIFO: true, Delay: -1}), pebblemq.ErrInvalid)
		require.ErrorIs(t, visibility.AlterQueue(ctx, db, "none", nil), visibility.ErrUnknownQueue)
		require.ErrorIs(t, visibility.AlterQueue(ctx, db, "q", &visibility.QueueConfig{FIFO: true, DeadLetterQueue: "none", MaxReceives: 1}), visibility.ErrUnknownQueue)
		require.True(t, q.Config().AllowEmptyBody)
	})
}

func TestAlterSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		d.queue("q", nil, nil)
		c := &visibility.QueueConfig{Retention: time.Hour, MaxReceives: 0, MaxInFlight: 7}
		alter(t, d.db, "q", *c)
		d.crash(0)
		require.Equal(t, 7, d.queue("q", c, nil).Config().MaxInFlight)
	})
}

func TestDescribeListsTheAttributes(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		created := time.Now()
		dead := open(t, db, "dead", nil)
		q := open(t, db, "q", &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 1})
		send(t, q, "a", "b")
		pass(time.Minute)
		alter(t, db, "dead", visibility.QueueConfig{Retention: time.Hour})
		d, err := q.Describe(ctx)
		require.NoError(t, err)
		require.Equal(t, &visibility.Description{Name: "q", Config: q.Config(), Stats: stats(t, q), CreatedAt: created}, d)
		require.Equal(t, time.Minute, d.Stats.OldestAge)
		d, err = dead.Describe(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"q"}, d.DeadLettersOf)
		require.Equal(t, time.Now(), d.AlteredAt)
		require.Equal(t, time.Hour, d.Config.Retention)
	})
}

func TestDeadLetterAllowRulesAreAllNoneOrByQueue(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		open(t, db, "all", nil)
		open(t, db, "none", &visibility.QueueConfig{DeadLettersDenied: true})
		open(t, db, "some", &visibility.QueueConfig{DeadLetterSources: []string{"b", "a"}})
		to := func(dead string) *visibility.QueueConfig {
			return &visibility.QueueConfig{DeadLetterQueue: dead, MaxReceives: 1}
		}
		for _, c := range []struct {
			source, dead string
			want         error
		}{
			{"a", "all", nil}, {"b", "some", nil}, {"c", "some", visibility.ErrNotAllowed}, {"c", "none", visibility.ErrNotAllowed}, {"c", "c", pebblemq.ErrInvalid},
		} {
			_, err := visibility.OpenQueue(db, c.source, to(c.dead))
			require.ErrorIs(t, err, c.want, "%s to %s", c.source, c.dead)
		}
		require.NoError(t, visibility.AlterQueue(ctx, db, "a", to("some")))
		require.ErrorIs(t, visibility.AlterQueue(ctx, db, "a", to("none")), visibility.ErrNotAllowed)
		err := visibility.AlterQueue(ctx, db, "some", &visibility.QueueConfig{DeadLetterSources: []string{"a"}})
		require.ErrorIs(t, err, visibility.ErrNotAllowed, "b has it")
		require.NoError(t, visibility.AlterQueue(ctx, db, "b", nil))
		require.NoError(t, visibility.AlterQueue(ctx, db, "some", &visibility.QueueConfig{DeadLetterSources: []string{"a"}}))
		_, err = visibility.OpenQueue(db, "d", &visibility.QueueConfig{DeadLettersDenied: true, DeadLetterSources: []string{"a"}})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
	})
}

func TestDeadLetterKeepsTheLastErrorOfTheHandlerOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		c := &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 2}
		d.queue("dead", nil, nil)
		q := d.queue("q", c, nil)
		send(t, q, "poison")
		fail(t, q, errors.New("first"))
		fail(t, q, errors.New(strings.Repeat("ä", 600)+"\xff"))
		d.reopen()
		dead, q := d.queue("dead", nil, nil), d.queue("q", c, nil)
		none(t, q)
		m := one(t, dead)
		require.Equal(t, &visibility.DeadLetterInfo{
			Queue: "q", Reason: visibility.ReasonMaxReceives, ReceiveCount: 2, Deaths: 1, At: time.Now(), LastError: strings.Repeat("ä", 512),
		}, m.DeadLetter)
	})
}
