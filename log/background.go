package log

import (
	"context"

	"github.com/pebblemq/pebblemq/internal/store"
)

// background is work on a topic that nothing waits for: retention, tidying, a sweep of
// the index. One run of each is under way at a time.
type background struct {
	what    string // for the log
	running bool   // under the baton
	failed  string // the error of the last run, which is logged once
}

// start runs work, and then ended under the baton, unless ended is nil. The caller has
// seen that it is not running.
func (b *background) start(t *Topic, turn *store.Turn, work func(context.Context) error, ended func(*store.Turn)) {
	b.running = turn.Spawn(func(ctx context.Context) {
		err := work(ctx)
		if b.news(err) && t.inUse() {
			t.s.Log().Error(b.what, "topic", t.name, "error", err)
		}
		done := store.QuietFunc(func(turn *store.Turn) error {
			b.running = false
			if ended != nil {
				ended(turn)
			}
			return nil
		})
		_ = t.s.Do(store.WithDurability(ctx, store.NoSync), done, store.NoSync) // fails with the store only
	})
}

// news reports whether an error is another one than that of the run before.
func (b *background) news(err error) bool {
	before := b.failed
	b.failed = ""
	if err != nil {
		b.failed = err.Error()
	}
	return err != nil && b.failed != before
}

// inUse reports whether errors of background work are worth telling: the store is up
// and the topic was not deleted.
func (t *Topic) inUse() bool { return t.s.Cause() == nil && !t.gone.Load() }
