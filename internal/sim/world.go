package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/pebblemq/pebblemq"
)

// verb is a kind of step.
type verb struct {
	part   string // its name
	phrase phrase
	weight int // how often it is drawn, beside the others
	// draw chooses values that make sense in the world as it is; nil if none do.
	draw func() args
	// do makes it happen. Values that make no sense any more, because other steps are
	// missing, are passed over. The world is held.
	do func(*client, args)
	// alone says that the scheduler does it itself, without holding the world.
	alone bool
}

// part is the verbs and oracles of one package.
type part interface {
	verbs() []*verb
	// opened looks up the objects again, because a new life has begun.
	opened(*client)
	// check compares what can be seen without changing anything.
	check(*client)
	// settle takes all that is left and accounts for it.
	settle(*client)
}

// world is a store on a disk, and all that is known of it.
type world struct {
	mu      sync.Mutex
	seed    uint64
	rng     *rand.Rand
	parts   []part
	verbs   []*verb
	begin   time.Time
	disk    *disk
	db      *pebblemq.DB
	life    int
	clock   uint64 // rises with each event: it orders what happens at one moment
	ctx     context.Context
	trace   []step
	busy    int  // clients under way
	unclean bool // the life began after a crash
	crashes uint64
	closing bool // the life ends in good order
	fault   string
	kind    string   // of the fault: its text without values
	careful bool     // look after each step
	without []string // the parts whose verbs are not drawn
	talks   bool     // print what happens
	story   []string // the steps, each with what its calls returned

	unsynced []loss
	progress *atomic.Uint64
}

// loss is what a crash takes back, as long as it is not durable.
type loss struct {
	at   uint64 // the clock when it was acknowledged
	time time.Time
	undo func()
}

func newWorld(seed uint64) *world {
	setBack.Store(0)
	shown.Store(0)
	w := &world{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 0)),
		begin: time.Now(), progress: new(atomic.Uint64),
	}
	w.disk = newDisk(w)
	b := newBank(w)
	w.parts = []part{w.disk, b, newKeysPart(w), newDealsPart(w, b), newRemindersPart(w), newVisibilityPart(w, b), newLogPart(w, b), newWorkqueuePart(w), newJobsPart(w), newCallsPart(w), newOrdersPart(w), newSubscriptionsPart(w), newFanoutPart(w), newRefusalsPart(w), newConnectionsPart(w), newAbsencesPart(w), newBlueprintsPart(w), newPapersPart(w), &descriptionPart{w}}
	for _, p := range w.parts {
		for _, v := range p.verbs() {
			v.part = partName(p)
			w.verbs = append(w.verbs, v)
		}
	}
	return w
}

// partName is the type of a part without what all have in common: "keys" of *keysPart.
func partName(p part) string {
	return strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%T", p), "*main."), "Part")
}

// form makes a verb of a text, to which it adds the clauses that every call of the library has.
func form(text string, weight int, draw func() args, do func(*client, args)) *verb {
	return &verb{phrase: parsePhrase(text + " [within {within}] [durability {durability}] [in {in}]"), weight: weight, draw: draw, do: do}
}

// event is a number that rises with everything that happens.
func (w *world) event() uint64 {
	w.clock++
	return w.clock
}

// likes reports that the seed has chosen a feature.
func (w *world) likes(feature string) bool { return w.hash(feature)%2 == 0 }

// hash is a number that the seed and a text determine, whatever else happens.
func (w *world) hash(text string) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d/%s", w.seed, text)
	x := h.Sum64() // the low bits of fnv are poor
	x ^= x >> 32
	return x * 0x9e3779b97f4a7c15 >> 20
}

// chance is true once in n times.
func (w *world) chance(n int) bool { return w.rng.IntN(n) == 0 }

// upTo is a number from 1 to n, small ones more often.
func (w *world) upTo(n int) int { return 1 + w.rng.IntN(1+w.rng.IntN(n)) }

// oneOf draws an element.
func oneOf[T any](w *world, list ...T) T { return list[w.rng.IntN(len(list))] }

// fail notes the first fault that is found.
func (w *world) fail(format string, values ...any) {
	if w.fault == "" {
		w.kind = format
		w.fault = fmt.Sprintf("%s (life %d): ", time.Since(w.begin), w.life) + fmt.Sprintf(format, values...)
	}
}

// failFree is fail for those who do not hold the world.
func (w *world) failFree(format string, values ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail(format, values...)
}

// tell adds a line to the story of the world: a step, or what a call returned.
func (w *world) tell(format string, values ...any) {
	line := fmt.Sprintf(format, values...)
	if w.careful {
		w.story = append(w.story, line)
	}
	if w.talks {
		fmt.Printf("%12s life %d  %s\n", time.Since(w.begin), w.life, line)
	}
}

// tellCall is tell for what a call returned.
func (w *world) tellCall(format string, values ...any) { w.tell("\t# "+format, values...) }

