package queue

import (
	"errors"
	"fmt"
	"hash/crc64"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// flaky is a lane on a disk whose reads of tables fail at times, and what it must hold.
type flaky struct {
	t      *testing.T
	o      Options
	rng    *rand.Rand
	fs     *storetest.FS
	s      *store.Store
	q      *Lane
	puts   int
	opened int
	hook   storetest.Hook
	owed   map[string]bool // is there
	out    []*Message
}

func (f *flaky) open() {
	var err error
	f.s, err = store.Open(store.Options{FS: f.fs, Dir: "data", NoCompactions: true})
	require.NoError(f.t, err)
	f.q, err = openLane(ctx, crowded(f.s), layout, 1, f.o)
	require.NoError(f.t, err)
	if f.q.groups != nil {
		f.q.groups.room = room{3, 8, 1 << 10, 5, paceMessages, lookAhead}
	}
	f.q.leanFrom = 5
	f.opened++
	f.out = nil
	if f.rng.IntN(2) == 0 {
		f.fail(true) // before anything is loaded
	}
	under(f.t, f.s, store.NoSync, f.q.Start)
}

// reopen has all that is there in tables, and nothing in memory.
func (f *flaky) reopen() {
	for range 2 {
		f.fail(false)
		require.NoError(f.t, f.s.Close())
		f.open()
	}
}

func (f *flaky) fail(on bool) {
	if !on {
		f.hook = nil
		f.fs.SetReadHook(nil)
		return
	}
	part := f.rng.IntN(3)        // of the reads
	blocks := f.rng.IntN(2) == 0 // the first block of some tables, for as long as it lasts
	salt := f.rng.Uint64()       // says of which
	var reads atomic.Uint64      // the engine reads from several goroutines
	f.hook = func(c storetest.Call) error {
		name := crc64.Checksum([]byte(c.Name), crc64.MakeTable(crc64.ECMA))
		nth := rand.New(rand.NewPCG(salt, reads.Add(1)))
		switch {
		case c.Class != storetest.ClassTable:
			return nil
		case blocks && (c.At > 0 || (name^salt)%2 == 0):
			return nil
		case blocks || part == 0 || nth.IntN(part+1) > 0:
			return syscall.EIO
		}
		return nil
	}
	f.fs.SetReadHook(f.hook)
}

func (f *flaky) data() []byte {
	f.puts++
	return fmt.Appendf(nil, "g%d %s %d", f.rng.IntN(4), strings.Repeat("x", f.rng.IntN(500)), f.puts)
}

func (f *flaky) take() {
	under(f.t, f.s, store.NoSync, func(t *store.Turn) {
		f.q.NextRound(t)
		for range f.rng.IntN(10) {
			m := f.q.Take(t, time.Now().Add(time.Minute))
			if m == nil {
				return
			}
			require.True(f.t, f.owed[string(m.Data)], "%q comes twice, or after its end", m.Data)
			f.out = append(f.out, m)
			if f.q.groups == nil {
				f.q.Lean(m, func([]byte) uint32 { return 0 })
			}
		}
	})
}

// done gives one of those that are out back, or settles it.
func (f *flaky) done() {
	if len(f.out) == 0 {
		return
	}
	i := f.rng.IntN(len(f.out))
	m := f.out[i]
	f.out = append(f.out[:i], f.out[i+1:]...)
	if f.rng.IntN(3) == 0 {
		require.NoError(f.t, f.s.Do(ctx, &returnOp{q: f.q, m: m}, store.NoSync))
		return
	}
	data := m.Data
	if m.lean > 0 { // the reader of the test is not the lane
		r, err := newReader(ctx, f.q, m.Seq, store.IsDamage)
		if err == nil {
			var l loadedMessage
			if l, err = r.read(m.Seq); err == nil {
				err = l.err
			}
			data, err = l.Data, errors.Join(err, r.close())
		}
		if err != nil {
			f.out = append(f.out, m)
			return
		}
	}
	delete(f.owed, string(data))
	require.NoError(f.t, f.s.Do(ctx, &settleOp{f.q, m}, store.NoSync))
}

func (f *flaky) step() {
	switch n := f.rng.IntN(100); {
	case n < 30:
		p := &putOp{q: f.q, data: f.data()}
		require.NoError(f.t, f.s.Do(ctx, p, store.NoSync))
		f.owed[string(p.data)] = true
	case n < 40:
		d := &delayOp{q: f.q, data: f.data(), due: time.Now().Add(time.Duration(f.rng.IntN(60)) * time.Second)}
		require.NoError(f.t, f.s.Do(ctx, d, store.NoSync))
		f.owed[string(d.data)] = true
	case n < 60:
		f.take()
	case n < 75:
		f.done()
	case n < 80:
		under(f.t, f.s, store.NoSync, func(t *store.Turn) {
			if f.q.shown > 0 {
				m, err := f.q.Lookup(t, f.rng.Uint64N(f.q.shown))
				require.True(f.t, err == nil || errors.Is(err, store.ErrUnreadable), err)
				require.True(f.t, m == nil || m.lean > 0 || f.owed[string(m.Data)])
			}
		})
	case n < 86:
		f.fail(true)
	case n < 90:
		f.fail(false)
	case n < 92 && f.opened < 7:
		f.reopen()
	default:
		time.Sleep(time.Duration(f.rng.IntN(30_000)) * time.Millisecond)
	}
	synctest.Wait()
	f.check()
}

// check holds the counters against what is owed.
func (f *flaky) check() {
	under(f.t, f.s, store.NoSync, func(*store.Turn) {
		st := f.q.Stats()
		require.EqualValues(f.t, len(f.owed), st.Ready+st.Taken+st.Delayed+st.Unreadable, "%+v", st)
		if f.q.loaded == f.q.shown && len(f.q.bad.stretches) == 0 && len(f.q.expiry.passed) == 0 {
			require.Zero(f.t, f.q.bad.onDisk.messages)
		}
		for _, s := range slices.Concat(f.q.bad.stretches, f.q.expiry.passed) {
			require.GreaterOrEqual(f.t, s.from, f.q.lowest())
			require.LessOrEqual(f.t, s.to, f.q.loaded)
			for seq := s.from; seq < s.to; seq++ { // or it would be read again, and come twice
				require.Nil(f.t, f.q.order.inMemory(seq), "message %d is in memory and in stretch %+v", seq, s)
			}
		}
	})
	under(f.t, f.s, store.NoSync, func(*store.Turn) { require.NoError(f.t, sound(f.q)) })
	f.accountFor()
}

// accountFor finds every message of the disk in memory, in a stretch, or where the next
// load begins.
func (f *flaky) accountFor() {
	hook := f.hook
	f.fail(false)
	defer func() {
		f.hook = hook
		f.fs.SetReadHook(hook)
	}()
	c := chunk{}
	p := plan{to: f.q.shown, messages: f.puts + 1, bytes: 1 << 30, pass: store.IsDamage}
	require.NoError(f.t, f.q.loader.readEntries(ctx, p, &c))
	under(f.t, f.s, store.NoSync, func(*store.Turn) {
		for _, l := range c.messages {
			m := f.q.order.inMemory(l.seq)
			there := l.seq >= f.q.loaded || f.q.passedOver(l.seq) || m != nil || f.q.groups.hasSpilled(l.seq, l.Data)
			if f.q.order.gone(&l) {
				continue // the disk is told with the next synced group
			}
			require.True(f.t, there, "message %d is lost: %+v", l.seq, m)
		}
	})
}

// Whatever fails and when, all that was put comes once, and then the lane is empty.
func TestNothingIsLostOrComesTwiceWhileReadsFail(t *testing.T) {
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	for name, o := range map[string]Options{
		"plain": {}, "groups": {Group: groupOf}, "tenants": {Group: groupOf, Fair: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range rounds {
				synctest.Test(t, func(t *testing.T) {
					o.Ready, o.ID, o.Name = func(*store.Turn) {}, lastWord, "q"
					f := &flaky{t: t, o: o, rng: rand.New(rand.NewPCG(uint64(seed), 0)), fs: storetest.NewFS(vfs.NewMem()), owed: map[string]bool{}}
					f.open()
					defer func() { _ = f.s.Close() }() // or the bubble of a failed round goes on for ever
					for range 200 {
						f.step()
					}
					f.fail(false)
					for range 100 { // all comes within the longest pause
						for len(f.out) > 0 {
							f.done()
						}
						time.Sleep(10 * time.Second)
						synctest.Wait()
						f.take()
						f.check()
					}
					for range 2 * f.puts {
						f.take()
						f.done()
						time.Sleep(time.Second)
					}
					f.check()
					require.Empty(t, f.owed, "seed %d: %+v", seed, f.q.Stats())
					require.NoError(t, f.s.Close())
				})
			}
		})
	}
}

