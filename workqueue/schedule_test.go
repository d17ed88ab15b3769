package workqueue_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// schedule is made of a function.
type schedule struct {
	text string
	next func(time.Time) time.Time
}

func (s schedule) String() string             { return s.text }
func (s schedule) Next(t time.Time) time.Time { return s.next(t) }
func every(d time.Duration) workqueue.Schedule {
	return schedule{"every " + d.String(), func(t time.Time) time.Time { return t.Truncate(d).Add(d) }}
}
func never(text string) workqueue.Schedule {
	return schedule{text, func(time.Time) time.Time { return time.Time{} }}
}
func scheduled(s workqueue.Schedule) workqueue.Job {
	job := hourly
	job.Every, job.Schedule = 0, s
	return job
}

func TestAJobIsPublishedByItsSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, storetest.Open(t, nil))
		declare(t, b, "in", "copy")
		require.NoError(t, b.PutJob(bg, scheduled(every(24*time.Hour))))
		midnight := time.Now().Truncate(24 * time.Hour).Add(24 * time.Hour)
		require.True(t, nextJob(t, b).Equal(midnight))
		<-time.After(time.Until(midnight) - 1)
		require.Zero(t, readyIn(t, b, "in"))
		<-time.After(1)
		require.Equal(t, 1, readyIn(t, b, "in"))
		<-time.After(72 * time.Hour)
		require.Equal(t, 4, readyIn(t, b, "in"))
		require.NoError(t, b.PutJob(bg, scheduled(every(24*time.Hour))), "the same")
		require.True(t, nextJob(t, b).Equal(midnight.Add(96*time.Hour)))
		require.NoError(t, b.PutJob(bg, scheduled(every(time.Hour))), "another")
		<-time.After(time.Hour)
		require.Equal(t, 5, readyIn(t, b, "in"))
	})
}

// TestAScheduleIsGivenAgainAfterARestart: what passed meanwhile is made up for by one.
func TestAScheduleIsGivenAgainAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		db, b := restart(t, fs, nil)
		declare(t, b, "in", "copy")
		job := scheduled(every(time.Hour))
		require.NoError(t, b.PutJob(bg, job))
		due := nextJob(t, b)
		<-time.After(time.Until(due) + time.Minute)
		require.Equal(t, 1, readyIn(t, b, "in"))
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		require.NoError(t, db.Close())
		<-time.After(10 * time.Hour)
		db, b = restart(t, crashed, nil)
		require.Equal(t, 1, readyIn(t, b, "in"), "it waits for its schedule")
		require.NoError(t, b.PutJob(bg, job))
		require.Equal(t, 2, readyIn(t, b, "in"))
		require.True(t, nextJob(t, b).Equal(due.Add(11*time.Hour)))
		<-time.After(time.Until(nextJob(t, b)))
		require.Equal(t, 3, readyIn(t, b, "in"))
		require.NoError(t, db.Close())
	})
}

func TestAScheduleMayEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		db, b := restart(t, fs, nil)
		declare(t, b, "in", "copy")
		last := time.Now().Add(2 * time.Hour)
		require.NoError(t, b.PutJob(bg, scheduled(schedule{"twice", func(t time.Time) time.Time {
			if next := t.Truncate(time.Hour).Add(time.Hour); !next.After(last) {
				return next
			}
			return time.Time{}
		}})))
		<-time.After(24 * time.Hour)
		require.Equal(t, 2, readyIn(t, b, "in"))
		db, b = restart(t, fs, db)
		jobs, err := b.Jobs(bg)
		require.NoError(t, err)
		require.Empty(t, jobs)
		require.NoError(t, db.Close())
	})
}

// TestAScheduleThatPanicsEndsNothingElse: nor does one that goes back in time.
func TestAScheduleThatPanicsEndsNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, storetest.Open(t, nil))
		declare(t, b, "in", "copy")
		calls := 0
		require.NoError(t, b.PutJob(bg, scheduled(schedule{"mad", func(t time.Time) time.Time {
			if calls++; calls > 1 {
				panic("mad")
			}
			return t.Add(time.Hour)
		}})))
		<-time.After(10 * time.Hour)
		require.Zero(t, readyIn(t, b, "in"))
		require.Equal(t, 2, calls)
		publish(t, b, "in", "m")
		require.Equal(t, 1, readyIn(t, b, "in"))
	})
}

func TestAScheduledPublishingThatIsRefusedCountsAsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, storetest.Open(t, nil))
		exchange(t, b, workqueue.Direct, "events")
		job := scheduled(every(time.Hour))
		job.Exchange = "events"
		require.NoError(t, b.PutJob(bg, job))
		require.NoError(t, b.DeleteExchange(bg, "events"))
		<-time.After(2*time.Hour + time.Minute) // not in the moment of the second one
		exchange(t, b, workqueue.Direct, "events")
		declare(t, b, "in")
		bind(t, b, workqueue.Binding{Exchange: "events", Key: "in", Queue: "in"})
		<-time.After(time.Hour)
		require.Equal(t, 1, readyIn(t, b, "in"))
	})
}

func TestBadSchedulesAreRefused(t *testing.T) {
	_, b := open(t)
	declare(t, b, "in", "copy")
	long := func(n int) workqueue.Job { return scheduled(schedule{strings.Repeat("x", n), every(time.Hour).Next}) }
	require.NoError(t, b.PutJob(bg, long(workqueue.MaxSchedule)))
	require.ErrorIs(t, b.PutJob(bg, long(workqueue.MaxSchedule+1)), pebblemq.ErrTooLarge)
	both := scheduled(every(time.Hour))
	both.Every = time.Hour
	for name, job := range map[string]workqueue.Job{
		"no text": long(0), "with an interval": both, "no time": scheduled(never("never")),
		"back in time": scheduled(schedule{"back", func(t time.Time) time.Time { return t }}),
	} {
		require.ErrorIs(t, b.PutJob(bg, job), pebblemq.ErrInvalid, name)
	}
}
