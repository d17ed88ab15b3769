package visibility

import (
	"context"
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

// SendBatch sends messages in one change, in their order: a crash keeps all of
// them or none. A bad message fails alone, in its result, unless the context is
// WithAtomic. An empty batch, one with the same Message.ID twice, or one beyond
// MaxBatchEntries or MaxBatchBytes is refused as a whole, and nothing happens.
func (q *Queue) SendBatch(ctx context.Context, messages []Message) ([]SendResult, error) {
	size := 0
	for i := range messages {
		size += messages[i].size()
	}
	if err := checkBatch(len(messages), size); err != nil {
		return nil, err
	}
	if err := distinct("ID", len(messages), func(i int) string { return messages[i].ID }); err != nil {
		return nil, err
	}
	results := make([]SendResult, len(messages))
	b := newBatch(ctx, len(messages))
	for i := range messages {
		op, err := q.newSend(&messages[i])
		if err != nil {
			b.errs[i] = err
			continue
		}
		b.ops[i] = op
	}
	if err := b.do(ctx, q.s, b, store.Default); err != nil {
		return nil, err
	}
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
// the receipts, nil for those that are deleted; see SendBatch for what is
// refused as a whole, as is the same receipt twice.
func (q *Queue) DeleteBatch(ctx context.Context, receipts []Receipt) ([]error, error) {
	if err := checkBatch(len(receipts), 0); err != nil {
		return nil, err
	}
	if err := distinct("receipt", len(receipts), func(i int) Receipt { return receipts[i] }); err != nil {
		return nil, err
	}
	b := newBatch(ctx, len(receipts))
	for i, r := range receipts {
		d, err := q.open(r)
		if err != nil {
			b.errs[i] = err
			continue
		}
		b.ops[i] = &deleteOp{q: q, delivery: d}
	}
	if err := b.do(ctx, q.s, freeingBatch{b}, store.NoSync); err != nil {
		return nil, err
	}
	return b.errs, nil
}

// VisibilityChange is one entry of ChangeVisibilityBatch.
type VisibilityChange struct {
	Receipt           Receipt
	VisibilityTimeout time.Duration
}

// ChangeVisibilityBatch is DeleteBatch for ChangeVisibility.
func (q *Queue) ChangeVisibilityBatch(ctx context.Context, changes []VisibilityChange) ([]error, error) {
	if err := checkBatch(len(changes), 0); err != nil {
		return nil, err
	}
	if err := distinct("receipt", len(changes), func(i int) Receipt { return changes[i].Receipt }); err != nil {
		return nil, err
	}
	b := newBatch(ctx, len(changes))
	for i, c := range changes {
		op, err := q.newChange(c.Receipt, c.VisibilityTimeout)
		if err != nil {
			b.errs[i] = err
			continue
		}
		b.ops[i] = op
	}
	if err := b.do(ctx, q.s, freeingBatch{b}, store.NoSync); err != nil {
		return nil, err
	}
	return b.errs, nil
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

// batchOp runs Ops of which each may be refused on its own. They validate
// before they write, so that a refused one leaves nothing behind.
type batchOp struct {
	atomic bool
	ops    []store.Op // nil for an entry that was bad to begin with, or has not run
	errs   []error
}

func newBatch(ctx context.Context, n int) *batchOp {
	return &batchOp{atomic: isAtomic(ctx), ops: make([]store.Op, n), errs: make([]error, n)}
}

// do runs the batch, as op.
func (b *batchOp) do(ctx context.Context, s *store.Store, op store.Op, d store.Durability) error {
	if err := b.refused(); err != nil {
		return err
	}
	return s.Do(ctx, op, d)
}

func (b *batchOp) Run(t *store.Turn) error {
	for i, op := range b.ops {
		if op == nil {
			continue
		}
		if b.errs[i] = op.Run(t); b.errs[i] != nil && b.atomic {
			clear(b.ops[i:])
			b.Undo()
			return b.refused()
		}
	}
	return nil
}

func (b *batchOp) Undo() {
	for i := len(b.ops) - 1; i >= 0; i-- {
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
