package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

var ctx = context.Background()

func TestVisibleComesInOrderAndAfterTheFsync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, gate, _ := gated(t, storetest.ClassWAL, storetest.OpSync)
		var h history
		require.NoError(t, s.Do(ctx, h.noting("nosync at once"), store.NoSync))
		require.Len(t, h, 1)

		gate.Shut()
		a := start(func() error { return s.Do(ctx, h.noting("a"), store.Sync) })
		synctest.Wait()
		require.NoError(t, s.Do(ctx, h.noting("b"), store.NoSync))
		c := start(func() error { return s.Do(ctx, h.noting("c"), store.Sync) })
		synctest.Wait()
		require.Len(t, h, 1, "nothing overtakes a pending fsync")
		pending(t, a, "a")
		pending(t, c, "c")
		require.Equal(t, "b", get(t, s, "b"), "reads of the kernel see what is accepted")

		gate.Open()
		require.NoError(t, <-a)
		require.NoError(t, <-c)
		require.Equal(t, history{"nosync at once", "a", "b", "c"}, h)
		require.NoError(t, s.Close())
	})
}

func TestAnswersToSyncCallersRestOnDurableChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, gate, _ := gated(t, storetest.ClassWAL, storetest.OpSync)
		refuse := &op{run: func(*store.Turn) error { return errRefused }}
		gate.Shut()
		a := start(func() error { return s.Do(ctx, set("a", "1"), store.Sync) })
		synctest.Wait()
		refusal := start(func() error { return s.Do(ctx, refuse, store.Sync) })
		read := start(func() error { return s.Do(ctx, &op{}, store.Sync) })
		view := start(func() error {
			v, err := s.Snapshot(ctx)
			if err == nil {
				v.Close()
			}
			return err
		})
		synctest.Wait()
		pending(t, refusal, "refusal")
		pending(t, read, "read")
		pending(t, view, "snapshot")
		require.ErrorIs(t, s.Do(ctx, refuse, store.NoSync), errRefused, "a NoSync caller has chosen not to wait")
		gate.Open()
		require.NoError(t, <-a)
		require.ErrorIs(t, <-refusal, errRefused)
		require.NoError(t, <-read)
		require.NoError(t, <-view)
		require.NoError(t, s.Close())
	})
}

func TestRefusedOpTakesBackItsKeys(t *testing.T) {
	s := openMem(t)
	look := func(t *store.Turn, name string) string {
		v, err := t.Get(key(name))
		if err != nil {
			return err.Error()
		}
		return string(v)
	}
	var h history
	bad := &op{run: func(t *store.Turn) error {
		h.add("bad sees %s", look(t, "k"))
		t.Set(key("k"), []byte("bad"))
		t.Set(key("k2"), []byte("bad"))
		h.add("bad sees %s", look(t, "k"))
		t.DeleteRange(key("a"), key("z"))
		h.add("bad sees %q %q", look(t, "k"), look(t, "old"))
		return errRefused
	}}
	after := &op{run: func(t *store.Turn) error {
		h.add("after sees %q %q %q", look(t, "k"), look(t, "k2"), look(t, "old"))
		t.Set(key("k2"), []byte("after"))
		return nil
	}}
	// Posting puts them all in one group.
	good := &op{run: func(t *store.Turn) error {
		t.Set(key("k"), []byte("good"))
		t.Post(bad, store.Sync)
		t.Post(after, store.Sync)
		return nil
	}}
	require.NoError(t, s.Do(ctx, set("old", "1"), store.Sync))
	require.NoError(t, s.Do(ctx, good, store.Sync))
	require.Equal(t, history{"bad sees good", "bad sees bad", `bad sees "" ""`, `after sees "good" "" "1"`}, h)
	require.Equal(t, map[string]string{"k": "good", "k2": "after", "old": "1"}, keys(t, s))
}

func TestOneRefusalLeavesTheOthersOfItsGroup(t *testing.T) {
	s := openMem(t)
	done := make([]chan error, 300)
	for i := range done {
		o := set(fmt.Sprint(i), "x")
		if i%3 == 0 {
			run := o.run
			o.run = func(t *store.Turn) error { return errors.Join(run(t), errRefused) }
		}
		done[i] = start(func() error { return s.Do(ctx, o, store.Sync) })
	}
	for i := range done {
		if err := <-done[i]; i%3 == 0 {
			require.ErrorIs(t, err, errRefused)
		} else {
			require.NoError(t, err)
		}
	}
	require.Len(t, keys(t, s), 200)
	require.EqualValues(t, 100, s.Stats().Refused)
}

