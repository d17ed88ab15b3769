package store_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// sharing is an op that puts payloads and holds each with several holders.
type sharing struct {
	bodies  [][]byte
	holders []store.Holder
	refs    []store.Payload
	s       *store.Store
}

func (o *sharing) Run(t *store.Turn) error {
	o.refs = nil
	for _, b := range o.bodies {
		p := t.PutPayload(b)
		o.refs = append(o.refs, p)
		for _, h := range o.holders {
			t.Hold(h, p, 1)
		}
	}
	return nil
}

func (o *sharing) Undo() {
	for _, p := range o.refs {
		for _, h := range o.holders {
			o.s.UndoHold(h, p, 1)
		}
	}
}

func (o *sharing) Visible(*store.Turn) {}

// drop lets n copies of p go.
func drop(h store.Holder, p store.Payload, n int) store.OpFunc {
	return func(t *store.Turn) error { t.Hold(h, p, -n); return nil }
}

// payloadKeys counts what is on disk.
func payloadKeys(t *testing.T, s *store.Store) (payloads, holdings int) {
	t.Helper()
	it, err := s.Iter(ctx, []byte{byte(store.KindPayload)}, []byte{byte(store.KindHolding) + 1})
	require.NoError(t, err)
	for ok := it.First(); ok; ok = it.Next() {
		if store.Kind(it.Key()[0]) == store.KindPayload {
			payloads++
		} else {
			holdings++
		}
	}
	require.NoError(t, it.Close())
	return payloads, holdings
}

// bodies are n payloads of 1 MiB, so that five make more than a generation.
func bodies(n int) (b [][]byte) {
	for i := range n {
		b = append(b, bytes.Repeat([]byte{byte(i)}, 1<<20))
	}
	return b
}

func TestAPayloadStaysAsLongAsItIsHeld(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := openStore(t, store.Options{FS: fs, Dir: "data"})
	one, two := store.Holder{ID: 1}, store.Holder{ID: 2, Slot: 1}
	op := &sharing{bodies: bodies(10), holders: []store.Holder{one, two}, s: s}
	require.NoError(t, s.Do(ctx, op, store.Sync))
	for i, p := range op.refs {
		require.Equal(t, uint32(1+i/4), p.Generation)
		v, err := s.Payload(p)
		require.NoError(t, err)
		require.Equal(t, op.bodies[i], v)
	}
	payloads, holdings := payloadKeys(t, s)
	require.Equal(t, 10, payloads, "each once")
	require.Equal(t, 6, holdings, "two holders of three generations")

	// The first generation goes when the last copy does, not before.
	for i := range 4 {
		require.NoError(t, s.Do(ctx, drop(one, op.refs[i], 1), store.Sync))
	}
	for i := range 3 {
		require.NoError(t, s.Do(ctx, drop(two, op.refs[i], 1), store.Sync))
	}
	payloads, holdings = payloadKeys(t, s)
	require.Equal(t, 10, payloads)
	require.Equal(t, 5, holdings)
	require.NoError(t, s.Do(ctx, drop(two, op.refs[3], 1), store.Sync))
	payloads, _ = payloadKeys(t, s)
	require.Equal(t, 6, payloads)
	v, err := s.Payload(op.refs[0])
	require.NoError(t, err)
	require.Nil(t, v)

	// Another process counts on.
	require.NoError(t, s.Close())
	s = openStore(t, store.Options{FS: fs, Dir: "data"})
	for _, p := range op.refs[4:8] {
		require.NoError(t, s.Do(ctx, drop(one, p, 1), store.Sync))
		require.NoError(t, s.Do(ctx, drop(two, p, 1), store.Sync))
	}
	payloads, holdings = payloadKeys(t, s)
	require.Equal(t, 2, payloads)
	require.Equal(t, 2, holdings)
	again := &sharing{bodies: bodies(1), holders: []store.Holder{one}, s: s}
	require.NoError(t, s.Do(ctx, again, store.Sync))
	require.Greater(t, again.refs[0].Generation, op.refs[9].Generation, "numbers are not used twice")

	// The last generation of a process is deleted by the next one.
	require.NoError(t, s.Do(ctx, store.OpFunc(func(t *store.Turn) error {
		t.HoldOnly(one, nil)
		t.HoldOnly(two, nil)
		return nil
	}), store.Sync))
	require.NoError(t, s.Close())
	s = openStore(t, store.Options{FS: fs, Dir: "data"})
	payloads, holdings = payloadKeys(t, s)
	require.Zero(t, payloads+holdings)
	require.NoError(t, s.Close())
}

