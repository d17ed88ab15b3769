package log

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Handler processes a record. Its context ends when the member has lost the
// record's partition, with ErrFenced as the cause, or the store goes down; not when
// the context of Run does, so that what has begun can be finished.
type Handler func(ctx context.Context, r Record) error

// RunOptions are choices of one Run. Nil is the default.
type RunOptions struct {
	// Concurrency is how many handlers run at once, however many partitions
	// there are. Records of one key are handled one after the other, in their
	// order; those without a key in any order. Default 1: all records of a
	// partition are handled in their order.
	Concurrency int

	// MaxInFlight is how many records may be read and not finished, at most
	// MaxGaps. Default: 16 for each handler.
	MaxInFlight int

	// Attempts is how often a record is handled in place before it is given up.
	// Those of the same key wait meanwhile. Default 1.
	Attempts int
	// Backoff is the pause between them.
	Backoff pebblemq.Backoff

	// Retry is where a record goes that was given up, to be tried again later.
	// Others of the same key overtake it then.
	Retry *Retry
	// DeadLetter is a topic of the same store for records that nothing could be
	// done about. Without it, Run ends with the error of the first such record.
	DeadLetter *Topic
}

// Limits and defaults of Run.
const (
	MaxConcurrency = MaxGaps
	MaxAttempts    = 1_000_000
	inFlightEach   = 16
)

// Run joins the group and calls handler for the records of its partitions until
// ctx ends; then it waits for the handlers under way, leaves and returns nil. When
// handler returns nil the record is acknowledged, as if by Member.Ack, so what is
// finished is not delivered again when the partition goes to another member, and
// what is not finished is. Errors of the store end Run, too. Records that cannot be read
// do not: Run stays before them and goes on with the other partitions (see Poll, and
// Lag.Err). If the disk does not confirm the outcome of a record within a second after the
// end of ctx, or of a handler that went on longer, Run returns ErrUnknownOutcome.
//
// A handler that returns an error, panics or calls runtime.Goexit has failed. It is
// called again, up to Attempts. Then the record moves to the Retry topic, or to
// DeadLetter, in one commit with its acknowledgement. Without these, Run ends with the
// error and the place of the record, and the next owner of the partition gets the
// record again. Records in the Retry topic are handled only by a Run with that Retry.
//
// A record may be handled twice: by the former owner of a partition, who is told by
// its context, and by the new one. To commit in one transaction with the handler's
// effects, use Join, Records and Member.In instead.
func (g *Group) Run(ctx context.Context, handler Handler, o *RunOptions) error {
	if err := store.CheckContext(ctx); err != nil {
		return err
	}
	r, err := g.newRunner(ctx, handler, o)
	if err != nil {
		return err
	}
	defer r.cancel(nil)
	feeds, err := r.join(ctx)
	if err == nil {
		err = r.run(feeds)
	}
	if ctx.Err() != nil && !errors.Is(err, store.ErrUnknownOutcome) && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		err = nil
	}
	for _, f := range feeds {
		err = errors.Join(err, f.m.Leave(ctx))
	}
	return err
}

// runner is a Run under way. Records go from the feeds to the lanes: each key has
// its lane, and what has no key goes to any.
type runner struct {
	g       *Group
	handler Handler
	o       RunOptions
	ctx     context.Context // ends when no more is to begin
	cancel  context.CancelCauseFunc
	lanes   []chan job
	any     chan job

	mu struct {
		sync.Mutex
		contexts map[*tenure]context.Context
		unknown  error // outcome of a record
	}
	idle     chan struct{} // closed when all handlers are through
	watchers sync.WaitGroup
}

// job is a record to be handled.
type job struct {
	r    Record
	feed *feed
}

// feed is one source of records: the topic, or the retry topic.
type feed struct {
	m       *Member
	delayed bool          // wait for each record's time
	slots   chan struct{} // one is taken for each record in flight
}

func (g *Group) newRunner(ctx context.Context, handler Handler, o *RunOptions) (*runner, error) {
	r := &runner{g: g, handler: handler, idle: make(chan struct{})}
	if o != nil {
		r.o = *o
	}
	var err error
	if r.o, err = r.o.check(g); err != nil {
		return nil, err
	}
	if handler == nil {
		return nil, store.Invalid("handler is nil")
	}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.mu.contexts = make(map[*tenure]context.Context)
	room := 2 * r.o.MaxInFlight // of both feeds, so that nothing blocks on a lane
	r.any = make(chan job, room)
	for range r.o.Concurrency {
		r.lanes = append(r.lanes, make(chan job, room))
	}
	return r, nil
}

func (o RunOptions) check(g *Group) (RunOptions, error) {
	if o.Concurrency == 0 {
		o.Concurrency = 1
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = min(inFlightEach*max(o.Concurrency, 1), MaxGaps)
	}
	if o.Attempts == 0 {
		o.Attempts = 1
	}
	switch {
	case o.Concurrency < 0 || o.Concurrency > MaxConcurrency:
		return o, store.Invalid("Concurrency %d is not between 1 and %d", o.Concurrency, MaxConcurrency)
	case o.MaxInFlight < 0 || o.MaxInFlight > MaxGaps:
		return o, store.Invalid("MaxInFlight %d is not between 1 and %d", o.MaxInFlight, MaxGaps)
	case o.Attempts < 0 || o.Attempts > MaxAttempts:
		return o, store.Invalid("Attempts %d is not between 1 and %d", o.Attempts, MaxAttempts)
	}
	var err error
	if o.Backoff, err = o.Backoff.WithDefaults(); err != nil {
		return o, err
	}
	if o.Retry, err = o.Retry.check(g); err != nil {
		return o, err
	}
	if d := o.DeadLetter; d != nil && (d.s != g.topic.s || d == g.topic) {
		return o, store.Invalid("DeadLetter topic %q is the group's own, or of another store", d.name)
	}
	return o, nil
}

