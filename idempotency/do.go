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

// Claim is what a running handler holds. It is valid until the handler returns,
// and safe for concurrent use.
type Claim struct {
	Key   []byte
	Token uint64 // pass it downstream, to have late writers turned away there

	// Interrupted says that an earlier run under this key ended without an outcome: its process
	// died, or its result could not be stored. Its effect may have happened; ask the other side
	// before causing it again. It is remembered for Config.Expiry from the beginning of that
	// run.
	Interrupted bool

	k *Namespace
	c *claim
}

// Handler is run by Do. Its result is stored and replayed.
type Handler func(ctx context.Context, c Claim) ([]byte, error)

// DoOptions are choices of one call. Nil is the default.
type DoOptions struct {
	// Fingerprint identifies the payload, as a hash of it does; at most 255
	// bytes. The same key with another one, or with none, is ErrMismatch.
	Fingerprint []byte
	// NoWait returns ErrInProgress when another call is running the handler,
	// instead of waiting for its result.
	NoWait bool
}

// Do runs the handler unless the key has an outcome already, and returns that
// outcome. Of several calls at once one runs the handler and the others wait
// for its result. A Do under the same key inside the handler, with its context
// or one made of it, returns ErrInProgress.
//
// It is for effects outside the store, such as a call to a payment service. The claim is on
// disk before the handler runs, whatever the durability of ctx. The result is on disk before Do
// returns, unless the durability is NoSync. If the process dies in between, the key is free
// again when the store is opened, or Config.Lease later. The next call then runs the handler
// again, with a higher token and Claim.Interrupted set, and the effect happens twice unless the
// other side, or the handler, can tell. For effects inside the store, Once is exact.
//
// The handler's context is that of the call; it ends with the cause ErrLeaseLost
// if the key is forgotten. An error of the handler frees the key and is
// returned as it is. A panic or runtime.Goexit frees the key too, and continues in the
// caller. An error marked with Final is an outcome. If the result cannot be stored, one over
// Config.MaxResultBytes included, the error is ErrNotStored: the effect may have
// happened. The end of ctx does not keep the result from being stored. Do waits one
// second for that, counted from the end of ctx or of the handler, whichever is later.
// Then it returns ErrNotStored and ErrUnknownOutcome; the result may be there all the
// same.
func (k *Namespace) Do(ctx context.Context, key []byte, h Handler, o *DoOptions) (Result, error) {
	if o == nil {
		o = &DoOptions{}
	}
	if h == nil {
		return Result{}, store.Invalid("Do without a handler")
	}
	if err := errors.Join(store.CheckContext(ctx), checkKey(key), checkFingerprint(o.Fingerprint)); err != nil {
		return Result{}, err
	}
	key, fingerprint := bytes.Clone(key), bytes.Clone(o.Fingerprint)
	for {
		op := &claimOp{n: k.n, key: key, fingerprint: fingerprint, outer: holder(ctx)}
		err := k.claim(ctx, op)
		switch {
		case errors.Is(err, errBusy):
			if err := k.await(ctx, op.busy, o.NoWait); err != nil {
				return Result{}, err
			}
		case err != nil:
			k.release(op.claim, false)
			return Result{}, err
		case op.claim == nil:
			return op.found.outcome()
		default:
			return k.run(ctx, op.claim, h)
		}
	}
}

// errBusy is how a claimOp says that the key has a runner.
var errBusy = errors.New("busy")

func (k *Namespace) claim(ctx context.Context, op *claimOp) error {
	ctx = synced(ctx)
	err := k.s.Do(ctx, op, store.Sync)
	if errors.Is(err, store.ErrDiskFull) && op.claim == nil {
		op.full = err
		return k.s.Do(ctx, peekOp{op}, store.Sync)
	}
	return err
}

// synced makes calls wait for the disk whatever their caller prefers.
func synced(ctx context.Context) context.Context { return store.WithDurability(ctx, store.Sync) }

// await waits until the runner of a key is through.
func (k *Namespace) await(ctx context.Context, c *claim, noWait bool) error {
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

// run runs the handler under a claim and stores what comes of it.
func (k *Namespace) run(ctx context.Context, c *claim, h Handler) (Result, error) {
	storing := false
	defer func() {
		if !storing { // an error, a panic, or the end of the goroutine
			k.release(c, false)
		}
	}()
	if err := ctx.Err(); err != nil { // since the claim
		return Result{}, err
	}
	held, cancel := k.n.watch(ctx, c)
	defer cancel(nil)
	value, err := h(held, Claim{Key: bytes.Clone(c.key), Token: c.token, Interrupted: c.interrupted, k: k, c: c})
	var final *FinalError
	if err != nil && !errors.As(err, &final) {
		return Result{}, err
	}
	storing = true
	op := &completeOp{n: k.n, claim: c, state: completed, result: value}
	if final != nil {
		op.state, op.result, value = failed, []byte(err.Error()), nil
	}
	if storeErr := k.complete(ctx, op); storeErr != nil {
		return Result{}, storeErr
	}
	if op.before != nil { // in a transaction of the handler
		value = op.before.result
	}
	return Result{Value: value, Token: c.token}, err
}

// watch returns the context of the handler that runs under c.
func (n *keys) watch(ctx context.Context, c *claim) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, claimContext{}, c))
	c.lost.Store(&cancel)
	select {
	case <-c.done: // forgotten before its fsync was through
		cancel(ErrLeaseLost)
	default:
	}
	return ctx, cancel
}

func (k *Namespace) complete(ctx context.Context, op *completeOp) error {
	// The effect has happened: the end of the caller's context must not keep its
	// result from being stored.
	late, stop := store.Outlive(ctx)
	defer stop()
	err := op.prepare()
	if err == nil {
		err = k.s.Do(late, op, store.Default)
	}
	if err == nil || errors.Is(err, ErrLeaseLost) {
		return err
	}
	k.release(op.claim, true)
	return fmt.Errorf("%w: %w", ErrNotStored, err)
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
