package visibility

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

type atomicKey struct{}

// WithAtomic makes the batches all or nothing that are sent, deleted or changed with
// the context: if one entry is refused, nothing happens, and the call returns the
// entry's error, with its place. A batch for several queues, or with other things
// in it, is a pebblemq.DB.Update.
func WithAtomic(ctx context.Context) context.Context {
	return context.WithValue(ctx, atomicKey{}, true)
}

func isAtomic(ctx context.Context) bool { return ctx.Value(atomicKey{}) != nil }

// distinct refuses a batch that names something twice; the empty name is none.
func distinct[S ~string](what string, n int, name func(i int) S) error {
	seen := make(map[S]int, n)
	for i := range n {
		s := name(i)
		if s == "" {
			continue
		}
		if first, twice := seen[s]; twice {
			return store.Invalid("entries %d and %d of the batch have the same %s", first, i, what)
		}
		seen[s] = i
	}
	return nil
}

// refused returns the error of an atomic batch that has an entry which was refused.
func (b *batchOp) refused() error {
	if !b.atomic {
		return nil
	}
	for i, err := range b.errs {
		if err != nil {
			return fmt.Errorf("entry %d of the batch: %w", i, err)
		}
	}
	return nil
}
