package workqueue_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// hourly is a job that reports every hour.
var hourly = workqueue.Job{Name: "report", Every: time.Hour, Key: "in", Message: workqueue.Message{
	Body: []byte("report"), Headers: map[string]string{"to": "boss"}, CC: []string{"copy"}, Priority: 3,
}}

// readyIn counts what is ready once all is at rest.
func readyIn(t testing.TB, b *workqueue.Broker, queue string) int {
	t.Helper()
	synctest.Wait()
	return ready(t, b, queue)
}

func nextJob(t testing.TB, b *workqueue.Broker) time.Time {
	t.Helper()
	jobs, err := b.Jobs(bg)
	require.NoError(t, err)
	require.Len(t, jobs, 1)
	return jobs[0].Next
}

func TestAJobIsPublishedAtItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, storetest.Open(t, nil))
		declare(t, b, "in", "copy")
		begin := time.Now()
		require.NoError(t, b.PutJob(bg, hourly))
		<-time.After(time.Hour - 1)
		require.Zero(t, readyIn(t, b, "in"))
		<-time.After(1)
		require.Equal(t, 1, readyIn(t, b, "in"))
		d := get(t, b, "in", "report")
		require.NoError(t, d.Ack(bg))
		require.Equal(t, "boss", d.Headers["to"])
		require.Equal(t, uint8(3), d.Priority)
		require.WithinDuration(t, time.Now(), d.Timestamp, time.Millisecond)
		require.Equal(t, 1, readyIn(t, b, "copy"), "CC")
		<-time.After(5 * time.Hour)
		require.Equal(t, 5, readyIn(t, b, "in"))
		require.True(t, nextJob(t, b).Equal(begin.Add(7*time.Hour)), "it does not drift")

		require.NoError(t, b.DeleteJob(bg, "report"))
		<-time.After(5 * time.Hour)
		require.Equal(t, 5, readyIn(t, b, "in"))
		require.ErrorIs(t, b.DeleteJob(bg, "report"), workqueue.ErrUnknownJob)
	})
}

func TestTheSameJobAgainChangesNothingAndAnotherTakesItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, storetest.Open(t, nil))
		declare(t, b, "in", "copy")
		require.NoError(t, b.PutJob(bg, hourly))
		due := nextJob(t, b)
		<-time.After(40 * time.Minute)
		require.NoError(t, b.PutJob(bg, hourly))
		require.True(t, nextJob(t, b).Equal(due))
		other := hourly
		other.Every = 50 * time.Minute
		require.NoError(t, b.PutJob(bg, other))
		<-time.After(49 * time.Minute)
		require.Zero(t, readyIn(t, b, "in"))
		<-time.After(time.Minute)
		require.Equal(t, 1, readyIn(t, b, "in"))
	})
}

func TestAJobBeginsWhenItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, storetest.Open(t, nil))
		declare(t, b, "in", "copy")
		job := hourly
		job.First = time.Now().Add(-150 * time.Minute)
		require.NoError(t, b.PutJob(bg, job))
		require.Equal(t, 1, readyIn(t, b, "in"), "what has passed is made up for once")
		require.True(t, nextJob(t, b).Equal(job.First.Add(3*time.Hour)))
		<-time.After(30 * time.Minute)
		require.Equal(t, 2, readyIn(t, b, "in"))
	})
}

// TestAJobFiresOnceAfterDowntime: after a restart or a crash, however long it took.
func TestAJobFiresOnceAfterDowntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		var db *pebblemq.DB
		var b *workqueue.Broker
		reopen := func() {
			var err error
			db, err = storetest.OpenFS(fs, store.Options{})
			require.NoError(t, err)
			b = openBroker(t, db)
		}
		reopen()
		declare(t, b, "in", "copy")
		require.NoError(t, b.PutJob(bg, hourly))
		due := nextJob(t, b)
		<-time.After(90 * time.Minute)
		require.Equal(t, 1, readyIn(t, b, "in"))
		require.NoError(t, db.Close())
		reopen()
		require.Equal(t, 1, readyIn(t, b, "in"), "it was published before")
		require.NoError(t, db.Close())

		<-time.After(10 * time.Hour)
		reopen()
		require.Equal(t, 2, readyIn(t, b, "in"))
		require.True(t, nextJob(t, b).Equal(due.Add(11*time.Hour)))
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		require.NoError(t, db.Close())
		fs = crashed
		reopen()
		require.Equal(t, 2, readyIn(t, b, "in"), "the message and the next time are one commit")
		require.NoError(t, db.Close())
	})
}

func TestAJobThatCannotBePublishedGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, storetest.Open(t, nil))
		require.NoError(t, b.DeclareExchange(bg, "events", workqueue.Direct, nil))
		declare(t, b, "in", "copy")
		require.NoError(t, b.Bind(bg, workqueue.Binding{Exchange: "events", Key: "in", Queue: "in"}))
		job := hourly
		job.Exchange = "events"
		require.NoError(t, b.PutJob(bg, job))
		require.NoError(t, b.DeleteExchange(bg, "events"))
		<-time.After(2 * time.Hour)
		require.Zero(t, readyIn(t, b, "in"))
		require.NoError(t, b.DeclareExchange(bg, "events", workqueue.Direct, nil))
		require.NoError(t, b.Bind(bg, workqueue.Binding{Exchange: "events", Key: "in", Queue: "in"}))
		<-time.After(time.Hour)
		require.Equal(t, 1, readyIn(t, b, "in"))
	})
}

func TestBadJobsAreRefused(t *testing.T) {
	_, b := open(t)
	for name, change := range map[string]func(*workqueue.Job){
		"no name":   func(j *workqueue.Job) { j.Name = "" },
		"long name": func(j *workqueue.Job) { j.Name = strings.Repeat("x", 256) },
		"too often": func(j *workqueue.Job) { j.Every = workqueue.MinEvery - 1 },
		"too rare":  func(j *workqueue.Job) { j.Every = workqueue.MaxEvery + 1 },
		"too late":  func(j *workqueue.Job) { j.First = time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC) },
		"bad delay": func(j *workqueue.Job) { j.Message.Delay = -1 },
		"large":     func(j *workqueue.Job) { j.Message.Body = make([]byte, workqueue.MaxBodyBytes+1) },
	} {
		job := hourly
		change(&job)
		err := b.PutJob(bg, job)
		require.True(t, err != nil, name)
		require.Regexp(t, fmt.Sprintf("%v|%v|empty|long", pebblemq.ErrInvalid, pebblemq.ErrTooLarge), err.Error(), name)
	}
	jobs, err := b.Jobs(bg)
	require.NoError(t, err)
	require.Empty(t, jobs)
	require.ErrorIs(t, b.DeleteJob(bg, ""), pebblemq.ErrInvalid)
	never := hourly
	never.Every = 0
	require.ErrorContains(t, b.PutJob(bg, never), "neither Every nor a Schedule")
}

func TestJobsArePutAndDeletedInATransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, nil)
		b := openBroker(t, db)
		declare(t, b, "in", "copy")
		daily := hourly
		daily.Every = 24 * time.Hour
		refused := errors.New("refused")
		update := func(f func(x workqueue.BrokerTx) error, after error) error {
			return db.Update(bg, func(tx *pebblemq.Tx) error { return errors.Join(f(b.In(tx)), after) })
		}
		put := func(j workqueue.Job) func(workqueue.BrokerTx) error {
			return func(x workqueue.BrokerTx) error { return x.PutJob(j) }
		}
		spoiled := func(f func(workqueue.BrokerTx) error) func(workqueue.BrokerTx) error { // refused as it commits
			return func(x workqueue.BrokerTx) error { return errors.Join(f(x), x.DeleteJob("none")) }
		}
		remove := func(x workqueue.BrokerTx) error { return x.DeleteJob(hourly.Name) }
		jobs := func() int {
			list, err := b.Jobs(bg)
			require.NoError(t, err)
			return len(list)
		}

		require.ErrorIs(t, update(put(hourly), refused), refused)
		require.ErrorIs(t, update(spoiled(put(hourly)), nil), workqueue.ErrUnknownJob)
		require.Zero(t, jobs())
		require.NoError(t, update(put(hourly), nil))
		require.ErrorIs(t, update(spoiled(put(daily)), nil), workqueue.ErrUnknownJob)
		require.ErrorIs(t, update(spoiled(remove), nil), workqueue.ErrUnknownJob)
		<-time.After(2*time.Hour + time.Minute)
		require.Equal(t, 2, readyIn(t, b, "in"), "the hourly one goes on")
		require.NoError(t, update(func(x workqueue.BrokerTx) error {
			return errors.Join(remove(x), x.PutJob(hourly), x.PutJob(daily))
		}, nil))
		<-time.After(23 * time.Hour)
		require.Equal(t, 2, readyIn(t, b, "in"))
		<-time.After(time.Hour)
		require.Equal(t, 3, readyIn(t, b, "in"))
		require.NoError(t, update(remove, nil))
		<-time.After(48 * time.Hour)
		require.Equal(t, 3, readyIn(t, b, "in"))
		require.ErrorIs(t, update(put(workqueue.Job{Name: "bad"}), nil), pebblemq.ErrInvalid)
	})
}
