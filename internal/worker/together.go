package worker

import (
	"context"
	"errors"

	"github.com/pebblemq/pebblemq/internal/store"
)

// finishDone is finish for those tasks of a batch that the handler has processed. It settles
// those of each source in one change, if the source can, and reports which ones have ended.
// Those that it could not settle are left to finish, which settles each alone and tries again.
func (r *run[M]) finishDone(late context.Context, tasks []*task[M], err error, each []error) (ended []bool) {
	if len(tasks) < 2 || each == nil && err != nil {
		return nil
	}
	ended = make([]bool, len(tasks))
	tried := make([]bool, len(tasks))
	for i, t := range tasks {
		source, ok := t.source.(BatchSource[M])
		if !ok || tried[i] || each != nil && each[i] != nil {
			continue
		}
		var at []int
		for k := i; k < len(tasks); k++ {
			if tasks[k].source == t.source && (each == nil || each[k] == nil) {
				at, tried[k] = append(at, k), true
			}
		}
		if len(at) > 1 {
			r.settleDone(late, source, tasks, at, ended)
		}
	}
	return ended
}

// settleDone settles the tasks at some places of a batch, which are of one source.
func (r *run[M]) settleDone(late context.Context, source BatchSource[M], tasks []*task[M], at []int, ended []bool) {
	done := make([]*task[M], len(at))
	for k, i := range at {
		tasks[i].letGo() // first, because a heartbeat would extend what is settled
		done[k] = tasks[i]
	}
	end := traceSettle(r, Done, done...)
	errs, err := source.SettleDone(late, messagesOf(done))
	end(err)
	if err != nil && final(err) {
		r.fail(err)
	} else if err != nil {
		return
	}
	for k, i := range at {
		if err == nil && errs[k] != nil && !errors.Is(errs[k], store.ErrLost) {
			continue
		}
		ended[i] = true
		r.conclude(tasks[i])
	}
}

// conclude ends a task whose outcome is settled.
func (r *run[M]) conclude(t *task[M]) {
	if t.begun {
		t.begun = false
		t.source.End(t.item.Message)
	}
	r.end(t)
}
