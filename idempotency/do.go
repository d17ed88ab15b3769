package idempotency

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Result is the outcome of a key.
type Result struct {
	// Value is what the handler returned; nil and empty are the same.
	Value []byte
	// Replayed says that the handler was not run: Value is from an earlier call.
	Replayed bool
	// Token is the fencing token under which the handler ran. It rises with
	// every run in the namespace, also over crashes; 0 in transactions.
	Token uint64
}

// Claim is what a running handler holds.
type Claim struct {
	Key   []byte
	Token uint64 // pass it downstream, to have late writers turned away there
}

// Handler is run by Do. What it returns is stored and replayed.
type Handler func(ctx context.Context, c Claim) ([]byte, error)

// DoOptions are choices of one call. Nil is the default.
type DoOptions struct {
	// Fingerprint identifies the payload, as a hash of it does; at most 255
	// bytes. The same key with another one is ErrMismatch.
	Fingerprint []byte
	// NoWait returns ErrInProgress when another call is running the handler,
	// instead of waiting for its result.
	NoWait bool
}

// Do runs the handler unless the key has an outcome already, and returns that
// outcome. Of several calls at once one runs the handler and the others wait
// for its result.
//
// It is for effects outside the store, such as a call to a payment service: the
// claim is on disk before the handler runs, and the result before Do returns.
// If the process dies in between, the claim dies with it, and the next call
// runs the handler again: pass the key or the token on, so that the other side
// can tell. For effects inside the store, Once is exact. The claim is synced
// whatever the durability of ctx, because a token must not be given out twice;
// the result is synced too, unless ctx says NoSync.
//
// The handler may call Do with other keys and the context that it was given.
// With its own key it would wait for itself: that is ErrInProgress.
//
// An error of the handler frees the key and is returned as it is, and so does
// a panic, which goes on up; an error marked with Final is an outcome. If the
// result cannot be stored, the error is ErrNotStored: the effect may have
// happened.
func (k *Keys) Do(ctx context.Context, key []byte, h Handler, o *DoOptions) (Result, error) {
	if o == nil {
		o = &DoOptions{}
	}
	if err := errors.Join(checkKey(key), checkFingerprint(o.Fingerprint), checkHandler(h == nil)); err != nil {
		return Result{}, err
	}
	key = bytes.Clone(key)
	for {
		op := &claimOp{n: k.n, key: key, fingerprint: bytes.Clone(o.Fingerprint)}
		err := k.s.Do(ctx, op, store.Sync)
		switch {
		case errors.Is(err, errBusy):
			if err := k.await(ctx, op.busy, o.NoWait); err != nil {
				return Result{}, err
			}
		case err != nil:
			k.release(op)
			return Result{}, err
		case op.claim == nil:
			return op.found.outcome()
		default:
			return k.run(ctx, op, h)
		}
	}
}

// errBusy is how a claimOp says that the key has a runner.
var errBusy = errors.New("busy")

// await waits until the runner of a key is through.
func (k *Keys) await(ctx context.Context, c *claim, noWait bool) error {
	if noWait || holds(ctx, c) {
		return ErrInProgress
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-k.s.Down():
		return k.s.Cause()
	}
}

// holding is a context's list of the claims of the handlers that it came through.
type holding struct {
	claim *claim
	outer *holding
}

type holdingKey struct{}

func holds(ctx context.Context, c *claim) bool {
	h, _ := ctx.Value(holdingKey{}).(*holding)
	for ; h != nil; h = h.outer {
		if h.claim == c {
			return true
		}
	}
	return false
}

func withHolding(ctx context.Context, c *claim) context.Context {
	outer, _ := ctx.Value(holdingKey{}).(*holding)
	return context.WithValue(ctx, holdingKey{}, &holding{c, outer})
}

// run runs the handler under a claim and stores what comes of it.
func (k *Keys) run(ctx context.Context, op *claimOp, h Handler) (Result, error) {
	settled := false
	defer func() {
		if !settled {
			k.release(op) // the handler panicked, or ended its goroutine
		}
	}()
	value, err := h(withHolding(ctx, op.claim), Claim{Key: bytes.Clone(op.key), Token: op.claim.token})
	settled = true
	var final *FinalError
	if err != nil && !errors.As(err, &final) {
		k.release(op)
		return Result{}, err
	}
	done := &completeOp{n: k.n, key: op.key, claim: op.claim, state: completed, result: value}
	if final != nil {
		done.state, done.result = failed, []byte(final.Message)
	}
	// The effect has happened: the caller's cancellation must not keep its
	// result from being stored.
	if storeErr := k.complete(context.WithoutCancel(ctx), done); storeErr != nil {
		return Result{}, storeErr
	}
	return Result{Value: value, Token: op.claim.token}, err
}

