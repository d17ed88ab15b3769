package store

import (
	"context"
	"sync"
)

// baton is the lock under which Ops run, one at a time. Its zero value is free.
//
// An Op may read, and the disk may never answer. A mutex would hold up the next callers for as
// long, whatever their context says. So a holder that reads lets the mutex go and notes that it
// reads. Other callers then wait on a channel, and their context or the end of the store ends
// the wait. Without such a read the note costs a look at a flag.
//
// Invariant: what the baton guards changes only while its holder has the mutex. So
// Peek, which has the mutex alone, sees no change half made, but perhaps those of an
// Op that is still to be refused.
type baton struct {
	mu      sync.Mutex
	reading bool   // the holder has let mu go
	read    Signal // fires when the holder has it again
}

// Lock takes the baton, however long its holder reads.
func (b *baton) Lock() { _ = b.LockUntil(context.Background(), nil) }

// LockUntil takes the baton. While the holder reads it gives up with the error of ctx,
// or with ErrClosed if down closes, for which the caller knows a better one.
func (b *baton) LockUntil(ctx context.Context, down <-chan struct{}) error {
	b.mu.Lock()
	for b.reading {
		read := b.read.C()
		b.mu.Unlock()
		select {
		case <-read:
		case <-ctx.Done():
			return ctx.Err()
		case <-down:
			return ErrClosed
		}
		b.mu.Lock()
	}
	return nil
}

// TryLock takes the baton if it is free.
func (b *baton) TryLock() bool {
	if !b.mu.TryLock() {
		return false
	}
	if b.reading {
		b.mu.Unlock()
		return false
	}
	return true
}

// Unlock gives the baton back.
func (b *baton) Unlock() { b.mu.Unlock() }

// Peek calls f while nothing changes, also beside a holder that reads. f must not change
// what an Op relies on, and must not read.
func (b *baton) Peek(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// Aside calls f, which reads, for the holder.
func (b *baton) Aside(f func()) {
	b.reading = true
	b.mu.Unlock()
	defer func() { // also if f panics: the holder gives back what it has
		b.mu.Lock()
		b.reading = false
		b.read.Fire()
	}()
	f()
}
