package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Q1: the life of a message in a work queue.
func queueWorkloads() []Workload {
	w := Workload{ID: "Q1", Title: "publish, deliver, acknowledge; 4 producers, 4 consumers", Unit: "msg/s"}
	for _, batch := range []int{1, 100} {
		w.Variants = append(w.Variants, Variant{
			Name:    fmt.Sprintf("100 B x%d", batch),
			Params:  Params{Size: 100, Batch: batch, Workers: 4},
			Offered: offersQueue, Run: runCycle,
		})
	}
	w.Variants = append(w.Variants, Variant{
		Name:    "latency at 1,000 msg/s",
		Params:  Params{Size: 100, Batch: 1, Workers: 16, Rate: 1000},
		Offered: offersQueue, Run: runSteady,
	})
	return []Workload{w}
}

func offersQueue(p *Peer) bool { return p.Queue != nil }

// ahead is how many calls producers may be ahead of consumers, so that what is
// measured is the cycle and not a growing backlog.
func ahead(batch int) int { return max(10, 256/batch) }

// cycle is producers and consumers at one queue.
type cycle struct {
	c       *Cell
	q       Queue
	led     *Ledger
	credit  chan struct{} // a batch each
	acked   atomic.Int64
	stopped chan struct{} // nothing is published any more
}

func runCycle(c *Cell) (Sample, error) {
	q, err := c.peer.Queue(c.env())
	if err != nil {
		return Sample{}, err
	}
	cy := &cycle{c: c, q: q, led: newLedger(c.Params.Size, maxBytes/c.Params.Size), stopped: make(chan struct{})}
	cy.credit = make(chan struct{}, ahead(c.Params.Batch))
	s, err := cy.run()
	if err = errors.Join(err, q.Close()); err != nil {
		return s, err
	}
	return s, nil
}

func (cy *cycle) run() (Sample, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	consumed := make(chan error, 1)
	consumers, err := openConsumers(cy.q, cy.c.Params.Workers, 4*cy.c.Params.Batch)
	if err != nil {
		return Sample{}, err
	}
	lanes := make([]lane, len(consumers))
	go func() { consumed <- cy.consume(ctx, consumers, lanes) }()

	produced := make(chan error, 1)
	var stop atomic.Bool
	go func() { produced <- cy.produce(&stop) }()

	p := cy.c.pace()
	time.Sleep(p.warm)
	m := startMeter(cy.c, lanes)
	var s Sample
	select {
	case err = <-consumed: // too early, so it is an error
		consumed <- err
	case <-time.After(p.measure):
		for total(lanes)-m.units < fewestCalls*int64(cy.c.Params.Batch) && time.Since(m.start) < p.most() {
			time.Sleep(p.measure / 4)
		}
	}
	s = m.stop(lanes)
	s.Disk = cy.c.usage.disk()
	stop.Store(true)
	err = cy.finish(produced, consumed, cancel)
	for _, c := range consumers {
		err = errors.Join(err, c.Close())
	}
	if d := cy.led.duplicates.Load(); d > 0 {
		s.Note = fmt.Sprintf("%d delivered twice", d)
	}
	return s, errors.Join(err, cy.led.settle())
}

// finish waits until all that was published is acknowledged.
func (cy *cycle) finish(produced, consumed chan error, cancel func()) error {
	for {
		select {
		case err := <-produced:
			close(cy.stopped)
			time.AfterFunc(100*time.Millisecond, cancel) // consumers go on one at a time
			select {
			case c := <-consumed:
				return errors.Join(err, c)
			case <-time.After(patience):
				return errors.Join(err, fmt.Errorf("consumers still wait after %v", patience), cy.led.settle())
			}
		case <-cy.credit: // one that a failed consumer did not give back
		case <-time.After(patience):
			return fmt.Errorf("producers still wait after %v", patience)
		}
	}
}

// patience is how long the last messages may take to come; tests have less.
var patience = 20 * time.Second

func openConsumers(q Queue, n, prefetch int) ([]Consumer, error) {
	var found []Consumer
	for range n {
		c, err := q.Consumer(prefetch)
		if err != nil {
			return nil, err
		}
		found = append(found, c)
	}
	return found, nil
}

func (cy *cycle) produce(stop *atomic.Bool) error {
	var wg sync.WaitGroup
	errs := make([]error, cy.c.Params.Workers)
	for w := range errs {
		wg.Go(func() {
			b := bodies(cy.c.Params.Batch, cy.c.Params.Size)
			for !stop.Load() && errs[w] == nil {
				cy.credit <- struct{}{}
				if !cy.led.stampNext(b) {
					return
				}
				errs[w] = cy.q.Publish(b)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// consume returns when everything that was published is acknowledged.
func (cy *cycle) consume(ctx context.Context, consumers []Consumer, lanes []lane) error {
	var wg sync.WaitGroup
	errs := make([]error, len(consumers))
	all, done := context.WithTimeout(context.Background(), time.Hour)
	defer done()
	for w, c := range consumers {
		wg.Go(func() {
			for errs[w] == nil && ctx.Err() == nil {
				errs[w] = cy.take(ctx, c, &lanes[w], cy.c.Params.Batch)
			}
			<-cy.stopped
			for errs[w] == nil && all.Err() == nil { // what is left
				if int(cy.led.got.Load()) >= cy.led.sent() {
					done()
					return
				}
				short, cancel := context.WithTimeout(all, 100*time.Millisecond)
				errs[w] = cy.take(short, c, &lanes[w], 1)
				cancel()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (cy *cycle) take(ctx context.Context, c Consumer, l *lane, limit int) error {
	got, err := c.Receive(ctx, limit)
	if err != nil || len(got) == 0 {
		return err
	}
	for i := range got {
		if err := cy.led.receive(got[i].Body); err != nil {
			return err
		}
	}
	if err := c.Ack(got); err != nil {
		return err
	}
	l.units.Add(int64(len(got)))
	before := cy.acked.Add(int64(len(got))) - int64(len(got))
	batch := int64(cy.c.Params.Batch)
	for range (before+int64(len(got)))/batch - before/batch {
		select {
		case <-cy.credit:
		default:
		}
	}
	return nil
}
