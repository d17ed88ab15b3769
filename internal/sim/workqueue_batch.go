package main

import (
	"context"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// handleBatch is handle for several messages. Each of them ends in its own way.
func (r *wrun) handleBatch(ctx context.Context, batch []*workqueue.Delivery) error {
	w := r.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(batch) == 0 || len(batch) > r.a.int("batch") {
		w.fail("a batch of %d messages, not 1 to %s", len(batch), r.a["batch"])
	}
	if r.running++; r.running > r.a.int("n") {
		w.fail("%d handlers of a Run at a time, not %s", r.running, r.a["n"])
	}
	defer func() { r.running-- }()
	list := r.beginBatch(batch)
	if w.hash("nap"+nameOf(batch[0]))%4 == 0 {
		w.mu.Unlock()
		sleepOr(ctx, 3*time.Second)
		w.mu.Lock()
	}
	errs := make(pebblemq.BatchError, len(batch))
	for i, h := range list {
		if h == nil {
			errs[i] = errHandling
			continue
		}
		end := r.fateOf(h)
		if end == "panic" || end == "goexit" || end == "sleep" { // which end the whole batch
			end = "error"
		}
		r.note(h, end)
		errs[i] = act(end)
	}
	return errs
}

// beginBatch judges the deliveries of a batch. Those that are not known, or of another life, are nil.
func (r *wrun) beginBatch(batch []*workqueue.Delivery) []*wdelivery {
	list := make([]*wdelivery, len(batch))
	for i, d := range batch {
		if r.late(d) {
			continue
		}
		if h := r.begin(d); h != nil {
			list[i], r.ends[h] = h, "" // it may end in any way until it has
		}
	}
	return list
}
