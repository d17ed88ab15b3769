package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// MaxTx is the largest transaction, in bytes of keys and values.
const MaxTx = 64 << 20

// Tx collects Ops and application writes while the user's function runs, and
// commits them as one Op. Nothing of the kernel is held meanwhile but, from
// the first read of the application's keyspace on, the state token.
//
// Invariant: while a transaction has the token, no other changes the keyspace. One that only
// writes does without: it finds out in its turn whether somebody has read, and waits for the
// token only then. A transaction that takes the token later reads later, because reads take the
// baton.
type Tx struct {
	s        *Store
	ctx      context.Context
	readOnly bool
	view     *Snapshot // of a read-only one

	mu struct {
		sync.Mutex
		ended bool
		ops   []Op
		err   error // the first refusal; dooms the transaction
		state *pebble.Batch
		own   overlay // of state, for reading what was written
		owned bool    // the state token is ours
		size  int64
		walks int // iterators of state that are open
	}
}

// Begin starts a transaction.
func (s *Store) Begin(ctx context.Context) (*Tx, error) {
	if err := CheckContext(ctx); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.Cause(); err != nil {
		return nil, err
	}
	return &Tx{s: s, ctx: ctx}, nil
}

// BeginView starts a read-only one on a stable view.
func (s *Store) BeginView(ctx context.Context) (*Tx, error) {
	view, err := s.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return &Tx{s: s, ctx: ctx, readOnly: true, view: view}, nil
}

// For returns x for the use of an object of s. If s is another store the
// transaction is doomed: that object's memory is not under this one's baton.
func (x *Tx) For(s *Store, what, name string) *Tx {
	if x.s != s {
		_ = x.Fail(Invalid("%s %q is of another store than the transaction", what, name))
	}
	return x
}

// Context returns the context of the transaction, for a verb that reads before it knows its Op.
func (x *Tx) Context() context.Context { return x.ctx }

// Add makes op a part of the transaction. It runs at the commit. Size is what it will write,
// about.
func (x *Tx) Add(op Op, size int) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.writable(); err != nil {
		return err
	}
	if err := x.grow(int64(size)); err != nil {
		return err
	}
	x.mu.ops = append(x.mu.ops, op)
	return nil
}

// Fail dooms the transaction: Commit will return err. The first one counts.
// It returns err, for a verb to return in turn.
func (x *Tx) Fail(err error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.err == nil && !x.mu.ended {
		x.mu.err = err
	}
	return err
}

func (x *Tx) writable() error {
	switch {
	case x.mu.ended:
		return ErrTxDone
	case x.readOnly:
		return ErrReadOnly
	}
	return x.mu.err
}

func (x *Tx) grow(n int64) error {
	if x.mu.size += n; x.mu.size > MaxTx {
		x.mu.err = TooLarge("transaction size in bytes", x.mu.size, MaxTx)
		return x.mu.err
	}
	return nil
}

// own takes the state token, after which no other transaction changes the
// application's keyspace until this one ends.
func (x *Tx) own() error {
	if x.mu.owned {
		return nil
	}
	select {
	case <-x.s.state:
	default:
		if err := x.awaitState(); err != nil {
			return err
		}
	}
	x.mu.owned = true
	x.s.stateHeld.Store(true)
	return nil
}

// nestedAfter is how long a transaction waits for the state before it looks whether
// it waits for its own caller. To look takes longer than others mostly keep it.
const nestedAfter = time.Millisecond

func (x *Tx) awaitState() error {
	suspicion := time.NewTimer(nestedAfter)
	defer suspicion.Stop()
	for {
		select {
		case <-x.s.state:
			return nil
		case <-x.ctx.Done():
			return x.ctx.Err()
		case <-x.s.down:
			return x.s.Cause()
		case <-suspicion.C:
			if inUpdate() {
				return ErrNested
			}
		}
	}
}

// Get returns a copy of the value of an application key, or nil, as the
// transaction sees it.
func (x *Tx) Get(key []byte) ([]byte, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.ended {
		return nil, ErrTxDone
	}
	key = appKey(key)
	if x.readOnly {
		return x.view.Get(key)
	}
	if err := x.own(); err != nil {
		return nil, err
	}
	if x.mu.state != nil {
		if p, known := x.mu.own.get(x.mu.state.Repr(), key); known {
			return p.clone(), nil
		}
	}
	return x.s.Get(x.ctx, key)
}

// Set writes an application key.
func (x *Tx) Set(key, value []byte) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.write(len(key) + len(value)); err != nil {
		return err
	}
	d := x.mu.state.SetDeferred(1+len(key), len(value))
	d.Key[0] = byte(KindApp)
	copy(d.Key[1:], key)
	copy(d.Value, value)
	return d.Finish()
}

// Delete removes an application key.
func (x *Tx) Delete(key []byte) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.write(len(key)); err != nil {
		return err
	}
	d := x.mu.state.DeleteDeferred(1 + len(key))
	d.Key[0] = byte(KindApp)
	copy(d.Key[1:], key)
	return d.Finish()
}

// write prepares for a write of that many bytes.
func (x *Tx) write(size int) error {
	if err := x.writable(); err != nil {
		return err
	}
	if err := x.grow(int64(size)); err != nil {
		return err
	}
	if x.mu.state == nil {
		x.mu.state = x.s.db.NewBatch()
	}
	return nil
}