func TestTransactionIsUndoneInReverse(t *testing.T) {
	s := openMem(t)
	var h history
	step := func(name string, err error) *op {
		return &op{
			name: name,
			run: func(t *store.Turn) error {
				t.Set(key(name), nil)
				if err == nil {
					h.add("run %s", name)
				}
				return err
			},
			undo:    func() { h.add("undo %s", name) },
			visible: func(*store.Turn) { h.add("show %s", name) },
		}
	}
	run := func(ops ...*op) error {
		tx, err := s.Begin(ctx)
		require.NoError(t, err)
		defer tx.End()
		for _, o := range ops {
			require.NoError(t, tx.Add(o, 10))
		}
		return tx.Commit()
	}
	err := run(step("one", nil), step("two", nil), step("three", errRefused), step("four", nil))
	require.ErrorIs(t, err, errRefused)
	require.ErrorContains(t, err, "operation 3 of the transaction (three)")
	require.Equal(t, history{"run one", "run two", "undo two", "undo one"}, h)
	require.Empty(t, keys(t, s))

	h = nil
	require.NoError(t, run(step("one", nil), step("two", nil)))
	require.Equal(t, history{"run one", "run two", "show one", "show two"}, h)
	require.Len(t, keys(t, s), 2)
}

// counter is a Sealer that counts.
type counter struct {
	store.Sealed
	n     int
	seals int
}

func (c *counter) Seal(t *store.Turn) {
	c.seals++
	t.Set(key("counter"), fmt.Append(nil, c.n))
}

func (c *counter) bump(err error) *op {
	return &op{
		run: func(t *store.Turn) error {
			t.Touch(c)
			if err == nil {
				c.n++
			}
			return err
		},
		undo: func() { c.n-- },
	}
}

func TestSealIsCalledOnceAGroup(t *testing.T) {
	s := openMem(t)
	c := &counter{}
	many := &op{run: func(t *store.Turn) error {
		for range 10 {
			t.Post(c.bump(nil), store.NoSync)
		}
		return nil
	}}
	require.NoError(t, s.Do(ctx, many, store.NoSync))
	require.NoError(t, s.Do(ctx, c.bump(nil), store.Sync))
	require.Equal(t, "11", get(t, s, "counter"))
	require.LessOrEqual(t, c.seals, 2)
}

func TestRefusedTouchIsTakenBack(t *testing.T) {
	s := openMem(t)
	c := &counter{}
	posting := func(ops ...*op) *op {
		return &op{run: func(t *store.Turn) error {
			t.Set(key("x"), nil)
			for _, o := range ops {
				t.Post(o, store.NoSync)
			}
			return nil
		}}
	}
	require.NoError(t, s.Do(ctx, posting(c.bump(errRefused)), store.Sync))
	keys(t, s) // everything is applied
	require.Zero(t, c.seals, "nothing has changed")
	require.NoError(t, s.Do(ctx, posting(c.bump(errRefused), c.bump(nil), c.bump(errRefused)), store.Sync))
	require.Equal(t, "1", keys(t, s)["counter"])
	require.Equal(t, 1, c.seals)
}

func TestPostsRunBeforeTheNextOpAndAfterVisible(t *testing.T) {
	s := openMem(t)
	var h history
	follow := h.noting("posted by visible")
	o := h.noting("op")
	visible := o.visible
	o.visible = func(t *store.Turn) {
		visible(t)
		t.Post(follow, store.NoSync)
	}
	run := o.run
	o.run = func(t *store.Turn) error {
		deeper := h.noting("posted by a post")
		post := h.noting("posted by run")
		postRun := post.run
		post.run = func(t *store.Turn) error {
			t.Post(deeper, store.NoSync)
			return postRun(t)
		}
		t.Post(post, store.NoSync)
		return run(t)
	}
	require.NoError(t, s.Do(ctx, o, store.NoSync))
	require.Equal(t, history{"op", "posted by run", "posted by visible", "posted by a post"}, h)
	require.Len(t, keys(t, s), 4)

	refused := &op{run: func(t *store.Turn) error {
		t.Post(h.noting("posted by a refused op"), store.NoSync)
		return errRefused
	}}
	require.ErrorIs(t, s.Do(ctx, refused, store.Sync), errRefused)
	require.Len(t, keys(t, s), 4)
}

func TestOpsThatWriteNothingHoldNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := store.OpenMemory(store.Options{})
		require.NoError(t, err)
		for range 3 {
			require.NoError(t, s.Do(ctx, &op{}, store.Sync))
			limited, cancel := context.WithTimeout(ctx, time.Hour)
			it, err := s.Iter(limited, nil, nil)
			require.NoError(t, err)
			require.NoError(t, it.Close())
			v, err := s.Snapshot(limited)
			require.NoError(t, err)
			v.Close()
			cancel()
		}
		require.NoError(t, s.Close())
	})
}

func TestGoCallsDoneOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, gate, _ := gated(t, storetest.ClassWAL, storetest.OpSync)
		results := make(chan error, 10)
		done := func(err error) { results <- err }
		refuse := &op{run: func(*store.Turn) error { return errRefused }}

		require.NoError(t, s.Go(ctx, set("a", "1"), store.NoSync, done))
		require.NoError(t, <-results)
		require.NoError(t, s.Go(ctx, refuse, store.NoSync, done))
		require.ErrorIs(t, <-results, errRefused)

		gate.Shut()
		require.NoError(t, s.Go(ctx, set("b", "1"), store.Sync, done))
		require.NoError(t, s.Go(ctx, refuse, store.Sync, done))
		synctest.Wait()
		require.Empty(t, results, "neither the change nor the refusal is certain yet")
		gate.Open()
		require.NoError(t, <-results)
		require.ErrorIs(t, <-results, errRefused)

		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		require.ErrorIs(t, s.Go(cancelled, set("c", "1"), store.Sync, done), context.Canceled)
		require.NoError(t, s.Close())
		require.ErrorIs(t, s.Go(ctx, set("c", "1"), store.Sync, done), store.ErrClosed)
		synctest.Wait()
		require.Empty(t, results)
	})
}

func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, gate, _ := gated(t, storetest.ClassWAL, "")
		gate.Shut()
		big := func(i int) *op {
			return set(fmt.Sprint(i), string(make([]byte, 8<<10)))
		}
		var accepted int
		var waiting chan error
		for i := 0; ; i++ {
			done := start(func() error { return s.Do(ctx, big(i), store.NoSync) })
			synctest.Wait()
			if len(done) == 0 {
				waiting = done
				break
			}
			require.NoError(t, <-done)
			accepted++
			require.Less(t, accepted, 1000, "the open group has no bound")
		}
		limited, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		require.ErrorIs(t, s.Do(limited, big(-1), store.Sync), context.DeadlineExceeded)

		gate.Open()
		require.NoError(t, <-waiting)
		require.Len(t, keys(t, s), accepted+1)
		require.Empty(t, get(t, s, "-1"), "a call cancelled while waiting for room has no effect")
		require.NoError(t, s.Close())
	})
}

func TestCancelledWhileTheDiskIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, gate, _ := gated(t, storetest.ClassWAL, storetest.OpSync)
		gate.Shut()
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		begin := time.Now()
		err := s.Do(limited, set("a", "1"), store.Sync)
		require.ErrorIs(t, err, store.ErrUnknownOutcome)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Minute+time.Second, time.Since(begin))

		slow := start(func() error { return s.Do(limited, set("b", "1"), store.Sync) })
		require.ErrorIs(t, <-slow, context.DeadlineExceeded)
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		slow = start(func() error { return s.Do(short, set("c", "1"), store.Sync) })
		<-time.After(1500 * time.Millisecond)
		gate.Open()
		require.NoError(t, <-slow, "an outcome known within the grace is returned")
		require.NoError(t, s.Close())
	})
}

func TestLoneNoSyncWriteIsSyncedWithinTheInterval(t *testing.T) {
	for _, interval := range []time.Duration{0, time.Millisecond, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			o := small(storetest.NewFS(mem))
			o.SyncInterval = interval
			if interval == 0 {
				interval = store.DefaultSyncInterval
			}
			s := openStore(t, o)
			for i := range 3 {
				require.NoError(t, s.Do(ctx, set(fmt.Sprint(i), "x"), store.NoSync))
				synctest.Wait()
				require.Len(t, survivors(t, mem), i, "not synced at once")
				<-time.After(interval)
				synctest.Wait()
				require.Len(t, survivors(t, mem), i+1)
			}
			syncs := s.Stats().Syncs
			<-time.After(time.Hour)
			require.Equal(t, syncs, s.Stats().Syncs, "an idle store does nothing")
			require.NoError(t, s.Close())
		})
	}
}

