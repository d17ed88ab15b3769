package workqueue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Schedule says when a Job is due, for calendars that no interval can tell. The module
// github.com/pebblemq/pebblemq/workqueue/cron makes one of a cron expression.
//
// It is code, so it cannot be stored with the job: after the store was opened the job
// waits until PutJob gives it again. What passed meanwhile is then made up for by one
// publishing, as with an interval.
type Schedule interface {
	// Next returns the first time after t that the job is due; zero if there is none,
	// which ends the job. It is called outside all locks, by one caller at a time for a
	// job.
	Next(t time.Time) time.Time
	// String tells it from others: it is stored, and a job that is put with another
	// one takes the place of that which is there. At most MaxSchedule bytes, not empty.
	String() string
}

// MaxSchedule is the longest text of a Schedule, in bytes.
const MaxSchedule = 1024

func (j *Job) checkSchedule() error {
	text, err := textOf(j.Schedule)
	switch {
	case err != nil:
		return store.Invalid("job %q: %v", j.Name, err)
	case j.Every != 0:
		return store.Invalid("job %q has a Schedule and an Every", j.Name)
	case text == "":
		return store.Invalid("the Schedule of job %q has no text", j.Name)
	case len(text) > MaxSchedule:
		return store.TooLarge(fmt.Sprintf("Schedule of job %q in bytes", j.Name), int64(len(text)), MaxSchedule)
	}
	return nil
}

// textOf asks a schedule for its text.
func textOf(s Schedule) (text string, err error) {
	err = store.Call("Schedule", func() error {
		text = s.String()
		return nil
	})
	return text, err
}

// storedJob is a Job as it is kept.
type storedJob struct {
	Job
	Schedule string `json:",omitempty"`
}

func (j *Job) encode() (text []byte, err error) {
	s := storedJob{Job: *j}
	if j.Schedule != nil {
		if s.Schedule, err = textOf(j.Schedule); err != nil {
			return nil, err
		}
	}
	return json.Marshal(s)
}

func decodeJobText(text []byte) (Job, error) {
	var s storedJob
	err := json.Unmarshal(text, &s)
	if err == nil && (s.Every > 0) == (s.Schedule != "") {
		err = damaged("job", text)
	}
	return s.Job, err
}

// nextOf asks a schedule, which is the application's.
func nextOf(s Schedule, t time.Time) (next time.Time, err error) {
	err = store.Call("Schedule", func() error {
		if next = s.Next(t); !next.IsZero() && !next.After(t) {
			return store.Invalid("Schedule %q has %v after %v", s, next, t)
		}
		return nil
	})
	return next, err
}

// fireScheduled publishes the message of a job with a Schedule and finds out when the
// next is due. It is not under the baton, where the application's code has no place.
func (t *topology) fireScheduled(ctx context.Context, j *job, p *publishOp) {
	next, err := nextOf(j.Schedule, t.s.Now())
	if err != nil {
		t.s.Log().Error("periodic job is over until the store is opened again", "job", j.Name, "error", err)
		return
	}
	err = t.s.Do(ctx, &fireOp{publishOp: p, j: j, next: next}, store.Sync)
	if err == nil || t.s.Cause() != nil {
		return
	}
	t.s.Log().Error("periodic job", "job", j.Name, "error", err)
	if next.IsZero() {
		return
	}
	_ = t.s.Do(ctx, store.QuietFunc(func(turn *store.Turn) error { // fails if the store does
		if t.jobs[j.Name] == j {
			j.advance(turn, next)
		}
		return nil
	}), store.NoSync)
}
