package log

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// Handler processes a record. Its context has the values of the context of Run. It ends with
// ErrFenced as the cause when the member has lost the record's partition. It also ends after
// the Timeout, when the store goes down, and when Run has ended and its DrainTimeout is over.
// The end of Run's context alone does not end it, so a handler can finish its work. The handler
// must not change the bytes of the record: later attempts and the dead letter share them. See
// Record.Clone.
type Handler = func(ctx context.Context, r Record) error

// BatchHandler is a Handler of several records. It returns nil, an error for all of them or
// a pebblemq.BatchError.
type BatchHandler = func(ctx context.Context, batch []Record) error

// Middleware wraps a Handler. Package pebblemq has some.
type Middleware = func(next Handler) Handler

// RunOptions are choices of one Run. Nil is the default.
type RunOptions struct {
	// Name tells the Run from other members in Group.Info. Default: none.
	Name string

	// Concurrency is how many handlers run at once, however many partitions there are.
	// Default: 1.
	Concurrency int

	// MaxAttempts is how often a record is handled before it is given up, or
	// pebblemq.Unlimited. Attempts are not stored: they begin anew with another owner of
	// the partition. Default: 20.
	MaxAttempts int

	// Backoff is the pause after a failure, by the number of failures. Records of the same
	// key wait meanwhile. Default: from 100 ms up to a minute.
	Backoff pebblemq.Backoff

	// Timeout ends the context of a call that takes longer. The call has failed then, unless
	// the handler returns nil. Default: none.
	Timeout time.Duration

	// DrainTimeout is how long handlers may go on after the end of Run's context, and after
	// their partition was given to another member. Then their contexts end.
	// pebblemq.Unlimited waits for as long as they take. Default: 30 s.
	DrainTimeout time.Duration

	// Rate limits how many records are handled. Default: no limit.
	Rate pebblemq.Rate

	// Key returns what a record is about. Records with equal keys are handled one after the
	// other, in their order; those with "" in any order. Key must be quick. Default: with a
	// Concurrency of 1 the partition, so that each partition is handled in its order; else
	// the key of the record, and none if that is nil.
	Key func(Record) string

	// BatchSize is how many records RunBatch handles at a time, and BatchWait how long it
	// waits for them after the first one. Defaults: 100 and 10 ms.
	BatchSize int
	BatchWait time.Duration

	// Middleware is put around the handler of Run. The first one is outermost.
	Middleware []Middleware

	// OnError is called after each failure of a handler. It must be quick.
	OnError func(ctx context.Context, r Record, err error)

	// DropDead acknowledges a record that was given up if there is no DeadLetter topic.
	// Default: false, it goes to the topic NAME.dead.
	DropDead bool

	// MaxInFlight is how many records of a topic may be read and not finished, at most
	// MaxGaps. Default: 16 for each handler, and at least 256.
	MaxInFlight int

	// Topics are further topics of the same store that Run reads, each as its group of the
	// same name. Run creates a group that does not exist with the default config. The handlers
	// are shared by all topics. Record.Topic tells where a record is from, and In(tx).Ack of
	// the group of the Run acknowledges it.
	Topics []*Topic

	// Retry is where a record goes that was given up, to be tried again later. Others of
	// the same key overtake it then.
	Retry *Retry

	// DeadLetter is a topic of the same store for records that nothing could be done about.
	// Default: the topic NAME.dead.
	DeadLetter *Topic

	// OnAssigned, OnRevoked and OnLost tell which partitions the Run has, as those of
	// JoinOptions do. Each is called for one topic at a time, and not for the Retry topic:
	// Member.Group tells which. OnAssigned is called before a handler has a record of the
	// partitions. OnRevoked is called when their handlers have returned, before the next owner
	// has them, and at the end of Run. OnLost is called if the DrainTimeout was over before.
	// They run beside the handlers of other partitions. Their context has the values of the
	// context of Run. It ends after the DrainTimeout, not with Run. Run waits for them. One
	// that panics is logged.
	OnAssigned, OnRevoked, OnLost func(ctx context.Context, m *Member, partitions []int)
}

// The default of MaxInFlight.
const (
	inFlightEach  = 16
	inFlightLeast = 256
)

// Run joins the group and calls handler for the records of its partitions until ctx ends.
// Then it waits for the handlers under way, leaves and returns nil. Nothing else ends it
// but the store, the deletion of the group and pebblemq.Stop returned by a handler: then Run
// returns the error. If the disk does not confirm an outcome within a second after the end of
// ctx, or of a handler that went on longer, Run returns ErrUnknownOutcome. Records that cannot
// be read end nothing: Run stays before them and goes on with the other partitions (see Poll,
// and Lag.Err).
//
// If handler returns nil, the record is acknowledged as by Member.Ack. When the partition goes
// to another member, unfinished records are delivered again, finished ones are not. A handler
// that returns an error, panics or calls runtime.Goexit has failed. It is called again after
// the Backoff, up to MaxAttempts; each failure is logged. Then the record moves to the Retry
// topic, or else to DeadLetter, in one commit with its acknowledgement. Without a DeadLetter
// that is the topic NAME.dead, which Run creates when it is needed and which keeps records for
// 14 days. Records in the Retry topic are handled only by a Run with that Retry.
//
// With pebblemq.Release the handler has the record again later, uncounted, and those of its
// key wait; with pebblemq.Reject it is a dead letter at once.
//
// A partition that goes to another member is handed over: the new owner begins when the
// handlers of the former one have returned, or its DrainTimeout is over. A record may be
// handled twice all the same, after a crash or that timeout. A handler whose effects are in
// this store acknowledges the record in one transaction with them: see GroupTx.Ack.
func (g *Group) Run(ctx context.Context, handler Handler, o *RunOptions) error {
	return g.run(ctx, handler, nil, o)
}