// lose notes what a crash takes back unless something is synced before. The call that
// is acknowledged must be of the life that lasts.
func (w *world) lose(undo func()) {
	w.unsynced = append(w.unsynced, loss{w.event(), wall(), undo})
}

// lasting is how long the newest NoSync changes need on a disk that is well: a hundred times
// what the documentation says.
const lasting = time.Second

// synced notes that all that was acknowledged before an event is durable.
func (w *world) synced(before uint64) {
	n := 0
	for _, l := range w.unsynced {
		if l.at >= before {
			w.unsynced[n] = l
			n++
		}
	}
	w.unsynced = w.unsynced[:n]
}

// age drops what has become durable by waiting on a disk that is well.
func (w *world) age() {
	if !w.disk.well() {
		return
	}
	for n, l := range w.unsynced {
		if wall().Sub(later(l.time, w.disk.wellSince)) < lasting {
			w.unsynced = w.unsynced[n:]
			return
		}
	}
	w.unsynced = nil
}

// crashed takes back what was not durable.
func (w *world) crashed() {
	w.crashes++
	for i := len(w.unsynced) - 1; i >= 0; i-- {
		w.unsynced[i].undo()
	}
	w.unsynced = nil
}

// client is who does a step.
type client struct {
	*world
	born   int          // the life in which it began
	db     *pebblemq.DB // of that life
	ctx    context.Context
	within time.Duration // of the context; 0 has no end
	sync   pebblemq.Durability

	allowed []error // of every call, because something is wrong with the disk
}

var durabilities = map[string]pebblemq.Durability{"": pebblemq.Default, "sync": pebblemq.Sync, "nosync": pebblemq.NoSync}

// drawCommon adds the clauses that every call has.
func (w *world) drawCommon(a args) {
	if w.likes("contexts") && w.chance(20) {
		a["within"] = oneOf(w, "1ns", "1ms", "1s", "1m")
	}
	if w.likes("moments") && w.chance(20) {
		a["in"] = oneOf(w, "1ms", "1s", "2s", "5s", "10s", "30s")
	}
	if w.likes("durabilities") && w.chance(4) {
		a["durability"] = oneOf(w, "sync", "nosync")
	}
}

// outcome is how a call of the library ended.
type outcome struct {
	err      error
	began    uint64    // the clock
	from, to time.Time // when it was made
	other    bool      // the life in which it was made is over
	among    bool      // others were under way when it began or ended
	crashed  bool      // between its begin and its end: what was known when it began may be gone
}

// done reports that it has happened; refused, that nothing has. Neither is certain of others.
func (o outcome) done() bool    { return o.err == nil && !o.other }
func (o outcome) refused() bool { return o.err != nil && !o.unclear() }

func (o outcome) unclear() bool {
	if errors.Is(o.err, pebblemq.ErrClosed) { // it had no effect, whatever became of the store
		return o.crashed
	}
	return o.other || errors.Is(o.err, pebblemq.ErrUnknownOutcome)
}

// mayMiss reports that the call need not have seen what was accepted at some time before: it may have
// waited for the disk, behind a change that is synced.
func (o outcome) mayMiss(d *disk, accepted time.Time) bool {
	return o.among && (!d.well() || o.from.Sub(later(accepted, d.wellSince)) < lasting)
}

// grace is how long a call may go on after its context has ended: twice what is documented.
const grace = 2 * time.Second

// call lets the world go, makes a call of the library and holds the world again.
func (c *client) call(f func(ctx context.Context) error) (o outcome) {
	if c.born != c.life { // it has the handles of a store that is gone
		return outcome{err: pebblemq.ErrClosed, other: true, from: wall(), to: wall()}
	}
	o.began, o.from, o.among = c.event(), wall(), c.busy > 1
	crashes := c.crashes
	ctx := pebblemq.WithDurability(c.ctx, c.sync)
	if c.within > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, c.within)
		defer stop()
	}
	c.mu.Unlock()
	o.err = f(ctx)
	c.mu.Lock()
	c.event()
	o.to, o.other, o.among = wall(), c.born != c.life, o.among || c.busy > 1
	o.crashed = c.crashes != crashes
	if took := o.to.Sub(o.from); c.within > 0 && took > c.within+grace {
		c.fail("a call whose context ended after %s took %s", c.within, took)
	}
	return o
}

// callWith is call for a call that uses a handle which a new life replaces. The world is not held
// while f runs, so f must not look the handle up.
func callWith[H any](c *client, handle H, f func(ctx context.Context, handle H) error) outcome {
	return c.call(func(ctx context.Context) error { return f(ctx, handle) })
}

