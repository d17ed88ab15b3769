package idempotency

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"

	"github.com/pebblemq/pebblemq/internal/store"
)

// claim is the right of a handler to run under its key.
//
// A key is in progress exactly while its claim is in the namespace's map. The record on disk
// only says that there was a claim. The usual way is to store the end of the lease and to
// extend it while the handler runs. A wall clock that jumps would then free the key of a live
// handler. But the handler runs in this process, so a claim lasts as long as its handler. Only
// a claim that was found at opening is judged by time: it counts for Config.Lease.
type claim struct {
	key         []byte
	token       uint64
	fingerprint []byte
	interrupted bool
	outer       *claim                                  // the handler that made the call runs under it
	lost        atomic.Pointer[context.CancelCauseFunc] // ends the handler's context

	due    int64   // of its expiry entry; under the baton
	stored *record // once completed; under the baton

	committed atomic.Pointer[record] // by a transaction of the handler, once that is visible

	abandoned atomic.Bool // it could not be released, and counts for nothing
	end       sync.Once
	done      chan struct{} // closed when the outcome is visible
}

// settle lets those go on who wait for the claim to end.
func (c *claim) settle() { c.end.Do(func() { close(c.done) }) }

// lose is settle for a claim that is taken from its runner. A watcher checks done after setting
// lost, so that one of the two sees the other.
func (c *claim) lose() {
	c.settle()
	if cancel := c.lost.Load(); cancel != nil {
		(*cancel)(ErrLeaseLost)
	}
}

// claimContext is the key under which a handler's context has its claim.
type claimContext struct{}

func holder(ctx context.Context) *claim {
	c, _ := ctx.Value(claimContext{}).(*claim)
	return c
}

// holds reports whether ctx comes from a handler that runs under c, or under a
// claim that was made inside of it.
func holds(ctx context.Context, c *claim) bool {
	for held := holder(ctx); held != nil; held = held.outer {
		if held == c {
			return true
		}
	}
	return false
}

// current returns the claim in progress under a key, or nil.
func (n *keys) current(key []byte) *claim {
	c := n.claims[string(key)]
	if c != nil && c.abandoned.Load() {
		delete(n.claims, string(key))
		return nil
	}
	return c
}

// claimOp looks a key up and claims it if it is free.
type claimOp struct {
	n           *keys
	key         []byte
	fingerprint []byte
	outer       *claim
	full        error // instead of claiming, as the disk is full

	claim *claim // ours, if the key was free
	busy  *claim // another's
	found record // the outcome, otherwise
}

func (o *claimOp) Run(t *store.Turn) error {
	n := o.n
	if err := n.alive(); err != nil {
		return err
	}
	if c := n.current(o.key); c != nil {
		return o.wait(c, c.fingerprint)
	}
	r, found, err := n.read(t, o.key)
	switch {
	case err != nil:
		return err
	case found && r.live(t.Now()):
		n.settled(t)
		n.cache.add(o.key, n.cache.moment(o.key), r)
		o.found = r
		return differ(r.fingerprint, o.fingerprint)
	case r.state == claimed && n.leased(r):
		return o.wait(n.dead, r.fingerprint)
	case o.full != nil:
		return o.full
	}
	o.grant(t, r)
	return nil
}

func (o *claimOp) wait(c *claim, fingerprint []byte) error {
	if err := differ(fingerprint, o.fingerprint); err != nil {
		return err
	}
	o.busy = c
	return errBusy
}

func differ(a, b []byte) error {
	if !bytes.Equal(a, b) {
		return ErrMismatch
	}
	return nil
}

// grant claims the key in the place of r, which counts for nothing any more.
func (o *claimOp) grant(t *store.Turn, r record) {
	n := o.n
	n.meta.token++
	if r.state == completed || r.state == failed {
		n.meta.records--
	}
	o.claim = &claim{
		key: o.key, token: n.meta.token, fingerprint: o.fingerprint, outer: o.outer,
		interrupted: r.state == claimed, done: make(chan struct{}),
	}
	n.claims[string(o.key)] = o.claim
	n.index(t, o.claim)
}

func (o *claimOp) Undo()               {}
func (o *claimOp) Visible(*store.Turn) {}

// peekOp is a claimOp on a full disk: it answers from stored results.
type peekOp struct{ *claimOp }

// Frees lets it in.
func (peekOp) Frees() {}

// index writes the record of a claim and lets it be reclaimed if the process
// dies and the key is not used again.
func (n *keys) index(t *store.Turn, c *claim) {
	c.due = n.dueFor(t.Now().Add(n.config().Expiry).UnixNano() + n.grain())
	r := record{state: claimed, token: c.token, due: c.due, fingerprint: c.fingerprint}
	n.set(t, c.key, r.encode())
	n.addEntry(t, c.due, c.key)
}

// leased reports whether a claim on disk that has no claim in memory is still
// under its lease.
func (n *keys) leased(r record) bool { return n.dead != nil && r.token <= n.dead.token }

// hold keeps the keys of the claims that the last process left for their lease.
func (n *keys) hold(t *store.Turn) {
	if n.config().Lease == 0 || n.meta.token == 0 {
		return
	}
	dead := &claim{token: n.meta.token, done: make(chan struct{})}
	n.dead = dead
	t.Arm(store.NewTimer(func(*store.Turn) {
		n.dead = nil
		dead.settle()
	}), t.Now().Add(n.config().Lease))
}

// release gives a claim up, so that the next call runs. If keep is set its
// record stays, for the next one to know that it may have had its effect.
func (k *Namespace) release(c *claim, keep bool) {
	if c == nil {
		return
	}
	op := &releaseOp{n: k.n, claim: c, keep: keep}
	err := k.s.Go(context.Background(), op, store.NoSync, func(error) {})
	if err != nil { // the store is down, or its disk full
		c.abandoned.Store(true)
		c.settle()
		k.s.Log().Warn("release an idempotency claim", "namespace", k.n.name, "error", err)
	}
}

// releaseOp frees a key whose handler came to nothing.
type releaseOp struct {
	n     *keys
	claim *claim
	keep  bool
}

// Prompt lets it in always, so that the key of a caller that leaves is free.
func (o *releaseOp) Prompt() {}

func (o *releaseOp) Run(t *store.Turn) error {
	if key := o.claim.key; o.n.claims[string(key)] == o.claim {
		delete(o.n.claims, string(key))
		if !o.keep {
			o.n.unset(t, key)
			o.n.note(key)
		}
	}
	return nil
}

func (o *releaseOp) Undo()               {}
func (o *releaseOp) Visible(*store.Turn) { o.claim.settle() }
