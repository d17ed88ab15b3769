package store

import (
	"context"
	"time"
)

// pace holds a long pass over the store to a rate, and ends it when its context does or
// the store goes down.
type pace struct {
	ctx   context.Context
	rate  int64           // bytes per second; 0 is without limit
	down  <-chan struct{} // may be nil
	cause func() error    // why down is closed
	bytes int64           // read so far
	begun time.Time
	moved func() // called for each read, unless nil
}

// paceSlack is how far a pass may run ahead of its rate before it is made to wait.
const paceSlack = 10 * time.Millisecond

// read counts n bytes that are about to be read, and waits for their turn.
func (p *pace) read(n int) error {
	if err := p.err(); err != nil {
		return err
	}
	if p.begun.IsZero() {
		p.begun = time.Now()
	}
	p.bytes += int64(n)
	if p.moved != nil {
		p.moved()
	}
	if p.rate == 0 {
		return nil
	}
	ahead := time.Duration(float64(p.bytes)/float64(p.rate)*float64(time.Second)) - time.Since(p.begun)
	if ahead < paceSlack {
		return nil
	}
	timer := time.NewTimer(ahead)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ctx.Done():
	case <-p.down:
	}
	return p.err()
}

func (p *pace) err() error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	select {
	case <-p.down:
		return p.cause()
	default:
		return nil
	}
}
