package log_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// diary notes what happens, in which second.
type diary struct {
	begin time.Time
	mu    sync.Mutex
	list  []string
}

func newDiary() *diary { return &diary{begin: time.Now()} }

func (d *diary) note(what ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, fmt.Sprintf("%v: %s", time.Since(d.begin).Round(time.Second), fmt.Sprint(what...)))
}

// callback notes a notice of a Run with this name.
func (d *diary) callback(what string) func(context.Context, *log.Member, []int) {
	return func(ctx context.Context, m *log.Member, partitions []int) {
		d.note(what, " ", m.Group().Topic().Name(), partitions, " ", ctx.Err())
	}
}

func (d *diary) options(who string) *log.RunOptions {
	return &log.RunOptions{
		OnAssigned: d.callback(who + " has"), OnRevoked: d.callback(who + " gives"), OnLost: d.callback(who + " lost"),
	}
}

// runs begins Runs and ends them when the test does.
type runs struct {
	t     *testing.T
	group *log.Group
	wg    sync.WaitGroup
}

func (r *runs) start(h log.Handler, o *log.RunOptions) (end func()) {
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	r.wg.Go(func() { ended <- r.group.Run(running, h, o) })
	return sync.OnceFunc(func() {
		stop()
		require.NoError(r.t, <-ended)
	})
}

// onePerPartition returns a group of the topic orders, whose partitions have one record each.
func onePerPartition(t *testing.T, partitions int) *log.Group {
	_, topic := openTopic(t, partitions)
	for p := range partitions {
		_, err := topic.AppendWith(ctx, into(p), values(fmt.Sprint("v", p))...)
		require.NoError(t, err)
	}
	return openGroup(t, topic, "g")
}

func TestARunIsToldOfItsPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runs{t: t, group: onePerPartition(t, 2)}
		d := newDiary()
		end := r.start(func(_ context.Context, rec log.Record) error {
			d.note("handles ", string(rec.Value))
			return nil
		}, d.options("a"))
		<-time.After(time.Second)
		end()
		require.Equal(t, []string{"0s: a has orders[0 1] <nil>", "0s: handles v0", "0s: handles v1", "1s: a gives orders[0 1] <nil>"}, d.list)
	})
}

// The handlers of a partition return, then OnRevoked is called, then the next owner has it.
func TestOnRevokedOfARunFollowsItsHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runs{t: t, group: onePerPartition(t, 2)}
		d := newDiary()
		o := d.options("a")
		o.Concurrency, o.MaxInFlight = 2, 2
		endA := r.start(func(_ context.Context, rec log.Record) error {
			<-time.After(time.Duration(10+rec.Partition) * time.Second)
			d.note("a did ", string(rec.Value))
			return nil
		}, o)
		<-time.After(time.Second)
		endB := r.start(func(context.Context, log.Record) error {
			t.Error("nothing is handled twice")
			return nil
		}, d.options("b"))
		<-time.After(time.Minute)
		endA()
		endB()
		require.Equal(t, []string{
			"0s: a has orders[0 1] <nil>",
			"10s: a did v0", "11s: a did v1",
			"11s: a gives orders[1] <nil>", "11s: b has orders[1] <nil>",
			"1m1s: a gives orders[0] <nil>", "1m1s: b has orders[0] <nil>", "1m1s: b gives orders[1 0] <nil>",
		}, d.list)
	})
}

func TestARunIsToldOfAPartitionThatItsHandlersHoldTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runs{t: t, group: onePerPartition(t, 2)}
		d := newDiary()
		o := d.options("a")
		o.Concurrency, o.DrainTimeout = 2, 5*time.Second
		endA := r.start(func(ctx context.Context, rec log.Record) error {
			if rec.Partition == 0 {
				return nil
			}
			<-ctx.Done()
			d.note("a did not: ", errors.Is(context.Cause(ctx), log.ErrFenced))
			<-time.After(time.Second) // or it would have returned at the very moment when the partition is lost
			return ctx.Err()
		}, o)
		<-time.After(time.Second)
		endB := r.start(func(_ context.Context, rec log.Record) error {
			d.note("b did ", string(rec.Value))
			return nil
		}, nil)
		<-time.After(time.Minute)
		endB()
		endA()
		require.Contains(t, d.list, "6s: a lost orders[1] <nil>")
		require.Contains(t, d.list, "6s: a did not: true")
		require.Contains(t, d.list, "6s: b did v1")
		require.NotContains(t, d.list, "6s: a gives orders[1] <nil>")
	})
}

// A record that waits for another attempt takes the only place, so that nothing is polled.
func TestARunWithoutRoomIsToldAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runs{t: t, group: onePerPartition(t, 1)}
		d := newDiary()
		o := d.options("a")
		o.MaxInFlight, o.Backoff = 1, pebblemq.Backoff{Min: time.Hour, Max: time.Hour}
		endA := r.start(func(context.Context, log.Record) error { return errors.New("failed") }, o)
		<-time.After(time.Second)
		require.NoError(t, r.group.Topic().Alter(ctx, &log.TopicConfig{Partitions: 2}))
		<-time.After(time.Second)
		m := join(t, r.group)
		<-time.After(time.Second)
		require.Len(t, m.Partitions(), 1)
		require.NoError(t, m.Leave(ctx))
		<-time.After(time.Second)
		endA()
		require.Equal(t, []string{"0s: a has orders[0] <nil>", "1s: a has orders[1] <nil>", "2s: a gives orders[1] <nil>",
			"3s: a has orders[1] <nil>", "4s: a gives orders[0 1] <nil>"}, d.list)
	})
}

func TestACallbackOfARunThatFailsEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runs{t: t, group: onePerPartition(t, 1)}
		d := newDiary()
		end := r.start(func(context.Context, log.Record) error {
			d.note("handled")
			return nil
		}, &log.RunOptions{
			OnAssigned: func(context.Context, *log.Member, []int) { panic("no") },
			OnRevoked:  func(context.Context, *log.Member, []int) { runtime.Goexit() },
		})
		<-time.After(time.Second)
		end()
		require.Equal(t, []string{"0s: handled"}, d.list)
		require.Len(t, join(t, r.group).Partitions(), 1, "the partition was let go")
	})
}

// The context of a callback outlasts Run by the DrainTimeout.
func TestACallbackOfARunEndsWithTheDrainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runs{t: t, group: onePerPartition(t, 1)}
		d := newDiary()
		end := r.start(func(context.Context, log.Record) error { return nil }, &log.RunOptions{
			DrainTimeout: time.Minute,
			OnRevoked: func(ctx context.Context, _ *log.Member, _ []int) {
				<-ctx.Done()
				d.note(errors.Is(context.Cause(ctx), pebblemq.ErrDrainTimeout))
			},
		})
		<-time.After(time.Second)
		end()
		require.Equal(t, []string{"1m1s: true"}, d.list)
	})
}
