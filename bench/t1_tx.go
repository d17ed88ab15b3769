package main

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// T1: what no broker can do, five changes in one commit.
func txWorkloads() []Workload {
	w := Workload{ID: "T1", Title: "a transaction of state, append, publish, ack and dedupe key", Unit: "tx/s"}
	for _, workers := range []int{1, 16} {
		w.Variants = append(w.Variants, Variant{
			Name:    fmt.Sprintf("%d at a time", workers),
			Params:  Params{Size: 100, Workers: workers},
			Offered: func(p *Peer) bool { return p.Tx != nil }, Run: runTx,
		})
	}
	return []Workload{w}
}

func runTx(c *Cell) (Sample, error) {
	t, err := c.peer.Tx(c.env())
	if err != nil {
		return Sample{}, err
	}
	var done atomic.Int64
	s, err := drive(c.pace(), c, c.Params.Workers, 1, func(w int) (step, error) {
		call, err := t.Worker(w)
		if err != nil {
			return nil, err
		}
		record, i := make([]byte, c.Params.Size), 0
		return func() (int, error) {
			fill(record, uint64(w)<<32|uint64(i))
			if err := call(i, record); err != nil {
				return 0, err
			}
			i++
			done.Add(1)
			return 1, nil
		}, nil
	})
	if err == nil {
		err = checkTx(t, int(done.Load()), c.Params.Workers)
	}
	return s, errors.Join(err, t.Close())
}

// checkTx expects a record and a key for each transaction, and for each worker
// the message that its last one published.
func checkTx(t Tx, done, workers int) error {
	records, keys, waiting, err := t.Check()
	if err != nil {
		return err
	}
	if records != done || keys != done || waiting != workers {
		return fmt.Errorf("after %d transactions of %d workers there are %d records, %d keys and %d messages",
			done, workers, records, keys, waiting)
	}
	return nil
}
