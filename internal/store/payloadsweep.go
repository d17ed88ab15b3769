package store

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// A generation of which little is left is written anew: what nobody refers to goes, and the rest
// keeps its keys, so no message needs to change.
//
//	copies run low ──▶ sparse ──after a pause──▶ swept: each holder tells what it refers to
//	                      ▲                          │ copies came in meanwhile ──▶ sparse again
//	                      └──────────────────────────┴──▶ written anew
//
// The store knows how many copies there are, and not of which payloads. So it asks those who hold
// them, which read their messages for that; beside the baton, and rarely.
//
// Invariant: what a holder tells is as of the begin of the sweep or later. Who moves a message to
// another place adds a copy there, and a generation with a new copy is left alone.

const (
	sparsePayloads = 8 // a generation is sparse if it has fewer copies than this part of its payloads
	sweepPause     = 10 * time.Second
	sweepRest      = 20 // times as long as a sweep took, before the next
)

// Referrer is a queue in memory, which holds copies.
type Referrer interface {
	// Refer calls visit with each payload that the messages of a holder refer to, those that it is
	// not sure of included. It reads messages, and is not called under the baton.
	Refer(ctx context.Context, slot uint16, visit func(Payload)) error
	// Sound returns what is wrong with what is in memory, if anything is. It is called under the baton.
	Sound() error
}

// payloadSweep is what is known of sparse generations.
type payloadSweep struct {
	s         *Store
	referrers *sync.Map       // of Referrer, by object
	sparse    map[uint32]bool // to be swept
	swept     map[uint32]bool // by the sweep under way; false if a copy came in
	timer     *Timer
	running   bool
}

// isSparse reports that most of the payloads of a generation have no copies.
func (s *payloads) isSparse(g uint32) bool {
	return g != s.current && s.live[g] > 0 && s.live[g]*sparsePayloads < uint64(s.numbers[g])
}

// noteCopies notes that there are more copies of a generation, or fewer.
func (s *payloads) noteCopies(g uint32, n int) {
	switch w := &s.sweep; {
	case n > 0 && w.swept[g]:
		w.swept[g] = false
	case n < 0 && s.isSparse(g):
		w.sparse[g] = true
	}
}

// armSweep is called when a group is sealed.
func (s *payloads) armSweep(t *Turn) {
	if w := &s.sweep; len(w.sparse) > 0 && !w.running && !w.timer.Armed() && !s.keep {
		t.Arm(w.timer, t.Now().Add(sweepPause))
	}
}

// start is what the timer calls.
func (w *payloadSweep) start(t *Turn) {
	s := w.s
	w.running = t.Spawn(func(ctx context.Context) {
		begun := time.Now()
		if err := w.run(ctx); err != nil && s.Cause() == nil && ctx.Err() == nil {
			s.Log().Warn("shared bodies without messages stay until more of them go", "error", err)
		}
		took := time.Since(begun)
		_ = s.Do(ctx, QuietFunc(func(t *Turn) error { // fails if the store is down
			w.running = false
			if len(w.sparse) > 0 {
				t.Arm(w.timer, t.Now().Add(sweepPause+sweepRest*took))
			}
			return nil
		}), NoSync)
	})
}

// run writes the sparse generations anew.
func (w *payloadSweep) run(ctx context.Context) error {
	generations, holders, err := w.begin(ctx)
	if err != nil {
		return err
	}
	used := make(map[uint32]map[uint32]Payload)
	for _, g := range generations {
		used[g] = make(map[uint32]Payload)
	}
	for h, r := range holders {
		err := r.Refer(ctx, h.Slot, func(p Payload) {
			if of := used[p.Generation]; of != nil {
				of[p.Number] = p
			}
		})
		if err != nil {
			return err
		}
	}
	for g, payloads := range used {
		if err := w.rewrite(ctx, g, payloads); err != nil {
			return err
		}
	}
	return nil
}

// begin chooses the generations to sweep, and returns who holds copies of them. All that was
// accepted before is applied when it returns. A generation that somebody holds who does not tell is
// not swept.
func (w *payloadSweep) begin(ctx context.Context) (generations []uint32, holders map[Holder]Referrer, err error) {
	holders = make(map[Holder]Referrer)
	err = w.s.Do(WithDurability(ctx, Sync), QuietFunc(func(*Turn) error {
		w.swept, w.sparse = w.sparse, make(map[uint32]bool)
		for h, copies := range w.s.payloads.held {
			for g := range copies {
				if !w.swept[g] {
					continue
				}
				if r, known := w.referrers.Load(h.ID); known {
					holders[h] = r.(Referrer)
				} else {
					delete(w.swept, g)
				}
			}
		}
		generations = slices.Sorted(maps.Keys(w.swept))
		return nil
	}), Sync)
	return generations, holders, err
}

// rewrite leaves of a generation what is referred to.
func (w *payloadSweep) rewrite(ctx context.Context, g uint32, used map[uint32]Payload) error {
	o := &sparseRewrite{generation: g, values: make(map[uint32][]byte)}
	for n, p := range used {
		v, err := w.s.Payload(p)
		if v == nil || err != nil { // nil is one that was lost: what is left there is evidence
			return err
		}
		o.values[n] = v
	}
	return w.s.Do(WithDurability(ctx, NoSync), o, NoSync)
}

// sparseRewrite is the Op that does.
type sparseRewrite struct {
	generation uint32
	values     map[uint32][]byte // of payloads, by number
}

// Frees lets it in on a disk that is nearly full.
func (o *sparseRewrite) Frees() {}

func (o *sparseRewrite) Run(t *Turn) error {
	s, g := &t.s.payloads, o.generation
	still := s.sweep.swept[g]
	delete(s.sweep.swept, g)
	switch {
	case s.keep || s.live[g] == 0:
		return nil
	case !still:
		if s.isSparse(g) {
			s.sweep.sparse[g] = true
		}
		return nil
	}
	t.DeleteRange(payloadKey(g, 0), payloadKey(g+1, 0))
	for n, v := range o.values {
		t.putPayload(Payload{Generation: g, Number: n}, v)
	}
	s.numbers[g] = uint32(len(o.values))
	return nil
}

func (o *sparseRewrite) Undo()         {}
func (o *sparseRewrite) Visible(*Turn) {}