func TestARefusedTransactionHoldsNothing(t *testing.T) {
	s := openStore(t, store.Options{FS: vfs.NewCrashableMem(), Dir: "data"})
	h := store.Holder{ID: 1}
	op := &sharing{bodies: bodies(1), holders: []store.Holder{h}, s: s}
	x, err := s.Begin(ctx)
	require.NoError(t, err)
	require.NoError(t, x.Add(op, 0))
	require.NoError(t, x.Add(store.OpFunc(func(*store.Turn) error { return errRefused }), 0))
	require.ErrorIs(t, x.Commit(), errRefused)
	payloads, holdings := payloadKeys(t, s)
	require.Zero(t, payloads+holdings)
	require.NoError(t, s.Do(ctx, op, store.Sync))
	payloads, holdings = payloadKeys(t, s)
	require.Equal(t, 1, payloads)
	require.Equal(t, 1, holdings)
	require.NoError(t, s.Close())
}

func TestADroppedObjectLetsGo(t *testing.T) {
	s := openStore(t, store.Options{FS: vfs.NewCrashableMem(), Dir: "data"})
	var o *store.Object
	require.NoError(t, s.Do(ctx, store.OpFunc(func(t *store.Turn) (err error) {
		o, err = t.Create(store.ClassQueue, "q", nil)
		return err
	}), store.Sync))
	op := &sharing{bodies: bodies(5), holders: []store.Holder{{ID: o.ID}, {ID: o.ID, Slot: 1}}, s: s}
	require.NoError(t, s.Do(ctx, op, store.Sync))
	require.NoError(t, s.Do(ctx, store.OpFunc(func(t *store.Turn) error { t.Drop(o); return nil }), store.Sync))
	payloads, holdings := payloadKeys(t, s)
	require.Equal(t, 1, payloads, "that of the generation at hand")
	require.Zero(t, holdings)
	require.NoError(t, s.Close())
}

// At any moment a crash leaves every held payload readable, and the counts of
// what is there.
func TestPayloadsAndCountsCrashTogether(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	step := 1
	if underRace {
		step = 8
	}
	for round := 0; round < 30; round += step {
		fs := storetest.NewFS(vfs.NewCrashableMem())
		s := openStore(t, store.Options{FS: fs, Dir: "data"})
		h := store.Holder{ID: 1}
		var held []store.Payload
		for range 20 {
			d := store.Sync
			if rng.IntN(2) == 0 {
				d = store.NoSync
			}
			if len(held) > 0 && rng.IntN(3) == 0 {
				i := rng.IntN(len(held))
				require.NoError(t, s.Do(ctx, marked(held[i], drop(h, held[i], 1)), d))
				held = append(held[:i], held[i+1:]...)
				continue
			}
			op := &sharing{bodies: [][]byte{make([]byte, 1+rng.IntN(2<<20))}, holders: []store.Holder{h}, s: s}
			require.NoError(t, s.Do(ctx, store.OpFunc(func(t *store.Turn) error {
				if err := op.Run(t); err != nil {
					return err
				}
				t.Set(markKey(op.refs[0]), nil)
				return nil
			}), d))
			held = append(held, op.refs[0])
		}
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 10 * (round % 11), RNG: rng})
		require.NoError(t, s.Close())
		s = openStore(t, store.Options{FS: clone, Dir: "data"})
		requireHeld(t, s, h)
		require.NoError(t, s.Close())
	}
}

// markKey is a key that exists as long as a payload is held.
func markKey(p store.Payload) []byte {
	return fmt.Appendf(store.Key(store.KindIdemRecord, 9, 0), "%d %d %d", p.Generation, p.Number, p.Size)
}

func marked(p store.Payload, f store.OpFunc) store.OpFunc {
	return func(t *store.Turn) error { t.Delete(markKey(p)); return f(t) }
}

func requireHeld(t *testing.T, s *store.Store, h store.Holder) {
	t.Helper()
	lo, hi := store.Span(store.KindIdemRecord, 9)
	it, err := s.Iter(ctx, lo, hi)
	require.NoError(t, err)
	var refs []store.Payload
	for ok := it.First(); ok; ok = it.Next() {
		var p store.Payload
		_, err := fmt.Sscan(string(it.Key()[5:]), &p.Generation, &p.Number, &p.Size)
		require.NoError(t, err)
		refs = append(refs, p)
	}
	require.NoError(t, it.Close())
	for _, p := range refs {
		v, err := s.Payload(p)
		require.NoError(t, err)
		require.Len(t, v, int(p.Size))
	}
	for _, p := range refs {
		require.NoError(t, s.Do(ctx, drop(h, p, 1), store.Sync))
	}
	require.NoError(t, s.Do(ctx, &sharing{bodies: bodies(5), s: s}, store.Sync), "another generation begins")
	require.NoError(t, s.Do(ctx, &sharing{bodies: bodies(1), s: s}, store.Sync))
	_, holdings := payloadKeys(t, s)
	require.Zero(t, holdings, "the counts were those of what is there")
}

