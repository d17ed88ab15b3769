package main

import (
	"context"
	"encoding/gob"
	"errors"
	"time"

	"github.com/joncrlsn/dque"
)

var dquePeer = &Peer{
	Name: "dque",
	About: "a queue in segment files, gob-encoded; it has no acknowledgement, taking a message out is final, " +
		"and what a crashed consumer had is lost",
	Modules: []string{"github.com/joncrlsn/dque"},
	Durable: "default: fsync for each change",
	Relaxed: "TurboOn",
	Queue:   openDQue,
}

type dqueItem struct{ Body []byte }

type dqueQueue struct {
	q    *dque.DQue
	wake chan struct{}
}

func init() { gob.Register(&dqueItem{}) }

func openDQue(e Env) (Queue, error) {
	q, err := dque.NewOrOpen("q", e.Dir, 1000, func() any { return new(dqueItem) })
	if err != nil {
		return nil, err
	}
	if !e.durable() {
		err = q.TurboOn()
	}
	return &dqueQueue{q, make(chan struct{}, 1)}, err
}

func (q *dqueQueue) Publish(bodies [][]byte) error {
	for _, b := range bodies {
		// The queue keeps the item in memory too.
		if err := q.q.Enqueue(&dqueItem{append([]byte(nil), b...)}); err != nil {
			return err
		}
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

func (q *dqueQueue) Consumer(int) (Consumer, error) { return dqueConsumer{q}, nil }

func (q *dqueQueue) Close() error { return q.q.Close() }

// dqueConsumer waits without DequeueBlock, which cannot be called off.
type dqueConsumer struct{ q *dqueQueue }

func (c dqueConsumer) Receive(ctx context.Context, limit int) ([]Message, error) {
	return gather(ctx, limit, func(ctx context.Context) (Message, error) {
		for {
			item, err := c.q.q.Dequeue()
			if err == nil {
				return Message{Body: item.(*dqueItem).Body}, nil
			}
			if !errors.Is(err, dque.ErrEmpty) {
				return Message{}, err
			}
			select {
			case <-c.q.wake:
			case <-time.After(time.Millisecond): // another took the wake-up
			case <-ctx.Done():
				return Message{}, ctx.Err()
			}
		}
	})
}

func (c dqueConsumer) Ack([]Message) error { return nil }

func (c dqueConsumer) Close() error { return nil }