// A load that passes over a stretch finds single messages of it in other tables. When the
// stretch is read again they must not come a second time.
func TestWhatIsFoundInAStretchIsNotOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{t: t, o: Options{Ready: func(*store.Turn) {}, Name: "q"}, rng: rand.New(rand.NewPCG(1, 0)), fs: storetest.NewFS(vfs.NewMem()), owed: map[string]bool{}}
		f.open()
		for range 6 {
			p := &putOp{q: f.q, data: f.data()}
			require.NoError(t, f.s.Do(ctx, p, store.Sync))
		}
		require.NoError(t, f.s.Close())
		var err error
		f.s, err = store.Open(store.Options{FS: f.fs, Dir: "data", NoCompactions: true})
		require.NoError(t, err)
		f.q, err = openLane(ctx, f.s, layout, 1, f.o)
		require.NoError(t, err)

		found := func(seqs ...uint64) (c chunk) {
			m, messages, err := missed(span{1, 5}, store.ErrUnreadable, func(seq uint64) ([]loadedMessage, error) {
				if slices.Contains(seqs, seq) {
					return f.q.bad.lookUp(ctx, seq)
				}
				return nil, store.ErrUnreadable
			})
			require.NoError(t, err)
			return chunk{through: 6, messages: messages, missing: []missing{m}}
		}
		first := found(2, 3)
		under(t, f.s, store.NoSync, func(t *store.Turn) {
			require.NoError(f.t, (&install{q: f.q, c: &first}).Run(t))
			require.Equal(f.t, stretches{{span{1, 2}, 1, true}, {span{4, 5}, 1, true}}, f.q.bad.stretches)
		})
		again := reread{q: f.q, parts: []span{{1, 5}}, found: []chunk{found(2, 3, 4)}}
		under(t, f.s, store.NoSync, func(t *store.Turn) {
			require.NoError(f.t, again.Run(t))
			require.Equal(f.t, 1, again.came)
			require.Equal(f.t, stretches{{span{1, 2}, 1, true}}, f.q.bad.stretches)
		})
		require.NoError(t, f.s.Close())
	})
}