func (k *Keys) complete(ctx context.Context, op *completeOp) error {
	err := k.n.checkResult(op.result)
	if err == nil {
		err = k.s.Do(ctx, op, store.Sync)
	}
	switch {
	case err == nil || errors.Is(err, ErrLeaseLost):
		return err
	default:
		k.release(&claimOp{n: k.n, key: op.key, claim: op.claim})
		return fmt.Errorf("%w: %w", ErrNotStored, err)
	}
}

func (n *namespace) checkResult(result []byte) error {
	if len(result) > n.config.MaxResultBytes {
		return store.TooLarge("result in bytes", int64(len(result)), int64(n.config.MaxResultBytes))
	}
	return nil
}

// release gives a claim up, so that the next call runs.
func (k *Keys) release(op *claimOp) {
	if op.claim == nil {
		return
	}
	err := k.s.Go(context.Background(), &releaseOp{n: k.n, key: op.key, claim: op.claim}, store.NoSync, func(error) {})
	if err != nil {
		k.s.Log().Warn("release an idempotency claim; it ends with the process", "namespace", k.n.name, "error", err)
	}
}

// outcome turns a stored record into what Do returns.
func (r record) outcome() (Result, error) {
	res := Result{Value: r.result, Replayed: true, Token: r.token}
	if r.state == failed {
		res.Value = nil
		return res, &FinalError{Message: string(r.result)}
	}
	return res, nil
}

// claimOp looks a key up and claims it if it is free.
type claimOp struct {
	n           *namespace
	key         []byte
	fingerprint []byte

	claim *claim // ours, if the key was free
	busy  *claim // another's
	found record // the outcome, otherwise
}

func (o *claimOp) Run(t *store.Turn) error {
	n := o.n
	if c := n.claims[string(o.key)]; c != nil {
		if !bytes.Equal(c.fingerprint, o.fingerprint) {
			return ErrMismatch
		}
		o.busy = c
		return errBusy
	}
	r, found, err := n.read(t, o.key)
	if err != nil {
		return err
	}
	if found && r.live(t.Now()) {
		if !bytes.Equal(r.fingerprint, o.fingerprint) {
			return ErrMismatch
		}
		o.found = r
		return nil
	}
	n.meta.token++
	if r.state == completed || r.state == failed {
		n.meta.records--
	}
	o.claim = &claim{token: n.meta.token, fingerprint: o.fingerprint, done: make(chan struct{})}
	n.claims[string(o.key)] = o.claim
	mine := record{state: claimed, token: o.claim.token, fingerprint: o.fingerprint}
	t.Set(recordKey(n.id, o.key), mine.encode())
	t.Touch(n)
	t.ForceSync()
	return nil
}

func (o *claimOp) Undo()               {}
func (o *claimOp) Visible(*store.Turn) {}

// completeOp stores the outcome of a key that is claimed.
type completeOp struct {
	n      *namespace
	key    []byte
	claim  *claim
	state  state
	result []byte
}

func (o *completeOp) Run(t *store.Turn) error {
	n := o.n
	if n.claims[string(o.key)] != o.claim {
		return ErrLeaseLost
	}
	n.write(t, o.key, record{
		state: o.state, token: o.claim.token, expiry: t.Now().Add(n.config.Expiry).UnixNano(),
		fingerprint: o.claim.fingerprint, result: o.result,
	}, record{})
	delete(n.claims, string(o.key))
	return nil
}

func (o *completeOp) Undo() {}

func (o *completeOp) Visible(t *store.Turn) {
	close(o.claim.done)
	o.n.arm(t)
}

// releaseOp frees a key whose handler came to nothing.
type releaseOp struct {
	n     *namespace
	key   []byte
	claim *claim
}

// Frees lets it in on a disk that is nearly full.
func (o *releaseOp) Frees() {}

func (o *releaseOp) Run(t *store.Turn) error {
	if o.n.claims[string(o.key)] == o.claim {
		delete(o.n.claims, string(o.key))
		t.Delete(recordKey(o.n.id, o.key))
	}
	return nil
}

func (o *releaseOp) Undo() {}

func (o *releaseOp) Visible(*store.Turn) {
	select {
	case <-o.claim.done: // it was forgotten, or stored after all
	default:
		close(o.claim.done)
	}
}
