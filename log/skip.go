package log

import (
	"context"
	"errors"

	"github.com/pebblemq/pebblemq/internal/store"
)

// skipTrimmed passes over records that were trimmed before the group has read them, if its
// config says so: then moved is true. Otherwise it returns why, which is err.
func (o *owned) skipTrimmed(ctx context.Context, why error) (moved bool, err error) {
	op := &skipOp{t: o.t, from: o.r.next, reset: Reset(o.t.claim.g.reset.Load())}
	if op.reset == None || op.from >= o.t.claim.p.start.Load() {
		return false, why
	}
	if err := o.t.claim.g.topic.s.Do(unsynced(ctx), op, store.NoSync); err != nil {
		if errors.Is(err, ErrFenced) {
			return false, nil // the partition is lost or moved, or about to be, and the member will hear of it
		}
		return false, err
	}
	o.r.moveTo(op.to)
	return true, nil
}

// skipOp finishes the records that were trimmed, counts them and tells of it. Those that
// the receiver has are left to it.
type skipOp struct {
	t        *tenure
	from, to uint64
	reset    Reset
}

func (o *skipOp) Frees()              {}
func (o *skipOp) Undo()               {}
func (o *skipOp) Visible(*store.Turn) {}

func (o *skipOp) Run(t *store.Turn) error {
	c := o.t.claim
	if err := c.g.alive(); err != nil {
		return err
	}
	if c.tenure != o.t {
		return c.fenced(o.t)
	}
	o.to = c.p.after(o.reset)
	n := c.done.left(o.from, o.to)
	c.done = c.done.finish([]span{{o.from, o.to}})
	c.skipped += n
	t.Touch(c)
	c.g.topic.s.Log().Warn("records were trimmed before the group has read them", "topic", c.g.topic.name, "group", c.g.name,
		"partition", c.p.index, "from", o.from, "to", o.to, "skipped", n)
	return nil
}
