package idempotency

import (
	"bytes"
	"errors"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// In binds a claim to a transaction, which must be of the same store.
func (c Claim) In(tx *pebblemq.Tx) ClaimTx {
	x := bridge.Tx(tx)
	if c.k == nil {
		_ = x.Fail(store.Invalid("claim is not one that a handler was given"))
		return ClaimTx{c, x}
	}
	return ClaimTx{c, x.For(c.k.s, "namespace", c.k.n.name)}
}

// ClaimTx is a claim within a transaction.
type ClaimTx struct {
	c Claim
	x *store.Tx
}

// Complete stores the result of the claim, which is copied, when the
// transaction commits: the part of a handler's work that is inside the store is
// then exact. What the handler returns after that does not count. If the claim was
// lost by the commit, the transaction is refused with ErrLeaseLost.
func (t ClaimTx) Complete(result []byte) error {
	if t.c.k == nil {
		return t.x.Fail(store.Invalid("claim is not one that a handler was given"))
	}
	op := &completeOp{n: t.c.k.n, claim: t.c.c, state: completed, result: bytes.Clone(result)}
	if err := op.prepare(); err != nil {
		return t.x.Fail(err)
	}
	op.inTx = true
	return t.x.Add(op, len(t.c.Key)+len(result))
}

// Completed returns the result that a transaction of the handler has stored with
// ClaimTx.Complete; ok is false if none was committed.
func (c Claim) Completed() (result []byte, ok bool) {
	if c.c == nil {
		return nil, false
	}
	r := c.c.committed.Load()
	if r == nil {
		return nil, false
	}
	return bytes.Clone(r.result), true
}

// completeOp stores the outcome of a key that is claimed.
type completeOp struct {
	n      *keys
	claim  *claim
	state  state
	result []byte
	value  []byte // the record, encoded but for its times
	inTx   bool

	before *record // what a transaction of the handler has stored already
	meta   meta    // before Run
	mine   bool
	moment uint64 // after it, for the cache
}

func (o *completeOp) String() string { return "complete a claim of " + o.n.name }

// Frees admits it on a nearly full disk, because the effect has happened.
func (o *completeOp) Frees() {}

// prepare encodes the record.
func (o *completeOp) prepare() error {
	if err := o.n.checkResult(o.result); err != nil {
		return err
	}
	o.value = record{state: o.state, token: o.claim.token, fingerprint: o.claim.fingerprint, result: o.result}.encode()
	return nil
}

func (o *completeOp) Run(t *store.Turn) error {
	n, c := o.n, o.claim
	if c.stored != nil && !o.inTx {
		o.before = c.stored
		n.follow(t)
		return nil
	}
	if err := n.alive(); err != nil {
		return err
	}
	if n.claims[string(c.key)] != c {
		return ErrLeaseLost
	}
	o.meta, o.mine = n.meta, true
	expiry := t.Now().Add(n.config().Expiry).UnixNano()
	n.put(t, c.key, o.value, expiry, c.due)
	o.moment = n.cache.moment(c.key)
	delete(n.claims, string(c.key))
	c.stored = &record{state: o.state, result: o.result}
	return nil
}

func (o *completeOp) Undo() {
	o.n.meta = o.meta
	o.n.claims[string(o.claim.key)] = o.claim
	o.claim.stored = nil
}

func (o *completeOp) Visible(*store.Turn) {
	if o.mine {
		o.n.remember(o.claim.key, o.moment, o.value)
		if o.inTx {
			o.claim.committed.Store(o.claim.stored)
		}
		o.claim.settle()
	}
}

// Tx is a namespace within a transaction.
type Tx struct {
	k *Namespace
	x *store.Tx
}

// In binds the namespace to a transaction, which must be of the same store.
func (k *Namespace) In(tx *pebblemq.Tx) Tx {
	return Tx{k: k, x: bridge.Tx(tx).For(k.s, "namespace", k.n.name)}
}

// Complete marks a key completed with a result, which is copied. When the
// transaction commits it is refused with ErrDuplicate if the key is completed
// already, and with ErrInProgress if a Do holds it.
func (t Tx) Complete(key, result []byte) error {
	return t.complete(key, completed, result, nil)
}

func (t Tx) complete(key []byte, s state, result, fingerprint []byte) error {
	n := t.k.n
	if err := errors.Join(checkKey(key), n.checkResult(result)); err != nil {
		return t.x.Fail(err)
	}
	value := record{state: s, fingerprint: fingerprint, result: result}.encode()
	return t.x.Add(&txComplete{n: n, key: bytes.Clone(key), value: value}, len(key)+len(result))
}

// txComplete completes an unclaimed key.
type txComplete struct {
	n      *keys
	key    []byte
	value  []byte  // the record, encoded but for its times
	late   *answer // gives the result instead, or nil
	before meta
	moment uint64 // after Run, for the cache
}

func (o *txComplete) String() string { return "complete a key of " + o.n.name }

func (o *txComplete) Run(t *store.Turn) error {
	n := o.n
	if err := n.alive(); err != nil {
		return err
	}
	if n.current(o.key) != nil {
		return ErrInProgress
	}
	was, found, err := n.read(t, o.key)
	switch {
	case err != nil:
		return err
	case found && was.live(t.Now()):
		res, _ := was.outcome() // a final error is a duplicate as well
		return &DuplicateError{Namespace: n.name, Key: o.key, Result: res}
	case was.state == claimed && n.leased(was):
		return ErrInProgress
	}
	if o.late != nil {
		if o.value, err = o.late.record(n); err != nil {
			return err
		}
	}
	o.before = n.meta
	if was.state == completed || was.state == failed {
		n.meta.records--
	}
	n.put(t, o.key, o.value, t.Now().Add(n.config().Expiry).UnixNano(), 0)
	o.moment = n.cache.moment(o.key)
	return nil
}

func (o *txComplete) Undo()               { o.n.meta = o.before }
func (o *txComplete) Visible(*store.Turn) { o.n.remember(o.key, o.moment, o.value) }

// remember has an outcome cached that is visible now.
func (n *keys) remember(key []byte, moment uint64, value []byte) {
	if n.cache == nil {
		return
	}
	if r, err := decodeRecord(value); err == nil {
		n.cache.add(key, moment, r)
	}
}
