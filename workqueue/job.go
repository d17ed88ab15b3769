package workqueue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Bounds of the Every of a Job.
const (
	MinEvery = 100 * time.Millisecond
	MaxEvery = 10 * 365 * 24 * time.Hour
)

// fullPause is how often a job tries, at most, while the disk is full.
const fullPause = time.Minute

// MaxJobs is the most periodic jobs of a broker.
const MaxJobs = 100_000

// Job is a message that is published again and again, at an interval or by a schedule. A single
// publish needs no job, only a Delay.
type Job struct {
	Name string // of the job, in the broker

	// Every is the time from one publishing to the next, at least MinEvery. The
	// times do not drift: they are First and whole intervals after it.
	Every time.Duration
	// Schedule says when, instead of Every: see Schedule.
	Schedule Schedule `json:"-"`
	// First is when the message is published first. Zero is one interval after
	// PutJob, or as the Schedule says. One that has passed is made up for at once.
	// Give it a fixed time, not one that each start computes. A job with another First
	// replaces the stored one, which then makes up for nothing any more.
	First time.Time

	// Exchange, Key and Message are as those of Publish. A message without a Timestamp
	// gets the time of each publishing. With a UniqueKey there is none as long as the
	// one before is not done.
	Exchange string
	Key      string
	Message  Message
}

// JobInfo is a Job and where it stands.
type JobInfo struct {
	Job
	Next time.Time // when the message is published next; it may wait for PutJob, see Schedule
}

// PutJob has a message published again and again from now on, in the place of a job
// of the same name. The same job again changes nothing, so a service may put its
// jobs whenever it starts. It is durable when PutJob returns.
//
// Its exchange must exist, and for the default exchange its queue.
//
// Each publishing is one commit with the step to the next. Times that passed while
// the store was closed, or its disk was full, are made up for by one. A publishing
// that is refused, because its exchange was deleted for instance, is logged and
// counts as done until the store is opened again. RabbitMQ has no such jobs.
func (b *Broker) PutJob(ctx context.Context, j Job) error {
	op, err := b.newPutJob(j)
	if err != nil {
		return err
	}
	return b.s.Do(ctx, op, store.Default)
}

// PutJob is Broker.PutJob as a part of the transaction.
func (t BrokerTx) PutJob(j Job) error {
	op, err := t.b.newPutJob(j)
	if err != nil {
		return t.x.Fail(err)
	}
	return t.x.Add(op, len(op.text))
}

func (b *Broker) newPutJob(j Job) (*putJobOp, error) {
	if err := j.check(b); err != nil {
		return nil, err
	}
	j.Message = j.Message.clone()
	first, err := j.first(b.s.Now())
	if err != nil {
		return nil, err
	}
	text, err := j.encode() // here, because it asks the Schedule
	return &putJobOp{t: b.t, job: j, text: text, first: first}, err
}

func (j *Job) check(b *Broker) error {
	if err := store.CheckName("job", j.Name); err != nil {
		return err
	}
	if err := j.checkTimes(); err != nil {
		return err
	}
	if year := j.First.Year(); !j.First.IsZero() && (year < 1970 || year > 2261) {
		return store.Invalid("First %v of job %q is out of range", j.First, j.Name)
	}
	_, err := b.publishing(j.Exchange, j.Key, j.Message)
	return err
}

// checkTimes refuses a job that is never due, or too often or too rarely.
func (j *Job) checkTimes() error {
	switch {
	case j.Schedule != nil:
		return j.checkSchedule()
	case j.Every == 0:
		return store.Invalid("job %q has neither Every nor a Schedule", j.Name)
	case j.Every < MinEvery || j.Every > MaxEvery:
		return store.Invalid("Every %v of job %q is not between %v and %v", j.Every, j.Name, MinEvery, MaxEvery)
	}
	return nil
}

// first returns when the message is published first.
func (j *Job) first(now time.Time) (time.Time, error) {
	switch {
	case !j.First.IsZero():
		return j.First, nil
	case j.Schedule == nil:
		return now.Add(j.Every), nil
	}
	first, err := nextOf(j.Schedule, now)
	if err == nil && first.IsZero() {
		err = store.Invalid("Schedule %q of job %q has no time that is to come", j.Schedule, j.Name)
	}
	return first, err
}

