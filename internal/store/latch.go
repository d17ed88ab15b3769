package store

import "context"

// Latch is a mutex that a caller waits for no longer than until its context ends. It
// guards what is held during I/O, which may take as long as the disk likes.
type Latch chan struct{}

// NewLatch returns a Latch that is free.
func NewLatch() Latch { return make(Latch, 1) }

// Lock waits for the Latch, and returns the error of ctx if that ends first. It refuses
// a nil context.
func (l Latch) Lock(ctx context.Context) error {
	if err := CheckContext(ctx); err != nil {
		return err
	}
	select {
	case l <- struct{}{}:
		return nil
	default:
	}
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Unlock frees the Latch.
func (l Latch) Unlock() { <-l }
