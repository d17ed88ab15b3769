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
	require.NoError(t, alterQueue(db, name, &c))
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
			err := alterQueue(db, "q", &c)
			require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
			require.ErrorContains(t, err, field)
		}
		require.ErrorIs(t, alterQueue(db, "q", &visibility.QueueConfig{FIFO: true, Delay: -1}), pebblemq.ErrInvalid)
		require.ErrorIs(t, alterQueue(db, "none", nil), visibility.ErrUnknownQueue)
		require.ErrorIs(t, alterQueue(db, "q", &visibility.QueueConfig{FIFO: true, DeadLetterQueue: "none", MaxReceives: 1}), visibility.ErrUnknownQueue)
		require.Equal(t, visibility.DefaultDedupeWindow, q.Config().DedupeWindow)
	})
}

func TestAlterSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		d.queue("q", nil)
		c := &visibility.QueueConfig{Retention: time.Hour, MaxReceives: 0, MaxInFlight: 7}
		alter(t, d.db, "q", *c)
		d.crash(0)
		require.Equal(t, 7, d.queue("q", c).Config().MaxInFlight)
	})
}

func TestInfoTellsOfAQueue(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		created := time.Now()
		dead := open(t, db, "dead", nil)
		q := open(t, db, "q", &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 1})
		send(t, q, "a", "b")
		pass(time.Minute)
		alter(t, db, "dead", visibility.QueueConfig{Retention: time.Hour})
		info, err := q.Info(ctx)
		require.NoError(t, err)
		require.NotZero(t, info.ID)
		require.Equal(t, visibility.QueueInfo{
			Name: "q", ID: info.ID, Config: q.Config(), Created: created, Open: true, Stats: visibility.Stats{
				Visible: 2, Bytes: info.Stats.Bytes, OldestAge: time.Minute,
			},
		}, info)
		info, err = dead.Info(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"q"}, info.DeadLettersOf)
		require.Equal(t, time.Now(), info.Altered)
		require.Equal(t, time.Hour, info.Config.Retention)
	})
}

func TestQueuesTellsOfAllAndOpensNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		d.queue("dead", nil)
		send(t, d.queue("q", &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 1}), "a", "b")
		open := func() (names []string) {
			list, err := visibility.Queues(ctx, d.db)
			require.NoError(t, err)
			require.Len(t, list, 2)
			require.Equal(t, []string{"q"}, list[0].DeadLettersOf)
			require.Equal(t, "dead", list[1].Config.DeadLetterQueue)
			for _, info := range list {
				if info.Open {
					names = append(names, info.Name)
				}
			}
			if list[1].Open {
				require.EqualValues(t, 2, list[1].Stats.Visible)
			}
			return names
		}
		require.Equal(t, []string{"dead", "q"}, open())
		d.reopen()
		require.Empty(t, open())
		d.queue("dead", &visibility.QueueConfig{ReleaseOnOpen: true})
		require.Equal(t, []string{"dead"}, open())
	})
}

func TestEnsureQueueCreatesAndAlters(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		ensure := func(c *visibility.QueueConfig) (visibility.QueueConfig, pebblemq.Ensured) {
			q, did, err := visibility.EnsureQueue(ctx, db, "q", c)
			require.NoError(t, err)
			return q.Config(), did
		}
		config := &visibility.QueueConfig{Delay: time.Minute, MaxPriority: 1}
		_, did := ensure(config)
		require.Equal(t, pebblemq.Ensured{Created: true}, did)
		_, did = ensure(config)
		require.Zero(t, did)
		is, did := ensure(nil)
		require.Zero(t, did, "nil is as stored")
		require.Equal(t, time.Minute, is.Delay)
		is, did = ensure(&visibility.QueueConfig{MaxPriority: 3, MaxInFlight: 9})
		require.Equal(t, pebblemq.Ensured{Altered: []string{"Delay", "MaxPriority", "MaxInFlight"}}, did)
		require.Equal(t, 9, is.MaxInFlight)

		_, did, err := visibility.EnsureQueue(ctx, db, "q", &visibility.QueueConfig{FIFO: true, MaxInFlight: 1})
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		require.ErrorContains(t, err, "FIFO false, not true; DedupeWindow 0s, not 5m0s; MaxPriority 3, not 0")
		require.NotContains(t, err.Error(), "MaxInFlight", "that could be altered")
		require.Zero(t, did)
		q, err := visibility.LookupQueue(ctx, db, "q")
		require.NoError(t, err)
		require.Equal(t, is, q.Config(), "nothing was altered")

		_, err = visibility.OpenQueue(ctx, db, "q", config)
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		require.ErrorContains(t, err, "Delay 0s, not 1m0s; MaxPriority 3, not 1; MaxInFlight 9, not 0; EnsureQueue alters it")
		_, err = visibility.OpenQueue(ctx, db, "q", nil)
		require.NoError(t, err)
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
			_, err := visibility.OpenQueue(ctx, db, c.source, to(c.dead))
			require.ErrorIs(t, err, c.want, "%s to %s", c.source, c.dead)
		}
		require.NoError(t, alterQueue(db, "a", to("some")))
		require.ErrorIs(t, alterQueue(db, "a", to("none")), visibility.ErrNotAllowed)
		err := alterQueue(db, "some", &visibility.QueueConfig{DeadLetterSources: []string{"a"}})
		require.ErrorIs(t, err, visibility.ErrNotAllowed, "b has it")
		require.NoError(t, alterQueue(db, "b", nil))
		require.NoError(t, alterQueue(db, "some", &visibility.QueueConfig{DeadLetterSources: []string{"a"}}))
		_, err = visibility.OpenQueue(ctx, db, "d", &visibility.QueueConfig{DeadLettersDenied: true, DeadLetterSources: []string{"a"}})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
	})
}

func TestDeadLetterKeepsTheLastErrorOfTheHandlerOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		c := &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 2}
		d.queue("dead", nil)
		q := d.queue("q", c)
		send(t, q, "poison")
		fail(t, q, errors.New("first"))
		fail(t, q, errors.New(strings.Repeat("ä", 600)+"\xff"))
		d.reopen()
		dead, q := d.queue("dead", nil), d.queue("q", c)
		none(t, q)
		m := one(t, dead)
		require.Equal(t, &visibility.DeadLetterInfo{
			Queue: "q", Reason: visibility.ReasonMaxReceives, ReceiveCount: 2, Deaths: 1, At: time.Now(), LastError: strings.Repeat("ä", 512),
		}, m.DeadLetter)
	})
}