// clone returns a message that shares nothing with the caller's.
func (m Message) clone() Message {
	m.Body, m.Headers = slices.Clone(m.Body), maps.Clone(m.Headers)
	m.CC, m.BCC = slices.Clone(m.CC), slices.Clone(m.BCC)
	return m
}

// DeleteJob ends a job. Published messages stay. One that does not exist is ErrUnknownJob. It
// is durable when DeleteJob returns.
func (b *Broker) DeleteJob(ctx context.Context, name string) error {
	if err := store.CheckName("job", name); err != nil {
		return err
	}
	return b.s.Do(ctx, &deleteJobOp{t: b.t, name: name}, store.Default)
}

// DeleteJob is Broker.DeleteJob as a part of the transaction, which is refused with
// ErrUnknownJob if there is no such job when it commits.
func (t BrokerTx) DeleteJob(name string) error {
	if err := store.CheckName("job", name); err != nil {
		return t.x.Fail(err)
	}
	return t.x.Add(&deleteJobOp{t: t.b.t, name: name}, 0)
}

// deleteJobOp ends a job.
type deleteJobOp struct {
	t    *topology
	name string
	j    *job
}

func (o *deleteJobOp) String() string { return fmt.Sprintf("delete job %q", o.name) }

// Frees lets it in on a disk that is nearly full.
func (o *deleteJobOp) Frees() {}

func (o *deleteJobOp) Run(t *store.Turn) error {
	if o.j = o.t.jobs[o.name]; o.j == nil {
		return fmt.Errorf("%w: %q", ErrUnknownJob, o.name)
	}
	t.Delete(jobKey(o.t.id, o.name))
	delete(o.t.jobs, o.name)
	return nil
}

func (o *deleteJobOp) Undo()                 { o.t.jobs[o.name] = o.j }
func (o *deleteJobOp) Visible(t *store.Turn) { t.Disarm(o.j.timer) }

// Jobs returns the broker's jobs, by name.
func (b *Broker) Jobs(ctx context.Context) (list []JobInfo, err error) {
	err = b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		for _, name := range slices.Sorted(maps.Keys(b.t.jobs)) {
			j := b.t.jobs[name]
			info := JobInfo{Job: j.Job, Next: j.next}
			info.Message = j.Message.clone()
			list = append(list, info)
		}
		return nil
	}), store.Sync)
	return list, err
}

// job is a Job in memory. It is touched under the baton.
type job struct {
	Job
	text  []byte // as it is stored
	next  time.Time
	timer *store.Timer
}

func (t *topology) newJob(j Job, text []byte, next time.Time) *job {
	made := &job{Job: j, text: text, next: next}
	made.timer = store.NewTimer(func(turn *store.Turn) { t.fire(turn, made) })
	return made
}

// putJobOp starts a job, which is stored as text. Its timer is armed once that is visible:
// until then a timer of the job before fires in vain.
type putJobOp struct {
	t     *topology
	job   Job
	text  []byte
	first time.Time

	old, made *job // made is nil if the job was there
}

func (o *putJobOp) String() string { return fmt.Sprintf("put job %q", o.job.Name) }

func (o *putJobOp) Run(t *store.Turn) error {
	name := o.job.Name
	if o.old = o.t.jobs[name]; o.old != nil && string(o.old.text) == string(o.text) {
		return nil
	}
	if o.old == nil && len(o.t.jobs) >= MaxJobs {
		return store.TooLarge(fmt.Sprintf("number of jobs of broker %q", o.t.name), int64(len(o.t.jobs)+1), MaxJobs)
	}
	if err := o.t.checkJob(&o.job); err != nil {
		return err
	}
	o.made = o.t.newJob(o.job, o.text, o.first)
	o.t.jobs[name] = o.made
	t.Set(jobKey(o.t.id, name), encodeJob(o.first, o.text))
	return nil
}

func (o *putJobOp) Undo() {
	switch {
	case o.made == nil:
	case o.old == nil:
		delete(o.t.jobs, o.job.Name)
	default:
		o.t.jobs[o.job.Name] = o.old
	}
	o.made = nil
}

func (o *putJobOp) Visible(t *store.Turn) {
	if o.made != nil {
		if o.old != nil {
			t.Disarm(o.old.timer)
		}
		t.Arm(o.made.timer, o.made.next)
		return
	}
	if o.job.Schedule != nil && o.old.Schedule == nil { // since the store was opened
		o.old.Schedule = o.job.Schedule
		t.Arm(o.old.timer, o.old.next)
	}
}

