package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// startWorkers runs the workers until ctx ends. The function that it returns
// waits for them and returns what went wrong.
func (a *app) startWorkers(ctx context.Context) (wait func() error) {
	workers := []func() error{
		func() error { return a.queues[jobs].Run(ctx, a.work, &workqueue.RunOptions{Concurrency: 4}) },
		func() error { return a.queues[notices].Run(ctx, a.notify, nil) },
		func() error { return a.slow.Run(ctx, a.workSlowly, &visibility.RunOptions{Concurrency: 2}) },
	}
	errs := make([]error, len(workers))
	var wg sync.WaitGroup
	for i, work := range workers {
		wg.Go(func() { errs[i] = work() })
	}
	return func() error {
		wg.Wait()
		return errors.Join(errs...)
	}
}

// work does one job. Its effect and the acknowledgement are one commit, so that a job that is
// delivered twice is done once. A slow job is handed on to the visibility queue in the same
// way.
func (a *app) work(ctx context.Context, d *workqueue.Delivery) error {
	var j job
	if err := json.Unmarshal(d.Body, &j); err != nil {
		return err
	}
	return a.db.Update(ctx, func(tx *pebblemq.Tx) error {
		if err := a.broker.In(tx).Ack(d); err != nil {
			return err
		}
		if slow(j.Event) {
			_, err := a.slow.In(tx).Send(visibility.Message{ID: j.Delivery, Body: d.Body})
			return err
		}
		return done(tx, j)
	})
}

// notify stands for a mail or a chat message about something new.
func (a *app) notify(ctx context.Context, d *workqueue.Delivery) error {
	return a.db.Update(ctx, func(tx *pebblemq.Tx) error {
		return errors.Join(a.broker.In(tx).Ack(d), count(tx, "notices"))
	})
}

// errBroken is how a job fails that always will.
var errBroken = errors.New("the environment does not answer")

// workSlowly does one slow job, or fails.
func (a *app) workSlowly(ctx context.Context, m *visibility.Received) error {
	var j job
	if err := json.Unmarshal(m.Body, &j); err != nil {
		return err
	}
	if j.Event == broken {
		return errBroken
	}
	return a.db.Update(ctx, func(tx *pebblemq.Tx) error {
		return errors.Join(a.slow.In(tx).Delete(m.Receipt), done(tx, j))
	})
}

// done books a job. That it is booked already would be a mistake, which the
// audit would find.
func done(tx *pebblemq.Tx, j job) error {
	key := []byte("done/" + j.Delivery)
	v, err := tx.Get(key)
	if err != nil {
		return err
	}
	if v != nil {
		return count(tx, "done twice")
	}
	return tx.Set(key, []byte(j.Event))
}

// drain waits until all queues but the dead letters are empty.
func (a *app) drain(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		left, err := a.left(ctx)
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d jobs left: %w", left, ctx.Err())
		}
	}
}

// left counts the jobs that are not done. The queues are looked at in the order
// in which jobs pass through them, so that none slips by.
func (a *app) left(ctx context.Context) (n uint64, err error) {
	for _, queue := range []string{jobs, notices} {
		st, err := a.queues[queue].Stats(ctx)
		if err != nil {
			return 0, err
		}
		n += st.Ready + st.Unacked + st.Delayed
	}
	st, err := a.slow.Stats(ctx)
	return n + st.Visible + st.InFlight + st.Delayed, err
}
