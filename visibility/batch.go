package visibility

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// SendResult is what became of one message of a batch.
type SendResult struct {
	ID       string
	Sequence uint64 // see Received.Sequence; 0 for one that is delayed
	Err      error

	// Duplicate says that nothing was sent: ID and Sequence are those of the
	// message that was sent before with the same DedupeID, or body. Differs
	// says that its body was another.
	Duplicate, Differs bool
}

// BatchOptions say how a batch is carried out. Nil is the defaults.
type BatchOptions struct {
	// Atomic refuses the batch as a whole if any of its entries is refused, with an
	// error that says which and why, and changes nothing then. Default: false, a
	// bad entry fails alone.
	Atomic bool
}

// SendBatch sends messages in one change, in their order: a crash keeps all of
// them or none. A bad message fails alone, in its result, unless Atomic is asked
// for. An empty batch, or one beyond MaxBatchEntries or MaxBatchBytes, is refused as
// a whole and sends nothing. Entries are known by their place, where SQS has them
// carry ids.
func (q *Queue) SendBatch(ctx context.Context, messages []Message, o *BatchOptions) ([]SendResult, error) {
	size := 0
	for i := range messages {
		size += messages[i].size()
	}
	if err := checkBatch(len(messages), size); err != nil {
		return nil, err
	}
	b := newBatch(len(messages), o)
	for i := range messages {
		op, err := q.newSend(&messages[i])
		b.add(i, op, err)
	}
	if err := b.do(ctx, q, b, store.Default); err != nil {
		return nil, err
	}
	results := make([]SendResult, len(messages))
	for i, err := range b.errs {
		if err != nil {
			results[i] = SendResult{Err: err}
			continue
		}
		results[i] = b.ops[i].(*sendOp).result()
	}
	return results, nil
}

// DeleteBatch deletes messages in one change. The results are in the order of
// the receipts, nil for those that are deleted. A receipt that comes twice makes the
// batch be refused as a whole; see SendBatch for the rest.
func (q *Queue) DeleteBatch(ctx context.Context, receipts []Receipt, o *BatchOptions) ([]error, error) {
	if err := checkReceipts(len(receipts), func(i int) Receipt { return receipts[i] }); err != nil {
		return nil, err
	}
	b := newBatch(len(receipts), o)
	for i, r := range receipts {
		d, err := q.open(r)
		b.add(i, &deleteOp{q: q, delivery: d}, err)
	}
	return b.results(b.do(ctx, q, freeingBatch{b}, store.NoSync))
}

// VisibilityChange is one entry of ChangeVisibilityBatch.
type VisibilityChange struct {
	Receipt           Receipt
	VisibilityTimeout time.Duration
}

// ChangeVisibilityBatch is DeleteBatch for ChangeVisibility.
func (q *Queue) ChangeVisibilityBatch(ctx context.Context, changes []VisibilityChange, o *BatchOptions) ([]error, error) {
	if err := checkReceipts(len(changes), func(i int) Receipt { return changes[i].Receipt }); err != nil {
		return nil, err
	}
	b := newBatch(len(changes), o)
	for i, c := range changes {
		op, err := q.newChange(c.Receipt, c.VisibilityTimeout)
		b.add(i, op, err)
	}
	return b.results(b.do(ctx, q, freeingBatch{b}, store.NoSync))
}

func checkBatch(entries, size int) error {
	switch {
	case entries == 0:
		return store.Invalid("batch is empty")
	case entries > MaxBatchEntries:
		return store.TooLarge("number of entries of a batch", int64(entries), MaxBatchEntries)
	case size > MaxBatchBytes:
		return store.TooLarge("batch in bytes", int64(size), MaxBatchBytes)
	}
	return nil
}

// fewReceipts are compared with one another; a map would be dearer.
const fewReceipts = 16

// checkReceipts is checkBatch of a batch of receipts, of which none may come twice.
func checkReceipts(n int, receipt func(int) Receipt) error {
	if err := checkBatch(n, 0); err != nil {
		return err
	}
	var seen map[Receipt]int
	if n > fewReceipts {
		seen = make(map[Receipt]int, n)
	}
	for i := range n {
		twice, ok := seen[receipt(i)]
		for k := 0; k < i && seen == nil && !ok; k++ {
			twice, ok = k, receipt(k) == receipt(i)
		}
		if ok {
			return store.Invalid("entries %d and %d of the batch have the same receipt", twice, i)
		}
		if seen != nil {
			seen[receipt(i)] = i
		}
	}
	return nil
}

// batchOp runs Ops of which each may be refused on its own. They validate
// before they write, so that a refused one leaves nothing behind.
type batchOp struct {
	ops    []store.Op // nil for an entry that was bad to begin with
	errs   []error
	atomic bool
}

func newBatch(n int, o *BatchOptions) *batchOp {
	return &batchOp{ops: make([]store.Op, n), errs: make([]error, n), atomic: o != nil && o.Atomic}
}

// add sets an entry, which was bad to begin with if err says so.
func (b *batchOp) add(i int, op store.Op, err error) {
	if b.errs[i] = err; err == nil {
		b.ops[i] = op
	}
}

// do runs the batch, as op.
func (b *batchOp) do(ctx context.Context, q *Queue, op store.Op, d store.Durability) error {
	for i := range b.errs {
		if err := b.refused(i); err != nil {
			return err
		}
	}
	return q.s.Do(ctx, op, d)
}

// refused returns the error of an entry that refuses all.
func (b *batchOp) refused(i int) error {
	if b.atomic && b.errs[i] != nil {
		return fmt.Errorf("entry %d of the batch: %w", i, b.errs[i])
	}
	return nil
}

func (b *batchOp) results(err error) ([]error, error) {
	if err != nil {
		return nil, err
	}
	return b.errs, nil
}

func (b *batchOp) Run(t *store.Turn) error {
	for i, op := range b.ops {
		if op == nil {
			continue
		}
		b.errs[i] = op.Run(t)
		if err := b.refused(i); err != nil {
			b.undo(i)
			return err
		}
	}
	return nil
}

func (b *batchOp) Undo() { b.undo(len(b.ops)) }

// undo takes the entries below n back.
func (b *batchOp) undo(n int) {
	for i := n - 1; i >= 0; i-- {
		if b.accepted(i) {
			b.ops[i].Undo()
		}
	}
}

func (b *batchOp) Visible(t *store.Turn) {
	for i, op := range b.ops {
		if b.accepted(i) {
			op.Visible(t)
		}
	}
}

func (b *batchOp) accepted(i int) bool { return b.ops[i] != nil && b.errs[i] == nil }

// freeingBatch is one that is let in on a full disk.
type freeingBatch struct{ *batchOp }

func (freeingBatch) Frees() {}
