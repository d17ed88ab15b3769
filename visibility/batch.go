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
	if err := q.checkBatch(len(messages), size); err != nil {
		return nil, err
	}
	messages, end := traceSendBatch(ctx, q, messages)
	b := newBatch(len(messages), o)
	for i := range messages {
		op, err := q.newSend(&messages[i])
		b.add(i, op, err)
	}
	err := b.do(ctx, q, b, store.Default)
	if end(err); err != nil {
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
// the receipts, nil for those that are deleted. A receipt that comes twice has the same
// result twice; see SendBatch for the rest.
func (q *Queue) DeleteBatch(ctx context.Context, receipts []Receipt, o *BatchOptions) ([]error, error) {
	if err := q.checkBatch(len(receipts), 0); err != nil {
		return nil, err
	}
	b := newBatch(len(receipts), o)
	b.same = repeated(len(receipts), func(i int) Receipt { return receipts[i] })
	for i, r := range receipts {
		if b.repeats(i) {
			continue
		}
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

// ChangeVisibilityBatch is DeleteBatch for ChangeVisibility. Of several changes with one
// receipt the last one counts, and all of them have its result.
func (q *Queue) ChangeVisibilityBatch(ctx context.Context, changes []VisibilityChange, o *BatchOptions) ([]error, error) {
	if err := q.checkBatch(len(changes), 0); err != nil {
		return nil, err
	}
	b := newBatch(len(changes), o)
	b.same = repeated(len(changes), func(i int) Receipt { return changes[i].Receipt })
	for i, c := range changes {
		if b.repeats(i) {
			continue
		}
		op, err := q.newChange(c.Receipt, c.VisibilityTimeout)
		b.add(i, op, err)
	}
	return b.results(b.do(ctx, q, freeingBatch{b}, store.NoSync))
}

func (q *Queue) checkBatch(entries, size int) error {
	switch {
	case entries == 0:
		return store.Invalid("batch for %s is empty", named(q.name))
	case entries > MaxBatchEntries:
		return store.TooLarge(fmt.Sprintf("number of entries of a batch for %s", named(q.name)), int64(entries), MaxBatchEntries)
	case size > MaxBatchBytes:
		return store.TooLarge(fmt.Sprintf("batch for %s in bytes", named(q.name)), int64(size), MaxBatchBytes)
	}
	return nil
}

// fewReceipts are compared with one another; a map would be dearer.
const fewReceipts = 16

// repeated returns the last entry with the same receipt, for each entry that is not the last.
// It is nil if there are none.
func repeated(n int, receipt func(int) Receipt) (same map[int]int) {
	note := func(i, last int) {
		if same == nil {
			same = make(map[int]int)
		}
		same[i] = last
	}
	if n <= fewReceipts {
		for i := range n {
			for k := n - 1; k > i; k-- {
				if receipt(i) == receipt(k) {
					note(i, k)
					break
				}
			}
		}
		return same
	}
	lasts := make(map[Receipt]int, n)
	for i := n - 1; i >= 0; i-- {
		if last, again := lasts[receipt(i)]; again {
			note(i, last)
			continue
		}
		lasts[receipt(i)] = i
	}
	return same
}

// batchOp runs Ops of which each may be refused on its own. They validate
// before they write, so that a refused one leaves nothing behind.
type batchOp struct {
	ops    []store.Op // nil for an entry that was bad to begin with
	errs   []error
	same   map[int]int // entries that have the result of a later one, which has the same receipt
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
	for i, last := range b.same {
		b.errs[i] = b.errs[last]
	}
	return b.errs, nil
}

// repeats reports that an entry is left to a later one with the same receipt.
func (b *batchOp) repeats(i int) bool {
	_, repeats := b.same[i]
	return repeats
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