// index makes the writes so far readable in order. A transaction that scans nothing
// after its first write does without.
func (x *Tx) index() error {
	if x.mu.state.Indexed() {
		return nil
	}
	indexed := x.s.db.NewIndexedBatch()
	if err := indexed.Apply(x.mu.state, nil); err != nil {
		return err
	}
	_ = x.mu.state.Close() // a batch in memory
	x.mu.state = indexed
	x.mu.own.forget()
	return nil
}

// Scan returns an iterator over the application keys in [lo, hi), nil being
// open, with the transaction's own writes so far. AppKey decodes its keys.
func (x *Tx) Scan(lo, hi []byte) (*Iter, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.ended {
		return nil, ErrTxDone
	}
	from, to := appKey(lo), PrefixEnd([]byte{byte(KindApp)})
	if hi != nil {
		to = appKey(hi)
	}
	if x.readOnly {
		return x.view.Iter(from, to)
	}
	if err := x.own(); err != nil {
		return nil, err
	}
	if err := x.s.settle(x.ctx); err != nil {
		return nil, err
	}
	if err := x.s.readers.enter(); err != nil {
		return nil, err
	}
	opts := &pebble.IterOptions{LowerBound: from, UpperBound: to}
	if x.mu.state == nil {
		return x.s.iter(x.s.engineIter(x.s.db, opts))
	}
	if err := x.index(); err != nil {
		x.s.readers.exit()
		return nil, err
	}
	it, err := x.s.iter(x.s.engineIter(x.mu.state, opts))
	if err == nil {
		x.mu.walks++
		it.closed = x.walked
	}
	return it, err
}

// walked notes that an iterator of state is closed.
func (x *Tx) walked() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.mu.walks--
}

func appKey(key []byte) []byte {
	return append(append(make([]byte, 0, 1+len(key)), byte(KindApp)), key...)
}

// AppKey strips the kernel's prefix from a key of Scan.
func AppKey(key []byte) []byte { return key[1:] }

// Commit runs the collected Ops and writes as one change, and ends the
// transaction.
func (x *Tx) Commit() error {
	if !x.end() {
		return ErrTxDone
	}
	defer x.release()
	if x.mu.err != nil {
		return x.mu.err
	}
	if x.readOnly {
		return nil
	}
	op := &txOp{x: x, ops: x.mu.ops}
	if op.frees() {
		return x.s.Do(x.ctx, freeingTx{op}, Default)
	}
	if x.mu.state == nil {
		return x.s.Do(x.ctx, op, Default)
	}
	if !x.s.stateHeld.Load() {
		if err := x.s.Do(x.ctx, op, Default); err != errStateHeld {
			return err
		}
	}
	if err := x.own(); err != nil {
		return err
	}
	return x.s.Do(x.ctx, op, Default)
}

// errStateHeld refuses a transaction that writes application keys without the state
// token while another has it.
var errStateHeld = errors.New("pebblemq: application state is held")

// End rolls back whatever was not committed. It is harmless afterwards.
func (x *Tx) End() {
	if x.end() {
		x.release()
	}
}

// end refuses all further use, so that only the caller touches x from here on. It reports
// whether it was the first call.
func (x *Tx) end() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.ended {
		return false
	}
	x.mu.ended = true
	return true
}

func (x *Tx) release() {
	x.giveBack()
	x.dropState()
	if x.view != nil {
		x.view.Close()
	}
	x.mu.ops = nil
}

// dropState gives the batch back to the engine's pool, unless a goroutine that
// should have ended with the transaction is still walking it.
func (x *Tx) dropState() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.state != nil && x.mu.walks == 0 {
		_ = x.mu.state.Close() // a batch in memory
	}
}

func (x *Tx) giveBack() {
	if x.mu.owned {
		x.mu.owned = false
		x.s.stateHeld.Store(false)
		x.s.state <- struct{}{}
	}
}

// txOp is a whole transaction in its turn. It outlives the Tx: a NoSync caller
// is gone before Visible runs.
type txOp struct {
	x   *Tx
	ops []Op
}

func (o *txOp) Run(t *Turn) error {
	x := o.x
	if x.mu.state != nil && !x.mu.owned && t.s.stateHeld.Load() {
		return errStateHeld
	}
	t.lax = false // all of it is on disk after a crash, or nothing
	for i, op := range o.ops {
		if err := op.Run(t); err != nil {
			for j := i - 1; j >= 0; j-- {
				o.ops[j].Undo()
			}
			return refused(op, i, err)
		}
	}
	if x.mu.state != nil {
		t.note(t.s.open.batch.Apply(x.mu.state, nil))
	}
	// The token goes back as soon as the change is sequenced in memory, so that the next
	// transaction reads while this one's fsync is under way.
	x.giveBack()
	return nil
}

func (o *txOp) Undo() {}

// frees reports that the transaction does nothing but make room.
func (o *txOp) frees() bool {
	for _, op := range o.ops {
		if _, ok := op.(Freer); !ok {
			return false
		}
	}
	return o.x.mu.state == nil && len(o.ops) > 0
}

// freeingTx is a transaction that is let in on a disk that is nearly full.
type freeingTx struct{ *txOp }

// Frees marks it as a Freer.
func (freeingTx) Frees() {}

func (o *txOp) Visible(t *Turn) {
	for _, op := range o.ops {
		op.Visible(t)
	}
}

// refused says which operation of a transaction failed.
func refused(op Op, i int, err error) error {
	if d, ok := op.(fmt.Stringer); ok {
		return fmt.Errorf("operation %d of the transaction (%s): %w", i+1, d, err)
	}
	return fmt.Errorf("operation %d of the transaction: %w", i+1, err)
}
