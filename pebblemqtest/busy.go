package pebblemqtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/worker"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// work is what an object has to do.
type work struct {
	object string
	parts  []string
}

// add notes n of something.
func (w *work) add(n uint64, what string) {
	if n > 0 {
		w.parts = append(w.parts, fmt.Sprintf("%d %s", n, what))
	}
}

func (w *work) String() string { return w.object + ": " + strings.Join(w.parts, ", ") }

// lookAt returns the objects of a store that have work, in words.
func lookAt(ctx context.Context, db *pebblemq.DB) (busy []string, err error) {
	d, err := db.Describe(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range d.Objects {
		var w *work
		switch info := o.Info.(type) {
		case workqueue.QueueInfo:
			w, err = workOfQueue(ctx, db, o.Parent, info)
		case visibility.QueueInfo:
			w, err = workOfVisibility(ctx, db, d, info)
		case log.GroupInfo:
			w = &work{object: fmt.Sprintf("group %q of topic %q", info.Name, o.Parent)}
			if info.Lag > 0 {
				w.add(uint64(info.Lag), fmt.Sprintf("unfinished records, with %d members", len(info.Members)))
			}
		case idempotency.NamespaceInfo:
			w = &work{object: fmt.Sprintf("namespace %q", info.Name)}
			w.add(uint64(info.InProgress), "handlers that run")
		default:
			continue
		}
		switch {
		case err == nil && len(w.parts) > 0:
			busy = append(busy, w.String())
		case err != nil && !isGone(err):
			return nil, err
		}
	}
	return busy, nil
}

// isGone reports that an object was deleted since it was listed.
func isGone(err error) bool {
	return errors.Is(err, pebblemq.ErrNotFound) || errors.Is(err, pebblemq.ErrDeleted)
}

// workOfQueue looks at a work queue.
func workOfQueue(ctx context.Context, db *pebblemq.DB, broker string, info workqueue.QueueInfo) (*work, error) {
	w := &work{object: fmt.Sprintf("work queue %q of broker %q", info.Name, broker)}
	st := info.Stats
	w.add(st.Unacked, "unacknowledged")
	if n := st.Stuck.Total(); n > 0 {
		w.add(n, "of them dead letters without a place to go")
	}
	if st.Ready == 0 && st.Delayed == 0 {
		return w, nil
	}
	b, err := workqueue.LookupBroker(ctx, db, broker)
	if err != nil {
		return w, err
	}
	q, err := b.Queue(ctx, info.Name)
	if errors.Is(err, workqueue.ErrInUse) { // exclusive: its messages cannot be looked at
		w.add(st.Ready, "ready")
		return w, nil
	}
	if err != nil {
		return w, err
	}
	alive := st.Ready > 0
	if alive && st.Consumers == 0 {
		alive, err = anyOf(q.Browse(ctx, &workqueue.BrowseOptions{State: workqueue.Ready}), func(m *workqueue.Browsed) bool {
			return len(m.Deaths) == 0
		})
		if err == nil && !alive { // a consumer may have come and taken them, which is no change of the store
			st, err = q.Stats(ctx)
			w.add(st.Unacked, "unacknowledged")
			alive = st.Consumers > 0 && st.Ready > 0
		}
	}
	if alive {
		w.add(st.Ready, fmt.Sprintf("ready, with %d consumers%s", st.Consumers, paused(st.Paused)))
	}
	if err != nil {
		return w, err
	}
	redrives, err := q.Redrives(ctx)
	for _, r := range redrives {
		w.redrive(r.Info().State == workqueue.RedriveRunning)
	}
	if err == nil && st.Delayed > 0 {
		err = w.due(anyOf(q.Browse(ctx, &workqueue.BrowseOptions{State: workqueue.Delayed}), func(m *workqueue.Browsed) bool {
			return m.DeliveryCount > 0 || isDue(db, m.Due)
		}))
	}
	return w, err
}

func paused(is bool) string {
	if is {
		return ", paused"
	}
	return ""
}

// redrive notes a redrive that runs.
func (w *work) redrive(runs bool) {
	if runs {
		w.parts = append(w.parts, "a redrive runs")
	}
}

// due notes delayed messages that are due and not ready yet, or wait for their next attempt.
func (w *work) due(any bool, err error) error {
	if any {
		w.parts = append(w.parts, "delayed messages are due or wait for their next attempt")
	}
	return err
}

func isDue(db *pebblemq.DB, at time.Time) bool { return !at.After(bridge.Store(db).Now()) }

// anyOf reports whether a condition holds for any message. One that cannot be read counts: it
// is neither delivered nor gone.
func anyOf[M any](messages func(func(*M, error) bool), holds func(*M) bool) (bool, error) {
	for m, err := range messages {
		switch {
		case errors.Is(err, pebblemq.ErrCorrupt):
			return true, nil
		case err != nil:
			return false, err
		case holds(m):
			return true, nil
		}
	}
	return false, nil
}

// workOfVisibility looks at a visibility queue.
func workOfVisibility(ctx context.Context, db *pebblemq.DB, d pebblemq.Description, info visibility.QueueInfo) (*work, error) {
	w := &work{object: fmt.Sprintf("visibility queue %q", info.Name)}
	if !info.Open {
		return w, nil
	}
	st := info.Stats
	w.add(st.InFlight, "in flight")
	if !isDead(d, info) {
		w.add(st.Visible, "visible")
	}
	q, err := visibility.LookupQueue(ctx, db, info.Name)
	if err != nil {
		return w, err
	}
	if st.Delayed > 0 {
		err = w.due(anyOf(q.Browse(ctx, &visibility.BrowseOptions{State: visibility.Delayed}), func(m *visibility.Browsed) bool {
			return isDue(db, m.VisibleAt)
		}))
		if err != nil {
			return w, err
		}
	}
	redrives, err := q.Redrives(ctx)
	for _, r := range redrives {
		w.redrive(r.Info().State == visibility.RedriveRunning)
	}
	return w, err
}

// isDead reports whether a visibility queue is for dead letters.
func isDead(d pebblemq.Description, info visibility.QueueInfo) bool {
	if len(info.DeadLettersOf) > 0 {
		return true
	}
	owner, ok := strings.CutSuffix(info.Name, worker.DeadSuffix)
	return ok && slices.ContainsFunc(d.Objects, func(o pebblemq.Object) bool {
		other, ok := o.Info.(visibility.QueueInfo)
		return ok && other.Name == owner && other.Config.DeadLetterQueue == ""
	})
}