// join makes the feeds.
func (r *runner) join(ctx context.Context) ([]*feed, error) {
	m, err := r.g.Join(ctx)
	if err != nil {
		return nil, err
	}
	feeds := []*feed{{m: m, slots: make(chan struct{}, r.o.MaxInFlight)}}
	if r.o.Retry == nil {
		return feeds, nil
	}
	again, err := r.o.Retry.Topic.OpenGroup(ctx, r.g.name, nil)
	if err != nil {
		return feeds, err
	}
	if m, err = again.Join(ctx); err != nil {
		return feeds, err
	}
	return append(feeds, &feed{m: m, delayed: true, slots: make(chan struct{}, r.o.MaxInFlight)}), nil
}

// run works until ctx ends or something fails.
func (r *runner) run(feeds []*feed) error {
	var workers sync.WaitGroup
	for _, lane := range r.lanes {
		workers.Go(func() { r.work(lane) })
	}
	var feeding sync.WaitGroup
	for _, f := range feeds {
		feeding.Go(func() { r.stop(r.feed(f, &feeding)) })
	}
	workers.Wait()
	close(r.idle)
	feeding.Wait()
	r.watchers.Wait()
	if r.mu.unknown != nil {
		return r.mu.unknown
	}
	return context.Cause(r.ctx)
}

// stop lets nothing more begin. The first reason counts.
func (r *runner) stop(err error) {
	if err != nil {
		r.cancel(err)
	}
}

// feed reads records, as many as have room, and gives them to the lanes.
func (r *runner) feed(f *feed, waiting *sync.WaitGroup) error {
	for {
		n := 1
		select {
		case f.slots <- struct{}{}:
		case <-r.ctx.Done():
			return nil
		}
		for ; n < cap(f.slots); n++ {
			select {
			case f.slots <- struct{}{}:
				continue
			default:
			}
			break
		}
		records, err := f.m.Poll(r.ctx, n)
		for range n - len(records) {
			<-f.slots
		}
		if err != nil && !store.IsUnread(err) { // else the other partitions go on
			return err
		}
		for _, rec := range records {
			r.submit(job{rec, f}, waiting)
		}
	}
}

// submit gives a job to its lane, at its time.
func (r *runner) submit(j job, waiting *sync.WaitGroup) {
	lane := r.any
	if j.r.Key != nil || len(r.lanes) == 1 {
		lane = r.lanes[laneOf(j.r.Key, len(r.lanes))]
	}
	wait := time.Duration(0)
	if j.feed.delayed && ofGroup(&j.r, r.g.name) {
		wait = dueOf(&j.r).Sub(r.g.topic.s.Now())
	}
	if wait <= 0 {
		lane <- j
		return
	}
	waiting.Go(func() {
		if r.pause(wait) {
			lane <- j
		}
	})
}

// pause reports false if Run ends before the time is over.
func (r *runner) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.ctx.Done():
		return false
	}
}

func (r *runner) work(lane chan job) {
	for r.ctx.Err() == nil {
		select {
		case j := <-lane:
			r.handle(j)
		case j := <-r.any:
			r.handle(j)
		case <-r.ctx.Done():
		}
	}
}

// handle sees a record through.
func (r *runner) handle(j job) {
	defer func() { <-j.feed.slots }()
	if j.r.tenure.lost() {
		return
	}
	var err error
	if !j.feed.delayed || ofGroup(&j.r, r.g.name) {
		var ended bool
		err, ended = r.try(r.contextOf(j.r.tenure), j.r)
		if ended || err != nil && j.r.tenure.lost() {
			return // whoever has the partition then gets it again
		}
	}
	late, stop := store.Outlive(r.ctx)
	defer stop()
	if err == nil {
		err = j.feed.m.Ack(late, j.r)
	} else {
		err = r.giveUp(late, j, err)
	}
	if errors.Is(err, store.ErrUnknownOutcome) {
		r.doubt(err)
	}
	if !errors.Is(err, ErrFenced) { // else another has it now
		r.stop(err)
	}
}

// doubt notes that the outcome of a handler's record is unknown, which Run returns even
// if its context has ended.
func (r *runner) doubt(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.unknown = err
}

// try calls the handler until it succeeds or the attempts are used up. Ended says
// that Run, or the tenure, was over before that.
func (r *runner) try(ctx context.Context, rec Record) (err error, ended bool) {
	for n := 1; ; n++ {
		err = store.Call("handler", func() error { return r.handler(ctx, rec) })
		if err == nil || n >= r.o.Attempts {
			return err, false
		}
		r.g.topic.s.Log().Warn("handler failed", "topic", r.g.topic.name, "group", r.g.name,
			"partition", rec.Partition, "offset", rec.Offset, "attempt", n, "error", err)
		if !r.pause(r.o.Backoff.Delay(n)) || rec.tenure.lost() {
			return err, true
		}
	}
}

// contextOf returns the context for handlers of records of a tenure.
func (r *runner) contextOf(t *tenure) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx := r.mu.contexts[t]; ctx != nil {
		return ctx
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.ctx))
	r.mu.contexts[t] = ctx
	r.watchers.Go(func() {
		select {
		case <-t.over:
			cancel(ErrFenced)
		case <-r.g.topic.s.Down():
			cancel(r.g.topic.s.Cause())
		case <-r.idle:
			cancel(nil)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.mu.contexts, t)
	})
	return ctx
}
