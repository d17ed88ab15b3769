package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
)

var errHandler = errors.New("a handler that fails")

func (p *keysPart) do(c *client, a args) {
	s, k := p.at(a)
	if s == nil {
		return
	}
	p.runs++
	if a.has("deaf") {
		c.within = 0 // its handler takes as long as it takes
	}
	run := &run{p: p, c: c, s: s, k: k, a: a, name: fmt.Sprintf("%s/r%d", k.name, p.runs)}
	run.called, run.before, run.asked, run.clear = wall(), s.token, k.forgets, k.forgetting == 0
	began := wall()
	k.now(began)
	end := k.use()
	forgets := k.forgets
	var r idempotency.Result
	o := callWith(c, s.n, func(ctx context.Context, namespace *idempotency.Namespace) (err error) {
		done := make(chan struct{})
		go func() { // runtime.Goexit ends the goroutine of the caller
			defer close(done)
			defer func() {
				if v := recover(); v != nil && v != any(run) {
					panic(v)
				}
			}()
			err = errEnded
			r, err = namespace.Do(ctx, []byte(k.name), run.handle, &idempotency.DoOptions{NoWait: a.has("nowait")})
		}()
		<-done
		return err
	})
	quiet := end()
	run.end()
	result := outcomeOf(r, o.err)
	switch {
	case !run.ran && o.err != nil, c.closing: // it may have been about to begin, or its end is not stored
		k.cut = true
	case run.ran && !o.other: // that it has ended may be lost
		c.lose(func() { k.cut = true })
	}
	switch {
	case run.unsure:
		k.cut = true
		k.mayComplete(s, o, run.result())
		c.expects(o, "do "+k.name, errHandler, idempotency.ErrLeaseLost, pebblemq.ErrUnknownOutcome, pebblemq.ErrDiskFull)
	case o.other:
		if run.ran {
			k.cut = true
			k.mayComplete(s, o, run.result())
		}
	case run.ran && errors.Is(o.err, errEnded) && run.unwinds():
	case run.ran && errors.Is(o.err, idempotency.ErrNotStored):
		k.cut = true
		k.mayComplete(s, o, run.result())
		c.expects(o, "do "+k.name, pebblemq.ErrUnknownOutcome, pebblemq.ErrDiskFull)
	case run.ran && errors.Is(o.err, errHandler) && a["end"] == "error":
	case (forgets != k.forgets || !run.clear) && errors.Is(o.err, idempotency.ErrLeaseLost):
	case run.ran && (o.err == nil || a["end"] == "final" && strings.HasPrefix(result, finalPrefix)):
		if result != run.result() || r.Replayed {
			c.fail("do %s of %s ran its handler and returned %q, not %q", k.name, s.name, result, run.result())
		}
		if run.forgets == k.forgets {
			k.completed(c, s, o, result, c.syncs(true))
		} else { // a forget has come in between, or was refused
			k.mayComplete(s, o, result)
		}
	case !run.ran && (o.err == nil || strings.HasPrefix(result, finalPrefix)):
		if o.err == nil && !r.Replayed {
			c.fail("do %s of %s did not run its handler and says it did", k.name, s.name)
		}
		k.judge(c, s, result, quiet)
	case errors.Is(o.err, idempotency.ErrInProgress) && a.has("nowait") && (!quiet || k.cut && !s.leaseOver(o.from)):
	default:
		c.expects(o, "do "+k.name)
	}
}

var errEnded = errors.New("the goroutine of the caller has ended")

// run is one call of Do, whose handler may run.
type run struct {
	p    *keysPart
	c    *client
	s    *space
	k    *keyModel
	a    args
	name string
	ran  bool
	over bool
	born int
	// unsure says that the transaction of the handler may have stored an outcome or not.
	unsure bool
	// forgets is that of the key when the handler began.
	forgets int

	called time.Time // when the call was made
	before uint64    // the highest token then
	asked  int       // the forgets of the key then
	clear  bool      // none was under way
}

