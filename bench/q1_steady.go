package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// runSteady publishes at a fixed rate, whether or not earlier messages are
// through (an open loop), and measures from the moment when a message was due to
// when it is received. So a peer that stalls pays for all that it held up.
func runSteady(c *Cell) (Sample, error) {
	// The goroutine that keeps the time sleeps in the kernel, and holds a
	// processor of the runtime meanwhile.
	runtime.GOMAXPROCS(runtime.NumCPU() + 1)
	q, err := c.peer.Queue(c.env())
	if err != nil {
		return Sample{}, err
	}
	consumer, err := q.Consumer(256)
	if err != nil {
		return Sample{}, errors.Join(err, q.Close())
	}
	warm := int(max(c.Warm, c.Measure/2).Seconds()*float64(c.Params.Rate)) + 1
	count := warm + int(4*c.Measure.Seconds()*float64(c.Params.Rate)) + 1
	st := &steady{c: c, q: q, led: newLedger(c.Params.Size, count), count: count, warm: warm, hist: newHistogram()}
	s, err := st.run(consumer)
	return s, errors.Join(err, consumer.Close(), q.Close())
}

type steady struct {
	c           *Cell
	q           Queue
	led         *Ledger
	count, warm int
	hist        *hdrhistogram.Histogram
	start       time.Time
	meter       *meter
	measured    time.Time
}

func (st *steady) run(consumer Consumer) (Sample, error) {
	period := time.Second / time.Duration(st.c.Params.Rate)
	ctx, cancel := context.WithTimeout(bg, time.Duration(st.count)*period+patience)
	defer cancel()
	st.start = time.Now().Add(10 * time.Millisecond)
	published := make(chan error, 1)
	go func() {
		err := st.publish(period)
		if err != nil {
			cancel()
		}
		published <- err
	}()
	if err := st.consume(ctx, consumer, period); err != nil {
		cancel()
		return Sample{}, errors.Join(err, <-published)
	}
	s := st.meter.sample(time.Since(st.measured).Seconds(), int64(st.count-st.warm))
	s.Latency = latencyOf(st.hist)
	if d := st.led.duplicates.Load(); d > 0 {
		s.Note = fmt.Sprintf("%d delivered twice", d)
	}
	return s, errors.Join(<-published, st.led.settle())
}

func (st *steady) publish(period time.Duration) error {
	due := make(chan int, st.count)
	var wg sync.WaitGroup
	errs := make([]error, st.c.Params.Workers)
	for w := range errs {
		wg.Go(func() {
			b := bodies(1, st.c.Params.Size)
			for n := range due {
				fill(b[0], uint64(n))
				if errs[w] = st.q.Publish(b); errs[w] != nil {
					return
				}
			}
		})
	}
	keepTime(st.start, period, st.count, func(n int) {
		st.led.next.Store(uint64(n + 1))
		due <- n
	})
	close(due)
	wg.Wait()
	return errors.Join(errs...)
}

// keepTime calls f at the times that are due. The runtime's timers are too coarse
// for it.
func keepTime(start time.Time, period time.Duration, count int, f func(n int)) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for n := range count {
		for {
			left := time.Until(start.Add(time.Duration(n) * period))
			if left <= 0 {
				break
			}
			ts := unix.NsecToTimespec(int64(left))
			_ = unix.Nanosleep(&ts, nil) // interrupted is as good as early
		}
		f(n)
	}
}

func (st *steady) consume(ctx context.Context, c Consumer, period time.Duration) error {
	for int(st.led.got.Load()) < st.count {
		got, err := c.Receive(ctx, 1)
		if err != nil {
			return err
		}
		now := time.Now()
		if ctx.Err() != nil {
			return fmt.Errorf("%d of %d messages came in time", st.led.got.Load(), st.count)
		}
		for _, m := range got {
			if err := st.led.receive(m.Body); err != nil {
				return err
			}
			st.note(now, int(binary.BigEndian.Uint64(m.Body)), period)
		}
		if err := c.Ack(got); err != nil {
			return err
		}
	}
	return nil
}

func (st *steady) note(now time.Time, n int, period time.Duration) {
	if n < st.warm {
		return
	}
	if st.meter == nil {
		st.meter = startMeter(st.c, nil)
		st.measured = time.Now()
		return
	}
	_ = st.hist.RecordValue(int64(now.Sub(st.start.Add(time.Duration(n) * period))))
}
