package visibility

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// Hold keeps the lease on a message by a heartbeat.
func (s *source) Hold(calls context.Context, m *Received) (held context.Context, h worker.Holding) {
	held, lose := context.WithCancelCause(calls)
	beating := make(chan struct{})
	d, timeout := m.delivery, max(m.VisibleAt.Sub(s.q.s.Now()), MinRunVisibility) // before m is the handler's
	go func() {
		defer close(beating)
		unsynced := store.WithDurability(held, store.NoSync) // a crash may end a lease early anyway
		if err := s.q.beat(unsynced, d, timeout); err != nil {
			lose(err)
		}
	}()
	return held, worker.HoldingFunc(func() {
		lose(nil)
		<-beating
	})
}

// beat extends the lease on a message until ctx ends or the handler has settled the
// message. It returns an error if the lease is lost.
func (q *Queue) beat(ctx context.Context, d delivery, timeout time.Duration) error {
	every := time.NewTicker(timeout / 3)
	defer every.Stop()
	untilEnd := func() time.Duration { return time.Unix(0, d.born).Add(q.config().Retention).Sub(q.s.Now()) }
	end := time.NewTimer(untilEnd()) // at which it is gone
	defer end.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-q.s.Down():
			return nil // Run sees to it
		case <-every.C:
		case <-end.C:
			if left := untilEnd(); left > 0 { // else a disk that is full keeps it, until a later beat
				end.Reset(left)
			}
		}
		err := q.s.Do(ctx, &beatOp{changeOp{q: q, delivery: d, d: timeout}}, store.NoSync)
		switch {
		case err == nil || errors.Is(err, store.ErrDiskFull):
		case ctx.Err() != nil || errors.Is(err, errSettled):
			return nil
		default:
			return fmt.Errorf("%w: %w", ErrLeaseLost, err)
		}
	}
}

// beatOp is a changeOp that never shortens the timeout, which the handler may
// have set itself.
type beatOp struct{ changeOp }

// errSettled tells a message that the handler has settled from one that was
// taken from it.
var errSettled = errors.New("visibility: settled by the handler")

func (o *beatOp) Run(t *store.Turn) error {
	m, err := o.q.find(t, o.delivery)
	if err != nil {
		return err
	}
	if m == nil || m.Holder() == released {
		return errSettled
	}
	if m.Taken() {
		if o.d = max(min(o.d, o.left(t)), 1); m.Until >= queue.At(t.Now().Add(o.d)) {
			return nil
		}
	}
	return o.changeOp.Run(t)
}