func (r *run) result() string {
	if r.a["end"] == "final" {
		return finalPrefix + r.name
	}
	return r.name
}

func (r *run) unwinds() bool { return r.a["end"] == "panic" || r.a["end"] == "goexit" }

// end notes that the handler runs no more.
func (r *run) end() {
	if r.ran && !r.over && r.born == r.c.life {
		r.k.running--
	}
	r.over = true
}

func (r *run) handle(ctx context.Context, claim idempotency.Claim) ([]byte, error) {
	r.begin(claim)
	if span := r.a.span("span"); r.a.has("deaf") {
		time.Sleep(span)
	} else if span > 0 {
		select {
		case <-time.After(span):
		case <-ctx.Done():
		}
	}
	if r.a.has("inside") {
		return r.completeInside(ctx, claim)
	}
	r.c.mu.Lock()
	r.end()
	r.c.mu.Unlock()
	switch r.a["end"] {
	case "error":
		return nil, errHandler
	case "final":
		return nil, idempotency.Final(errors.New(r.name))
	case "panic":
		panic(r)
	case "goexit":
		runtime.Goexit()
	}
	return []byte(r.name), nil
}

// completeInside stores the outcome in a transaction of the handler. What the handler returns after that
// does not count.
func (r *run) completeInside(ctx context.Context, claim idempotency.Claim) ([]byte, error) {
	r.c.mu.Lock()
	durability := r.c.sync
	r.c.mu.Unlock()
	err := r.c.db.Update(pebblemq.WithDurability(ctx, durability), func(tx *pebblemq.Tx) error {
		return claim.In(tx).Complete([]byte(r.name))
	})
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.end()
	if r.unsure = err != nil; r.unsure {
		return nil, errHandler
	}
	if is, ok := claim.Completed(); durability != pebblemq.NoSync && (!ok || string(is) != r.name) {
		r.c.fail("the claim of %s is completed with %q, %v, not with %q", r.k.name, is, ok, r.name)
	}
	return []byte("what does not count"), nil
}

// begin compares the claim with what is known of the key.
func (r *run) begin(claim idempotency.Claim) {
	c, k, s := r.c, r.k, r.s
	c.mu.Lock()
	defer c.mu.Unlock()
	r.ran, r.born, r.forgets = true, c.born, k.forgets
	if c.born != c.life {
		k.cut = true
		return
	}
	k.now(wall())
	surely := r.clear && r.asked == k.forgets
	switch {
	case k.running > 0 && !k.forgotten, surely && k.sole != nil && !k.sole.over && k.sole.asked == r.asked:
		c.fail("two handlers of %s in %s run at the same time", k.name, s.name)
	case k.fate == here && !k.forgotten:
		c.fail("a handler of %s in %s runs, and the key has the outcome %q", k.name, s.name, k.results)
	case claim.Token <= r.before:
		c.fail("a handler of %s in %s has the token %d, after %d", k.name, s.name, claim.Token, r.before)
	case surely && k.interrupted(s) && !claim.Interrupted:
		c.fail("a handler of %s in %s is not told of the one that a crash has ended", k.name, s.name)
	case surely && k.interrupted(s) && latest(wall()).Before(s.opened.first.Add(s.lease)):
		c.fail("a handler of %s in %s runs within the lease of the one that a crash has ended", k.name, s.name)
	case claim.Interrupted && !k.cut:
		c.fail("a handler of %s in %s is told of an interrupted one, and there was none", k.name, s.name)
	}
	k.running++
	k.died = time.Time{}
	s.token = max(s.token, claim.Token)
	k.mayBeGone = true
	if surely {
		k.sole, k.fate, k.results = r, gone, nil
	}
}

// interrupted reports that a crash has ended the latest handler, which is remembered.
func (k *keyModel) interrupted(s *space) bool {
	return !k.died.IsZero() && latest(wall()).Before(k.died.Add(s.shortest()))
}