// expects complains about an error that is none of those that every call may return in the state
// of the world, nor one of these.
func (c *client) expects(o outcome, what string, allowed ...error) {
	if o.err == nil || o.other {
		return
	}
	for _, e := range slices.Concat(allowed, c.allowed) {
		if errors.Is(o.err, e) {
			return
		}
	}
	switch {
	case errors.Is(o.err, context.DeadlineExceeded) && c.within > 0:
	case errors.Is(o.err, context.Canceled) && c.world.ctx.Err() != nil:
	case errors.Is(o.err, pebblemq.ErrClosed) && c.closing:
	case errors.Is(o.err, pebblemq.ErrDiskFull) && c.disk.wasFull(o.from):
	case errors.Is(o.err, pebblemq.ErrUnknownOutcome) && (c.within > 0 || c.closing || c.disk.wasFull(o.from)):
	default:
		c.fail("%s: unexpected error: %v", what, o.err)
	}
}

// start does a step on a goroutine of its own.
func (w *world) start(s step) {
	w.progress.Add(1)
	if s.verb.alone {
		s.verb.do(w.client(s.args), s.args)
		return
	}
	w.mu.Lock() // for the client, so that steps begin in their order
	w.busy++
	go func() {
		defer w.mu.Unlock()
		defer func() { w.busy-- }()
		c := w.client(s.args)
		if delay := s.args.span("in"); delay > 0 { // to meet what is due at that moment
			w.mu.Unlock()
			time.Sleep(delay)
			w.mu.Lock()
		}
		if c.born == w.life {
			s.verb.do(c, s.args)
		}
	}()
}

func (w *world) client(a args) *client {
	return &client{world: w, born: w.life, db: w.db, ctx: w.ctx, within: a.span("within"), sync: durabilities[a["durability"]]}
}

// failed returns the fault that was found, if any.
func (w *world) failed() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fault
}

// maxBusy is how many steps may be under way when another one begins.
const maxBusy = 12

// play lets a world live: the steps of next, until it has no more or a fault is found.
func (w *world) play(next func() (step, bool)) {
	var stop context.CancelFunc
	w.ctx, stop = context.WithCancel(context.Background())
	w.disk.open()
	for w.failed() == "" {
		s, ok := next()
		if !ok {
			break
		}
		w.trace = append(w.trace, s)
		if !s.meanwhile {
			w.rest()
		}
		w.tellStep(s)
		w.start(s)
	}
	w.rest()
	if w.failed() == "" {
		w.settle()
	}
	stop()
	w.disk.end()
	w.awaitClients() // a bubble that ends before them panics, which would hide the fault
}

func (w *world) tellStep(s step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tell("%s", s)
}

// rest lets everything go on until it waits for time, and compares what can be seen.
func (w *world) rest() {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.age()
	if w.fault == "" && w.timeToLook() {
		c := w.client(nil)
		if !w.disk.well() { // the scheduler, which looks, is the one who can heal it
			c.within = time.Second
		}
		for _, p := range w.parts {
			p.check(c)
		}
	}
}

// timeToLook is rare in a swarm, because looking at everything takes longer than a step. In a
// scenario it is after each step: one that goes must not change when the fault is seen.
func (w *world) timeToLook() bool {
	return w.db != nil && w.busy == 0 && (w.careful || len(w.trace)%8 == 0)
}

// settle ends all faults, waits until the clock shows what it has shown before, and accounts for everything.
func (w *world) settle() {
	w.disk.heal()
	w.awaitClients() // what waits for messages has no end of its own
	time.Sleep(latest(wall()).Sub(wall()))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy > 0 {
		w.fail("%d steps have not ended in 100 hours on a disk that is well", w.busy)
	}
	for _, p := range w.parts {
		if w.fault == "" {
			p.settle(w.client(nil))
		}
	}
}

// awaitClients waits until no step is under way, for 100 hours at most.
func (w *world) awaitClients() {
	for range 100 {
		if w.idle() {
			return
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		w.progress.Add(1) // an hour in which many timers are due takes long
	}
}

func (w *world) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.busy == 0
}

// drawStep draws the next step of a swarm.
func (w *world) drawStep() step {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		v := w.drawVerb()
		a := v.draw()
		if a == nil {
			continue
		}
		if len(v.phrase.may) > 0 && !v.alone {
			w.drawCommon(a)
		}
		return step{verb: v, args: a, meanwhile: w.likes("meanwhile") && !v.alone && w.busy < maxBusy && w.chance(3)}
	}
}

// drawVerb draws by weight. Each seed has verbs that it does not use, and some that it uses
// often.
func (w *world) drawVerb() *verb {
	total := 0
	weights := make([]int, len(w.verbs))
	for i, v := range w.verbs {
		weights[i] = v.weight * w.taste(v)
		total += weights[i]
	}
	n := w.rng.IntN(total)
	for i, weight := range weights {
		if n -= weight; n < 0 {
			return w.verbs[i]
		}
	}
	panic("weights do not add up")
}

// taste is how much a seed likes a verb: not at all, a little or much.
func (w *world) taste(v *verb) int {
	if slices.Contains(w.without, v.part) {
		return 0
	}
	return []int{0, 1, 1, 2, 8}[w.hash(strings.Join(v.phrase.must, " "))%5]
}