// checkJob refuses a job whose messages would lead nowhere from the beginning.
func (t *topology) checkJob(j *Job) error {
	if j.Exchange == "" {
		a := address{key: j.Key, more: slices.Concat(j.Message.CC, j.Message.BCC)}
		if err := t.checkNames(&a); err != nil {
			return fmt.Errorf("job %q: %w", j.Name, err)
		}
		return nil
	}
	if t.exchanges[j.Exchange] == nil {
		return fmt.Errorf("job %q: %w: %q", j.Name, ErrUnknownExchange, j.Exchange)
	}
	return nil
}

// fire is what the timer calls.
func (t *topology) fire(turn *store.Turn, j *job) {
	if turn.Grow() != nil {
		pause := fullPause
		if j.Every > 0 {
			pause = min(j.Every, fullPause)
		}
		turn.Arm(j.timer, turn.Now().Add(pause))
		return
	}
	b := &Broker{s: t.s, t: t}
	p, err := b.publishing(j.Exchange, j.Key, j.Message)
	if err != nil {
		t.s.Log().Error("periodic job", "job", j.Name, "error", err)
		return
	}
	if j.Schedule != nil {
		turn.Spawn(func(ctx context.Context) { t.fireScheduled(ctx, j, p) })
		return
	}
	late := turn.Now().Sub(j.next)
	next := j.next.Add(late.Truncate(j.Every) + j.Every) // the first that is to come
	j.advance(turn, next)
	turn.Post(&fireOp{publishOp: p, j: j, next: next}, store.Sync)
}

// advance sets the time of the next publishing.
func (j *job) advance(turn *store.Turn, next time.Time) {
	j.next = next
	turn.Arm(j.timer, next)
}

// fireOp publishes the message of a job and notes when the next is due. If it is
// refused, that is logged.
type fireOp struct {
	*publishOp
	j    *job
	next time.Time
}

func (o *fireOp) Run(t *store.Turn) error {
	if o.t.jobs[o.j.Name] != o.j {
		return nil // deleted since
	}
	if err := o.publishOp.Run(t); err != nil {
		return fmt.Errorf("periodic job %q: %w", o.j.Name, err)
	}
	if o.next.IsZero() { // its Schedule is over
		t.Delete(jobKey(o.t.id, o.j.Name))
		delete(o.t.jobs, o.j.Name)
		return nil
	}
	if o.j.Schedule != nil {
		o.j.advance(t, o.next)
	}
	t.Set(jobKey(o.t.id, o.j.Name), encodeJob(o.next, o.j.text))
	return nil
}

// loadJobs reads the jobs. No other goroutine has the broker yet.
func (t *topology) loadJobs(ctx context.Context) (err error) {
	lo, hi := store.Span(store.KindWorkJob, t.id)
	it, err := t.s.Iter(ctx, lo, hi)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	it.PassOver(ctx, store.IsDamage)
	defer func() {
		for _, g := range it.Gaps() {
			t.s.Log().Error("periodic jobs cannot be read and do not run until they are put again", "broker", t.name, "error", g.Err)
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			return err
		}
		next, text, err := decodeJob(v)
		if err != nil {
			return err
		}
		text = slices.Clone(text)
		j, err := decodeJobText(text)
		if err != nil || string(it.Key()[5:]) != j.Name {
			return damaged("job", v)
		}
		t.jobs[j.Name] = t.newJob(j, text, next)
	}
	return nil
}

func jobKey(broker uint32, name string) []byte {
	return append(store.Key(store.KindWorkJob, broker, len(name)), name...)
}

// encodeJob is version 1 B | next 8 B | the Job as JSON.
func encodeJob(next time.Time, text []byte) []byte {
	v := binary.BigEndian.AppendUint64(append(make([]byte, 0, 9+len(text)), version), uint64(next.UnixNano()))
	return append(v, text...)
}

func decodeJob(v []byte) (next time.Time, text []byte, err error) {
	if len(v) > 0 && v[0] != version {
		return next, nil, fmt.Errorf("%w: job has version %d", store.ErrFormat, v[0])
	}
	if len(v) < 9 {
		return next, nil, damaged("job", v)
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(v[1:]))), v[9:], nil
}