func TestMissingPayloadNamesItsTable(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, small(fs))
	op := &sharing{bodies: [][]byte{[]byte("a"), []byte("b"), []byte("c")}, holders: []store.Holder{{ID: 1}}, s: s}
	require.NoError(t, s.Do(ctx, op, store.Sync))
	require.NoError(t, s.Close())

	s = openStore(t, small(fs)) // which writes a table
	require.NoError(t, s.Do(ctx, store.OpFunc(func(turn *store.Turn) error {
		turn.Delete(store.PayloadKey(op.refs[1]))
		return nil
	}), store.Sync))
	b, err := s.Payload(op.refs[1])
	require.NoError(t, err)
	require.Nil(t, b)
	err = s.PayloadMissing(ctx, op.refs[1])
	require.ErrorIs(t, err, store.ErrCorrupt)
	require.ErrorContains(t, err, ".sst")
	require.NoError(t, s.Close())
}

// teller tells what a holder refers to.
type teller func(ctx context.Context, visit func(store.Payload))

func (f teller) Refer(ctx context.Context, _ uint16, visit func(store.Payload)) error {
	f(ctx, visit)
	return nil
}

func (f teller) Sound() error { return nil }

// A generation of which few payloads are left is written anew, unless a copy comes in while their
// holders tell what they refer to, or a holder does not tell.
func TestAGenerationOfWhichLittleIsLeftIsWrittenAnew(t *testing.T) {
	const n = 80 // payloads of 64 KiB, more than a generation
	one, two := store.Holder{ID: 1}, store.Holder{ID: 2, Slot: 1}
	for name, c := range map[string]struct {
		silent bool // two does not tell
		moved  bool // a copy goes from one to two, which has told before
		lost   bool // a payload is not there
		left   int
	}{
		"swept":           {left: 2 + n - 64},
		"a holder silent": {silent: true, left: n},
		"a copy came in":  {moved: true, left: n},
		"a payload lost":  {lost: true, left: n - 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := openStore(t, store.Options{FS: vfs.NewMem(), Dir: "data"})
				defer func() { require.NoError(t, s.Close()) }()
				op := &sharing{holders: []store.Holder{one}, s: s}
				for i := range n {
					op.bodies = append(op.bodies, bytes.Repeat([]byte{byte(i)}, 64<<10))
				}
				require.NoError(t, s.Do(ctx, op, store.Sync))
				a, b := op.refs[3], op.refs[40]
				ofOne, ofTwo := []store.Payload{a}, []store.Payload{b}
				var once sync.Once
				s.Refer(one.ID, teller(func(ctx context.Context, visit func(store.Payload)) {
					if c.moved {
						once.Do(func() {
							require.NoError(t, s.Do(ctx, store.OpFunc(func(t *store.Turn) error {
								t.Hold(two, a, 1)
								t.Hold(one, a, -1)
								return nil
							}), store.Sync))
							ofOne, ofTwo = nil, append(ofTwo, a)
						})
					}
					for _, p := range ofOne {
						visit(p)
					}
				}))
				if !c.silent {
					s.Refer(two.ID, teller(func(_ context.Context, visit func(store.Payload)) {
						for _, p := range ofTwo {
							visit(p)
						}
					}))
				}
				require.NoError(t, s.Do(ctx, store.OpFunc(func(t *store.Turn) error {
					t.Hold(two, b, 1)
					for _, p := range op.refs {
						if p != a {
							t.Hold(one, p, -1)
						}
					}
					t.Hold(one, op.refs[n-1], 1) // the generation that is written to
					if c.lost {
						t.Delete(store.PayloadKey(a))
					}
					return nil
				}), store.Sync))
				time.Sleep(15 * time.Second)
				synctest.Wait()
				payloads, _ := payloadKeys(t, s)
				require.Equal(t, c.left, payloads)
				time.Sleep(time.Minute)
				synctest.Wait()
				if payloads, _ = payloadKeys(t, s); !c.silent && !c.lost {
					require.Equal(t, 2+n-64, payloads, "in the end")
				}
				for _, p := range []store.Payload{a, b} {
					if c.lost && p == a {
						continue
					}
					v, err := s.Payload(p)
					require.NoError(t, err)
					require.Equal(t, op.bodies[p.Number], v)
				}
			})
		})
	}
}