// RunBatch is Run with several records in each call of the handler. They may be of several
// partitions; those of one key are in their order. Those that it has processed are
// acknowledged in one commit for each topic.
func (g *Group) RunBatch(ctx context.Context, handler BatchHandler, o *RunOptions) error {
	return g.run(ctx, nil, handler, o)
}

func (g *Group) run(ctx context.Context, handler Handler, batch BatchHandler, o *RunOptions) error {
	if err := store.CheckContext(ctx); err != nil {
		return err
	}
	if o == nil {
		o = &RunOptions{}
	}
	full, err := o.check(g)
	if err != nil {
		return err
	}
	work, err := full.worker(g)
	if err != nil {
		return err
	}
	work.Handler, work.Batch, work.Trace = handler, batch, traceWork(g)
	if err := work.Normalize(); err != nil {
		return err
	}
	sources, err := g.sources(ctx, &full, work.DrainTimeout)
	if err == nil {
		stop := listen(ctx, sources)
		err = worker.Run(ctx, work, sources...)
		stop()
	} else {
		err = ended(ctx, err)
	}
	for _, s := range sources {
		if left := ended(ctx, s.(*source).m.Leave(ctx)); left != nil {
			err = errors.Join(err, left)
		}
	}
	return err
}

// ended drops the error of a context that the caller ended, unless the outcome of something is
// unknown.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) && !errors.Is(err, store.ErrUnknownOutcome) {
		return nil
	}
	return err
}

// check refuses what makes no sense for a group.
func (o RunOptions) check(g *Group) (RunOptions, error) {
	if len(o.Name) > maxMemberName {
		return o, g.longName(o.Name)
	}
	if o.MaxInFlight < 0 || o.MaxInFlight > MaxGaps {
		return o, store.Invalid("MaxInFlight %d of %s is not between 1 and %d", o.MaxInFlight, g.named(), MaxGaps)
	}
	for i, t := range o.Topics {
		if t == nil || t.s != g.topic.s || t == g.topic || slices.Contains(o.Topics[:i], t) {
			return o, store.Invalid("Topics[%d] of a Run of %s is nil, of another store, or read already", i, g.named())
		}
	}
	var err error
	if o.Retry, err = o.Retry.check(g); err != nil {
		return o, err
	}
	if o.Retry != nil && slices.Contains(o.Topics, o.Retry.Topic) {
		return o, store.Invalid("Retry.Topic %q is one of the Topics of a Run of %s", o.Retry.Topic.name, g.named())
	}
	if d := o.DeadLetter; d != nil && (d.s != g.topic.s || d == g.topic || slices.Contains(o.Topics, d)) {
		return o, store.Invalid("DeadLetter topic %q is one that the Run of %s reads, or of another store", d.name, g.named())
	}
	return o, nil
}

// worker returns the options that all queues have.
func (o *RunOptions) worker(g *Group) (worker.Options[Record], error) {
	backoff, err := o.Backoff.WithDefaults()
	inFlight := o.MaxInFlight
	if inFlight == 0 {
		inFlight = min(max(inFlightEach*o.Concurrency, inFlightLeast), MaxGaps)
	}
	return worker.Options[Record]{
		Store: g.topic.s, Of: g.named(),
		Concurrency: o.Concurrency, MaxAttempts: o.MaxAttempts, Backoff: backoff.Delay, Timeout: o.Timeout,
		DrainTimeout: o.DrainTimeout, Rate: worker.Rate(o.Rate), Key: o.key(), KeyIsSafe: o.Key == nil, InPlace: true, InFlight: inFlight,
		BatchSize: o.BatchSize, BatchWait: o.BatchWait, Middleware: o.Middleware, OnError: o.OnError, Losing: losing,
	}, err
}

// losing reports that a transaction of a handler was refused because the partition of its
// record is being moved. The context of the handler ends when that is visible.
func losing(r Record, err error) bool {
	var e *FencedError
	if !errors.As(err, &e) {
		return false
	}
	g := r.tenure.claim.g
	return e.Topic == g.topic.name && e.Group == g.name && e.Partition == r.Partition && e.Epoch == r.tenure.epoch
}

// key returns the Key function. Records of a Retry topic are in no order with the others.
func (o *RunOptions) key() func(Record) string {
	switch {
	case o.Key != nil:
		return o.Key
	case o.Concurrency > 1:
		return func(r Record) string {
			if r.Key == nil {
				return ""
			}
			return "k" + string(r.Key) // an empty key is one too
		}
	}
	return func(r Record) string { return r.tenure.lane }
}
