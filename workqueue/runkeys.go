package workqueue

import (
	"context"
	"errors"
	"sync"

	"github.com/pebblemq/pebblemq/internal/store"
)

// What Run parks beside its Prefetch because of KeyConcurrency, at most. Beyond that
// the parked ones count against the Prefetch.
const (
	maxParked      = 10_000
	maxParkedBytes = 32 << 20
)

// keys lets at most so many handlers of a key run at a time. What may not begin yet is
// parked, in order, and whoever ends the handling of a key goes on with the next of
// that key.
//
// Invariant: what is parked under a key has as many handlers of that key running as may.
type keys struct {
	of    func(*Delivery) string
	limit int
	fetch chan struct{} // of 1: full from the consumer's Next to admit, so that the order is kept

	mu      sync.Mutex
	running map[string]int
	parked  map[string][]parked
	count   int // of spared ones
	bytes   int // of the same
}

type parked struct {
	d      *Delivery
	spared int // bytes, if it takes up nothing of the Prefetch; else -1
}

func newKeys(of func(*Delivery) string, limit int) *keys {
	return &keys{of: of, limit: limit, fetch: make(chan struct{}, 1), running: make(map[string]int), parked: make(map[string][]parked)}
}

// take waits for a delivery that may be handled, and parks those that may not. It
// returns the key beside it.
func (r *runner) take(ctx context.Context) (d *Delivery, key string, err error) {
	if r.keys == nil {
		d, err = r.c.nextReadable(ctx)
		return d, "", err
	}
	r.keys.fetch <- struct{}{} // who has it heeds the end of ctx
	defer func() { <-r.keys.fetch }()
	for {
		if d, err = r.c.nextReadable(ctx); err != nil {
			return nil, "", err
		}
		if key, err = r.keyOf(d); err != nil {
			if err = r.settle(ctx, d, err); err != nil && !passing(err) {
				return nil, "", err
			}
			continue
		}
		if admitted, err := r.admit(d, key); admitted || err != nil && !passing(err) {
			return d, key, err
		}
	}
}

// keyOf asks the application. If that fails, the delivery has failed.
func (r *runner) keyOf(d *Delivery) (key string, err error) {
	err = store.Call("Key function", func() error {
		key = r.keys.of(d)
		return nil
	})
	return key, err
}

// admit lets a delivery be handled, or parks it.
func (r *runner) admit(d *Delivery, key string) (bool, error) {
	k := r.keys
	if key == "" {
		return true, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.running[key] < k.limit {
		k.running[key]++
		return true, nil
	}
	p := parked{d, len(d.Body)}
	if k.count == maxParked || k.bytes+p.spared > maxParkedBytes {
		p.spared = -1
	}
	if err := d.park(r.relaxed, p.spared >= 0); err != nil {
		return false, err
	}
	k.spare(p, 1)
	k.parked[key] = append(k.parked[key], p)
	return false, nil
}

func (k *keys) spare(p parked, n int) {
	if p.spared >= 0 {
		k.count += n
		k.bytes += n * p.spared
	}
}

// after returns the next delivery of a key of which one is through, or nil.
func (r *runner) after(key string) *Delivery {
	k := r.keys
	if key == "" {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	list := k.parked[key]
	if len(list) == 0 {
		if k.running[key]--; k.running[key] == 0 {
			delete(k.running, key)
		}
		return nil
	}
	p := list[0]
	list[0] = parked{}
	if k.parked[key] = list[1:]; len(list) == 1 {
		delete(k.parked, key)
	}
	k.spare(p, -1)
	return p.d
}

// passing reports an error that is about one delivery only.
func passing(err error) bool { return errors.Is(err, ErrSettled) || errors.Is(err, ErrDeliveryLost) }
