package idempotency

import (
	"bytes"
	"context"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Find returns the outcome of a key; ok is false if it has none, which is also
// so while its handler runs and once it has expired. The error of a key that
// failed for good is its *FinalError. Like every answer about a key it rests on
// nothing that a crash could take back.
func (k *Namespace) Find(ctx context.Context, key []byte) (res Result, ok bool, err error) {
	if err := checkKey(key); err != nil {
		return Result{}, false, err
	}
	r, ok, err := k.look(ctx, key)
	if err != nil || !ok {
		return Result{}, false, err
	}
	res, err = r.outcome()
	return res, true, err
}

// look reads a record, beside the baton, and then waits for what it saw.
func (k *Namespace) look(ctx context.Context, key []byte) (r record, ok bool, err error) {
	if k.n.absent.sure(key) {
		return record{}, false, k.answer(ctx, func() {})
	}
	if r, ok = k.n.cache.get(key); !ok {
		if r, err = k.fetch(ctx, key); err != nil {
			return record{}, false, err
		}
	}
	ok = r.live(k.s.Now())
	return r, ok, k.answer(ctx, func() {})
}

// fetch reads a record from the engine, and has it cached if it is an outcome.
func (k *Namespace) fetch(ctx context.Context, key []byte) (record, error) {
	moment := k.n.cache.moment(key)
	v, err := k.s.Probe(ctx, recordKey(k.n.id, key))
	if err != nil || v == nil {
		return record{}, k.n.about(key, err)
	}
	r, err := decodeRecord(v)
	if err == nil && r.live(k.s.Now()) {
		k.n.cache.add(key, moment, r)
	}
	return r, k.n.about(key, err)
}

// answer runs f under the baton and returns when all that it could see is on
// disk. It is let in on a full one.
func (k *Namespace) answer(ctx context.Context, f func()) error {
	op := store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		if err := k.n.alive(); err != nil {
			return err
		}
		k.n.settled(t)
		f()
		return nil
	}}
	return k.s.Do(synced(ctx), op, store.Sync)
}

// Seen reports whether a key has an outcome.
func (k *Namespace) Seen(ctx context.Context, key []byte) (bool, error) {
	_, ok, err := k.Find(ctx, key)
	if ok {
		err = nil // a final error is an outcome
	}
	return ok, err
}

// Forget removes a key and its outcome: the next call runs. A handler that is
// running goes on, and its Do returns ErrLeaseLost. Forgetting an unknown key
// is no error. A key whose record cannot be read is taken to have an outcome.
func (k *Namespace) Forget(ctx context.Context, key []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return k.s.Do(ctx, &forgetOp{n: k.n, key: bytes.Clone(key)}, store.Default)
}

type forgetOp struct {
	n     *keys
	key   []byte
	claim *claim
}

// Frees lets it in on a disk that is nearly full.
func (o *forgetOp) Frees() {}

func (o *forgetOp) Run(t *store.Turn) error {
	if err := o.n.alive(); err != nil {
		return err
	}
	r, found, err := o.n.read(t, o.key)
	lost := store.IsUnread(err)
	if err != nil && !lost {
		return err
	}
	if o.claim = o.n.current(o.key); o.claim != nil {
		delete(o.n.claims, string(o.key))
	}
	// This holds also if there is no record: a crash may take back its removal.
	o.n.unset(t, o.key)
	if lost { // behind a deletion the engine still reads older versions, behind a range it does not
		at := recordKey(o.n.id, o.key)
		t.DeleteRange(at, append(bytes.Clone(at), 0))
	}
	o.n.note(o.key)
	if (found && r.state != claimed || lost) && o.n.meta.records > 0 {
		o.n.meta.records--
		t.Touch(o.n)
	}
	return nil
}

func (o *forgetOp) Undo() {}

func (o *forgetOp) Visible(*store.Turn) {
	if o.claim != nil {
		o.claim.lose()
	}
}
