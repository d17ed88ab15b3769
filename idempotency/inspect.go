package idempotency

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Get returns the outcome of a key; ok is false if it has none, which is also
// so while its handler runs and once it has expired. The error of a key that
// failed for good is its *FinalError. Like every answer about a key it rests on
// nothing that a crash could take back.
func (k *Keys) Get(ctx context.Context, key []byte) (res Result, ok bool, err error) {
	if err := checkKey(key); err != nil {
		return Result{}, false, err
	}
	var r record
	err = k.s.Do(ctx, store.QuietFunc(func(t *store.Turn) (err error) {
		r, ok, err = k.n.read(t, key)
		ok = ok && r.live(t.Now())
		return err
	}), store.Sync)
	if err != nil || !ok {
		return Result{}, false, err
	}
	res, err = r.outcome()
	return res, true, err
}

// Seen reports whether a key has an outcome.
func (k *Keys) Seen(ctx context.Context, key []byte) (bool, error) {
	_, ok, err := k.Get(ctx, key)
	if ok {
		err = nil // a final error is an outcome
	}
	return ok, err
}

// Forget removes a key and its outcome: the next call runs. A handler that is
// running goes on, and its Do returns ErrLeaseLost. Forgetting an unknown key
// does nothing.
func (k *Keys) Forget(ctx context.Context, key []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return k.s.Do(ctx, &forgetOp{n: k.n, key: bytes.Clone(key)}, store.Default)
}

type forgetOp struct {
	n     *namespace
	key   []byte
	claim *claim
}

// Frees lets it in on a disk that is nearly full.
func (o *forgetOp) Frees() {}

func (o *forgetOp) Run(t *store.Turn) error {
	r, found, err := o.n.read(t, o.key)
	if err != nil {
		return err
	}
	o.claim = o.n.claims[string(o.key)]
	delete(o.n.claims, string(o.key))
	if !found {
		return nil
	}
	t.Delete(recordKey(o.n.id, o.key))
	if r.state != claimed {
		o.n.meta.records--
		t.Touch(o.n)
	}
	return nil
}

func (o *forgetOp) Undo() {}

func (o *forgetOp) Visible(*store.Turn) {
	if o.claim != nil {
		close(o.claim.done)
	}
}

// Count returns the number of keys with an outcome, those that have expired
// and are not reclaimed yet included.
func (k *Keys) Count(ctx context.Context) (n uint64, err error) {
	err = k.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		n = k.n.meta.records
		return nil
	}), store.Sync)
	return n, err
}

// KeyOf makes a key of a value: the SHA-256 of its JSON with the names of all
// objects in order, so that the order of fields does not matter and every
// field, nested ones too, does.
func KeyOf(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("idempotency: key of %T: %w", v, err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var plain any
	if err := d.Decode(&plain); err != nil {
		return nil, fmt.Errorf("idempotency: key of %T: %w", v, err)
	}
	if text, err = json.Marshal(plain); err != nil {
		return nil, fmt.Errorf("idempotency: key of %T: %w", v, err)
	}
	sum := sha256.Sum256(text)
	return sum[:], nil
}
