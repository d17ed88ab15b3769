package visibility_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

// fail has handlers fail with errors, one after the other.
func fail(t *testing.T, q *visibility.Queue, errs ...error) {
	t.Helper()
	c, stop := context.WithCancel(ctx)
	require.NoError(t, q.Run(c, func(context.Context, *visibility.Received) error {
		err := errs[0]
		if errs = errs[1:]; len(errs) == 0 {
			stop()
		}
		if err == nil {
			panic("no error")
		}
		return err
	}, nil))
}

func TestTheLastErrorOfTheHandlerIsKeptWithADeadLetter(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%v", restart), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDisk(t)
				config := &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 3}
				dead := d.queue("dead", nil, nil)
				q := d.queue("q", config, nil)
				send(t, q, "m")
				fail(t, q, errors.New("first"), errors.New("second"))
				if restart {
					d.reopen()
					dead = d.queue("dead", nil, nil)
					q = d.queue("q", config, nil)
				}
				require.NoError(t, q.ChangeVisibility(ctx, one(t, q).Receipt, 0))
				pass(time.Second)
				none(t, q)
				require.Equal(t, &visibility.DeadLetterInfo{
					Queue: "q", Reason: visibility.ReasonMaxReceives, ReceiveCount: 3, At: time.Now(), LastError: "second",
				}, one(t, dead).DeadLetter)
			})
		})
	}
}

func TestALongErrorAndAPanicAreKeptInPart(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", nil)
		q := open(t, db, "q", &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 1})
		for want, err := range map[string]error{
			strings.Repeat("e", visibility.MaxErrorBytes):   errors.New(strings.Repeat("e", visibility.MaxErrorBytes)),
			strings.Repeat("f", visibility.MaxErrorBytes-1): errors.New(strings.Repeat("f", visibility.MaxErrorBytes-1) + "ö"),
			"panic: no error": nil,
		} {
			send(t, q, "m")
			fail(t, q, err)
			none(t, q)
			m := one(t, dead)
			require.Contains(t, m.DeadLetter.LastError, want)
			require.LessOrEqual(t, len(m.DeadLetter.LastError), visibility.MaxErrorBytes)
			require.NoError(t, dead.Delete(ctx, m.Receipt))
		}
	})
}

func TestADeadLetterQueueSaysWhoMayHaveIt(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		open(t, db, "all", nil)
		open(t, db, "nobody's", &visibility.QueueConfig{RefuseDeadLetters: true})
		some := open(t, db, "some", &visibility.QueueConfig{DeadLettersFrom: []string{"b", "a"}})
		require.Equal(t, []string{"a", "b"}, some.Config().DeadLettersFrom)
		require.Same(t, some, open(t, db, "some", &visibility.QueueConfig{DeadLettersFrom: []string{"a", "b"}}))
		for _, c := range []struct {
			source, target string
			ok             bool
		}{
			{"a", "all", true}, {"b", "nobody's", false}, {"b", "some", true}, {"c", "some", false},
		} {
			config := &visibility.QueueConfig{DeadLetterQueue: c.target, MaxReceives: 1}
			_, created := visibility.OpenQueue(db, c.source, config)
			altered := open(t, db, c.source+" altered", nil).Alter(ctx, config)
			if c.ok {
				require.NoError(t, created)
				continue
			}
			for _, err := range []error{created, altered} {
				require.ErrorIs(t, err, pebblemq.ErrInvalid)
				require.ErrorContains(t, err, c.target)
			}
		}
		for _, config := range []visibility.QueueConfig{{RefuseDeadLetters: true}, {DeadLettersFrom: []string{"a"}}} {
			require.ErrorContains(t, some.Alter(ctx, &config), `dead-letter queue of "b"`)
		}
		require.NoError(t, some.Alter(ctx, &visibility.QueueConfig{DeadLettersFrom: []string{"b"}}))
		require.NoError(t, some.Alter(ctx, nil))
	})
}

func TestSourcesOfDeadLettersAreChecked(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		many := make([]string, visibility.MaxDeadLetterSources+1)
		for i := range many {
			many[i] = fmt.Sprint(i)
		}
		for _, c := range []visibility.QueueConfig{
			{DeadLettersFrom: many},
			{DeadLettersFrom: []string{"q"}},
			{DeadLettersFrom: []string{"a", "b", "a"}},
			{DeadLettersFrom: []string{""}},
			{DeadLettersFrom: []string{"a"}, RefuseDeadLetters: true},
		} {
			_, err := visibility.OpenQueue(db, "q", &c)
			require.Error(t, err)
		}
		open(t, db, "q", &visibility.QueueConfig{DeadLettersFrom: many[1:]})
	})
}
