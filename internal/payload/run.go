package payload

import (
	"context"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// Handler returns a handler of messages that calls handle with their values. It rejects a
// message that cannot be decoded. Without a codec, which would reject all of them, it is an
// error; without handle it is nil.
func Handler[M, T any](c pebblemq.Codec[T], decode func(M) (T, error), handle func(context.Context, T, M) error) (worker.Handler[M], error) {
	if c == nil {
		return nil, store.Invalid("codec is nil")
	}
	if handle == nil {
		return nil, nil
	}
	return func(ctx context.Context, m M) error {
		value, err := decode(m)
		if err != nil {
			return pebblemq.Reject(err)
		}
		return handle(ctx, value, m)
	}, nil
}

// BatchHandler is Handler of batches. It calls handle with the messages that can be decoded and
// their values, in the same order, unless there are none.
func BatchHandler[M, T any](c pebblemq.Codec[T], decode func(M) (T, error), handle func(context.Context, []T, []M) error) (worker.BatchHandler[M], error) {
	if c == nil {
		return nil, store.Invalid("codec is nil")
	}
	if handle == nil {
		return nil, nil
	}
	return func(ctx context.Context, batch []M) error {
		values, good, outcome := decodeAll(decode, batch)
		if len(good) == len(batch) {
			return handle(ctx, values, batch)
		}
		if len(good) > 0 {
			spread(outcome, handle(ctx, values, good), len(good))
		}
		return outcome
	}, nil
}

// decodeAll returns the values of the messages that can be decoded. The others have an outcome.
func decodeAll[M, T any](decode func(M) (T, error), batch []M) (values []T, good []M, outcome pebblemq.BatchError) {
	values, good, outcome = make([]T, 0, len(batch)), make([]M, 0, len(batch)), make(pebblemq.BatchError, len(batch))
	for i, m := range batch {
		value, err := decode(m)
		if err != nil {
			outcome[i] = pebblemq.Reject(err)
			continue
		}
		values, good = append(values, value), append(good, m)
	}
	return values, good, outcome
}

// spread gives the n messages without an outcome that of their handler.
func spread(outcome pebblemq.BatchError, err error, n int) {
	each, err := worker.Apart(err, n)
	k := 0
	for i := range outcome {
		if outcome[i] != nil {
			continue
		}
		if outcome[i] = err; each != nil {
			outcome[i] = each[k]
		}
		k++
	}
}