// survivors returns the application keys that a crash now would leave.
func survivors(t *testing.T, mem *vfs.MemFS) map[string]string {
	t.Helper()
	s := openStore(t, small(mem.CrashClone(vfs.CrashCloneCfg{})))
	defer func() { require.NoError(t, s.Close()) }()
	return keys(t, s)
}

func TestWhichDurabilityCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			store, verb, call store.Durability
			sync              bool
		}{
			{sync: true},
			{store: store.NoSync, sync: false},
			{store: store.NoSync, verb: store.Sync, sync: true},
			{verb: store.NoSync, sync: false},
			{verb: store.NoSync, call: store.Sync, sync: true},
			{verb: store.Sync, call: store.NoSync, sync: false},
			{verb: store.NoSync, call: store.Default, sync: false},
		} {
			mem := vfs.NewCrashableMem()
			o := small(mem)
			o.Durability = c.store
			s := openStore(t, o)
			require.NoError(t, s.Do(store.WithDurability(ctx, c.call), set("a", "1"), c.verb))
			require.Equal(t, c.sync, len(survivors(t, mem)) == 1, "%+v", c)
			require.NoError(t, s.Close())
		}
	})
}

func TestForceSync(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := openStore(t, small(mem))
	o := &op{run: func(t *store.Turn) error {
		t.Set(key("a"), nil)
		t.ForceSync()
		return nil
	}}
	require.NoError(t, s.Do(ctx, o, store.NoSync))
	require.Len(t, survivors(t, mem), 1)
	require.NoError(t, s.Close())
}

// TestLateSealsComeWithTheNextSync: what changes back before costs nothing.
func TestLateSealsComeWithTheNextSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := store.OpenMemory(store.Options{})
		require.NoError(t, err)
		defer s.Close()
		c := &counter{}
		late := &op{run: func(t *store.Turn) error {
			t.TouchLate(c)
			c.n++
			return nil
		}}
		seals := func() (n int) {
			require.NoError(t, s.Do(ctx, store.OpFunc(func(*store.Turn) error { n = c.seals; return nil }), store.NoSync))
			return n
		}
		for range 3 {
			require.NoError(t, s.Do(ctx, late, store.NoSync))
			keys(t, s) // everything is applied
		}
		require.Zero(t, seals())
		<-time.After(time.Second) // the sync interval
		synctest.Wait()
		require.Equal(t, "3", keys(t, s)["counter"])
		require.Equal(t, 1, seals())

		require.NoError(t, s.Do(ctx, late, store.NoSync))
		require.NoError(t, s.Do(ctx, set("x", "y"), store.Sync))
		require.Equal(t, "4", keys(t, s)["counter"])
		require.Equal(t, 2, seals())
	})
}

func TestLateSealsAreInTheLastGroup(t *testing.T) {
	fs := vfs.NewMem()
	s, err := store.Open(store.Options{FS: fs, Dir: "data", SyncInterval: time.Minute})
	require.NoError(t, err)
	c := &counter{n: 7}
	require.NoError(t, s.Do(ctx, &op{run: func(t *store.Turn) error { t.TouchLate(c); return nil }}, store.NoSync))
	require.NoError(t, s.Close())
	s, err = store.Open(store.Options{FS: fs, Dir: "data"})
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, "7", keys(t, s)["counter"])
}

func TestDeleteSingleIsSeenInTheGroupAndAfterIt(t *testing.T) {
	s := openMem(t)
	require.NoError(t, s.Do(ctx, &op{run: func(t *store.Turn) error {
		t.Set(key("a"), []byte("1"))
		t.DeleteSingle(key("a"))
		v, err := t.Get(key("a"))
		if v != nil || err != nil {
			return fmt.Errorf("got %q, %w", v, err)
		}
		t.Set(key("b"), []byte("2"))
		return nil
	}}, store.Sync))
	require.NoError(t, s.Do(ctx, &op{run: func(t *store.Turn) error { t.DeleteSingle(key("b")); return nil }}, store.Sync))
	require.Empty(t, keys(t, s))
}
