package log

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// Run joins the group and calls handler for each record of its partitions, in
// order within a partition, until ctx ends or something fails; it returns the
// reason. When handler returns nil the record is committed, so what is finished is
// not delivered again when the member leaves or loses the partition. When it
// returns an error, or panics, Run leaves the group and returns the error: that
// record is the next one its partition's new owner gets.
//
// Call Run from as many goroutines as there should be members. A handler that has
// lost its partition meanwhile is not interrupted, and its record goes to the new
// owner, too. To commit in one transaction with the handler's effects, use Join,
// Records and Member.In instead.
func (g *Group) Run(ctx context.Context, handler func(context.Context, Record) error) error {
	m, err := g.Join(ctx)
	if err != nil {
		return err
	}
	// What is finished is committed even if ctx has ended.
	settle := context.WithoutCancel(ctx)
	for r, e := range m.Records(ctx) {
		if err = e; err == nil {
			err = call(ctx, handler, r)
		}
		if err == nil {
			err = ignoreFenced(m.Commit(settle, r))
		}
		if err != nil {
			break
		}
	}
	if leaving := m.Leave(ctx); err == nil {
		err = leaving
	}
	return err
}

// ignoreFenced accepts that another member has the partition now.
func ignoreFenced(err error) error {
	if errors.Is(err, ErrFenced) {
		return nil
	}
	return err
}

// call turns a panic of the handler into an error.
func call(ctx context.Context, handler func(context.Context, Record) error, r Record) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("log: handler panicked at partition %d, offset %d: %v\n%s", r.Partition, r.Offset, p, debug.Stack())
		}
	}()
	return handler(ctx, r)
}
