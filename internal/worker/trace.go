package worker

import (
	"context"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Step is a call of the handler, or the settlement of its outcome.
type Step[M any] struct {
	Kind  store.StepKind
	Verb  string
	Batch []M
}

// verbs are the names of the verdicts in a trace.
var verbs = map[Verdict]string{Done: "ack", Retry: "retry", Release: "release", Dead: "dead"}

// traceCall follows a call of the handler.
func traceCall[M any](ctx context.Context, r *run[M], tasks []*task[M]) (context.Context, func(error)) {
	if r.o.Trace == nil {
		return ctx, store.Untraced
	}
	traced, end := r.o.Trace(ctx, Step[M]{Kind: store.StepProcess, Verb: "process", Batch: messagesOf(tasks)})
	for _, t := range tasks {
		t.traced = context.WithoutCancel(traced) // for its settlement, which comes after the call
	}
	return traced, end
}

// traceSettle follows the settlement of tasks. It is a part of the call if there was one.
func traceSettle[M any](r *run[M], v Verdict, tasks ...*task[M]) (end func(error)) {
	if r.o.Trace == nil {
		return store.Untraced
	}
	ctx := tasks[0].traced
	if ctx == nil {
		ctx = r.caller
	}
	_, end = r.o.Trace(ctx, Step[M]{Kind: store.StepSettle, Verb: verbs[v], Batch: messagesOf(tasks)})
	return end
}

func messagesOf[M any](tasks []*task[M]) []M {
	batch := make([]M, len(tasks))
	for i, t := range tasks {
		batch[i] = t.item.Message
	}
	return batch
}
