package queue

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// keysOf returns how many keys of a kind there are, and the bytes of their values.
func (f *feed) keysOf(k store.Kind) (n, bytes int) {
	f.t.Helper()
	lo, hi := store.Span(k, 1)
	it, err := f.s.Iter(ctx, lo, hi)
	require.NoError(f.t, err)
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		require.NoError(f.t, err)
		n, bytes = n+1, bytes+len(v)
	}
	require.NoError(f.t, it.Close())
	return n, bytes
}

func (f *feed) sync() {
	f.t.Helper()
	require.NoError(f.t, f.s.Do(ctx, store.OpFunc(func(t *store.Turn) error { t.Touch(f.q); return nil }), store.Sync))
}

// group has n messages put into one segment.
func (f *feed) group(n, size int) {
	f.t.Helper()
	var put []*Message
	require.NoError(f.t, f.s.Do(ctx, &together{run: func(t *store.Turn) {
		for range n {
			put = append(put, f.q.Put(t, Content{Data: make([]byte, size)}))
		}
	}, visible: func(t *store.Turn) {
		for _, m := range put {
			f.q.Show(t, m)
		}
	}}, store.Sync))
}

// together is an Op of two functions.
type together struct{ run, visible func(*store.Turn) }

func (o *together) Run(t *store.Turn) error { o.run(t); return nil }
func (o *together) Undo()                   {}
func (o *together) Visible(t *store.Turn)   { o.visible(t) }

func TestAGroupIsOneKey(t *testing.T) {
	f := newFeed(t, vfs.NewMem())
	defer func() { require.NoError(t, f.s.Close()) }()
	f.group(100, 100)
	n, bytes := f.keysOf(layout.Segment)
	require.Equal(t, 1, n)
	require.Less(t, bytes, 100*(100+5))
	f.group(1000, 100)
	n, _ = f.keysOf(layout.Segment)
	require.Equal(t, 3, n, "at most 512 messages each")
	f.group(3, segmentBytes)
	n, _ = f.keysOf(layout.Segment)
	require.Equal(t, 6, n, "at most 64 KiB each, or one message")
}

func TestASettledSegmentLeavesNothing(t *testing.T) {
	f := newFeed(t, vfs.NewMem())
	defer func() { require.NoError(t, f.s.Close()) }()
	f.group(100, 100)
	for range 100 {
		f.settle(f.take())
	}
	f.sync()
	for _, k := range []store.Kind{layout.Segment, layout.State} {
		n, _ := f.keysOf(k)
		require.Zero(t, n)
	}
	require.Empty(t, f.q.order.known.all())
}

func TestASparseSegmentIsWrittenAnew(t *testing.T) {
	fs := vfs.NewMem()
	f := newFeed(t, fs)
	f.group(400, 100)
	f.group(1, 100)
	var left []*Message
	for i := range 400 {
		if m := f.take(); i%100 == 7 {
			left = append(left, m)
		} else {
			f.settle(m)
		}
	}
	f.sync()
	_, bytes := f.keysOf(layout.Segment)
	require.Less(t, bytes, 6*(100+10)+2*segmentHeadLen)
	for _, m := range left {
		require.NoError(t, f.s.Do(ctx, &returnOp{q: f.q, m: m}, store.Sync))
	}
	require.NoError(t, f.s.Close())

	f = newFeed(t, fs)
	for i := range 4 {
		m := f.take()
		require.EqualValues(t, 7+100*i, m.Seq)
		require.EqualValues(t, 2, m.Count)
		f.settle(m)
	}
	f.sync()
	n, _ := f.keysOf(layout.Segment)
	require.Equal(t, 1, n, "the other one")
	require.NoError(t, f.s.Close())
}

// A settlement NoSync may be taken by a crash. Whether it was or not, the counters are those of
// what is there.
func TestWhatIsSettledLaterIsCountedAsTheDiskHasIt(t *testing.T) {
	for _, c := range []struct {
		name   string
		synced bool
		ready  uint64
		first  uint64
	}{{"taken by the crash", false, 10, 0}, {"synced", true, 7, 4}} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			f := newFeedWith(t, store.Options{FS: fs, SyncInterval: store.MaxSyncInterval})
			f.group(10, 100)
			for range 4 {
				f.settle(f.take())
			}
			f.do(func(t *store.Turn) { t.Touch(f.q) })
			n, _ := f.keysOf(layout.State)
			require.Zero(t, n, "nothing is written before the next synced group")
			require.EqualValues(t, 6, f.stats().Ready)
			if c.synced {
				f.group(1, 1)
			}
			clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
			require.NoError(t, f.s.Close())
			f = newFeed(t, clone)
			require.Equal(t, c.ready, f.stats().Ready)
			require.Equal(t, c.first, f.take().Seq)
			require.NoError(t, f.s.Close())
		})
	}
}

// A load begins when a message is settled and the disk does not know it yet. When the load ends, the
// segment of the message is deleted.
func TestALoadDoesNotBringBackWhatWasDeletedMeanwhile(t *testing.T) {
	fs := vfs.NewMem()
	f := newFeed(t, fs)
	f.group(1, 100)
	require.NoError(t, f.s.Close())
	f = newFeed(t, fs)
	q := f.q
	f.do(func(t *store.Turn) {
		m, err := q.Lookup(t, 0)
		require.NoError(f.t, err)
		q.SettleLater(t, m)
		q.Settled(t, m)
	})
	var p plan
	f.do(func(t *store.Turn) {
		p = plan{to: q.shown, messages: 10, bytes: chunkBytes, now: t.Now(), pass: store.IsDamage}
		q.loader.plan, q.loader.loading = p, true
	})
	c := chunk{through: p.to}
	require.NoError(t, q.loader.readEntries(ctx, p, &c))
	require.Len(t, c.messages, 1, "the disk does not know that it is gone")
	f.sync()
	f.do(func(*store.Turn) { require.NoError(t, sound(q)) })
	require.NoError(t, f.s.Do(ctx, &install{q: q, c: &c}, store.NoSync))
	f.do(func(turn *store.Turn) {
		require.Nil(t, q.Take(turn, time.Time{}))
		require.Zero(t, q.Stats())
		require.NoError(t, sound(q))
	})
	require.NoError(t, f.s.Close())
}

// A browse has read messages that are settled before it says what has become of them.
func TestABrowseDoesNotShowWhatWasSettledMeanwhile(t *testing.T) {
	for settled, left := range map[int][]uint64{1: {1, 2}, 3: nil} {
		fs := vfs.NewMem()
		f := newFeed(t, fs)
		f.group(3, 100)
		require.NoError(t, f.s.Close())
		f = newFeed(t, fs)
		q, c, now := f.q, chunk{through: 3}, f.q.newRevision()
		require.NoError(t, q.loader.readEntries(ctx, plan{to: 3, messages: 10, bytes: chunkBytes, pass: store.IsDamage}, &c))
		require.Len(t, c.messages, 3)
		f.do(func(t *store.Turn) {
			for seq := range settled {
				m, err := q.Lookup(t, uint64(seq))
				require.NoError(f.t, err)
				q.Settle(t, m)
				q.Settled(t, m)
			}
		})
		f.sync()
		f.do(func(turn *store.Turn) {
			require.Empty(t, q.order.known.all())
			var seen []uint64
			for _, l := range c.messages {
				if s, here := now.inspect(turn, l); here {
					seen = append(seen, s.Seq)
				}
			}
			require.Equal(t, left, seen)
		})
		require.NoError(t, f.s.Close())
	}
}
