package main

import "fmt"

// L1 and L2: appending to a log.
func appendWorkloads() []Workload {
	l1 := Workload{ID: "L1", Title: "append, one producer", Unit: "msg/s"}
	for _, size := range []int{100, 1024} {
		for _, batch := range []int{1, 100, 1000} {
			l1.Variants = append(l1.Variants, Variant{
				Name:    fmt.Sprintf("%s x%d", sizeName(size), batch),
				Params:  Params{Size: size, Batch: batch, Workers: 1},
				Large:   size > 100,
				Offered: offersLog, Run: runAppend,
			})
		}
	}
	l2 := Workload{ID: "L2", Title: "single appends, each producer waiting for its own", Unit: "msg/s"}
	for _, workers := range []int{16, 256} {
		l2.Variants = append(l2.Variants, Variant{
			Name:    fmt.Sprintf("100 B, %d producers", workers),
			Params:  Params{Size: 100, Batch: 1, Workers: workers},
			Offered: offersLog, Run: runAppend,
		})
	}
	return []Workload{l1, l2}
}

func offersLog(p *Peer) bool { return p.Log != nil }

func sizeName(n int) string {
	if n >= 1024 {
		return fmt.Sprintf("%d KiB", n/1024)
	}
	return fmt.Sprintf("%d B", n)
}

// maxBytes bounds what a round stores.
const maxBytes = 800 << 20

func runAppend(c *Cell) (Sample, error) {
	l, err := c.peer.Log(c.env())
	if err != nil {
		return Sample{}, err
	}
	closed := false
	defer func() {
		if !closed {
			_ = l.Close()
		}
	}()
	led := newLedger(c.Params.Size, maxBytes/c.Params.Size)
	s, err := drive(c.pace(), c, c.Params.Workers, timeEvery(c), func(int) (step, error) {
		b := bodies(c.Params.Batch, c.Params.Size)
		return func() (int, error) {
			if !led.stampNext(b) {
				return 0, errDone
			}
			return len(b), l.Append(b)
		}, nil
	})
	if err != nil {
		return s, err
	}
	s.Disk = c.usage.disk()
	closed = true
	if err := l.Close(); err != nil {
		return s, err
	}
	return s, verifyLog(c, led)
}

// timeEvery keeps the clock from being what is measured.
func timeEvery(c *Cell) int {
	if c.Durability == Relaxed && c.Params.Batch == 1 {
		return 16
	}
	return 1
}

// verifyLog opens the log again and expects everything that was appended.
func verifyLog(c *Cell, led *Ledger) error {
	env := c.env()
	env.Reopen = true
	l, err := c.peer.Log(env)
	if err != nil {
		return fmt.Errorf("opening again: %w", err)
	}
	defer l.Close()
	if err := l.Replay(led.sent(), led.receive); err != nil {
		return fmt.Errorf("reading back: %w", err)
	}
	if n := led.duplicates.Load(); n > 0 {
		return fmt.Errorf("%d records are there twice", n)
	}
	return led.settle()
}
