package main

import (
	"context"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// mqPeer is this library, with its default options.
var mqPeer = &Peer{
	Name:       "pebblemq",
	About:      "this library, default options",
	Modules:    []string{"github.com/pebblemq/pebblemq"},
	Durable:    "Options.Durability Sync, the default; acknowledgements and receives NoSync, their default",
	Relaxed:    "Options.Durability NoSync: an fsync within 10 ms",
	Log:        openMQLog,
	Groups:     true,
	Queue:      openMQQueue,
	Visibility: openMQVisibility,
	FIFO:       true,
	Fanout:     openMQFanout,
	Router:     openMQRouter,
	Dedupe:     openMQDedupe,
	Tx:         openMQTx,
}

// bg is the context of what nothing ends.
var bg = context.Background()

func openMQ(e Env) (*pebblemq.DB, error) {
	d := pebblemq.NoSync
	if e.durable() {
		d = pebblemq.Sync
	}
	return pebblemq.Open(e.Dir, &pebblemq.Options{Durability: d})
}

type mqLog struct {
	db    *pebblemq.DB
	topic *log.Topic
}

func openMQLog(e Env) (Log, error) {
	db, err := openMQ(e)
	if err != nil {
		return nil, err
	}
	topic, err := log.OpenTopic(bg, db, "log", nil)
	return &mqLog{db, topic}, err
}

func (l *mqLog) Append(records [][]byte) error {
	if len(records) == 1 {
		_, err := l.topic.Append(bg, log.Record{Value: records[0]})
		return err
	}
	batch := make([]log.Record, len(records))
	for i, r := range records {
		batch[i].Value = r
	}
	_, err := l.topic.Append(bg, batch...)
	return err
}

func (l *mqLog) Replay(n int, f func([]byte) error) error {
	r, err := l.topic.NewReader(0, log.Start())
	if err != nil || n == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	for record, err := range r.Records(ctx) {
		if err != nil {
			return err
		}
		if err := f(record.Value); err != nil {
			return err
		}
		if n--; n == 0 {
			break
		}
	}
	return nil
}

func (l *mqLog) ReplayGroup(name string, n, commitEvery int, f func([]byte) error) error {
	g, err := l.topic.OpenGroup(bg, name, nil)
	if err != nil {
		return err
	}
	m, err := g.Join(bg, nil)
	if err != nil {
		return err
	}
	for n > 0 {
		records, err := m.Poll(bg, min(n, commitEvery))
		if err != nil {
			return err
		}
		for _, r := range records {
			if err := f(r.Value); err != nil {
				return err
			}
		}
		if err := m.Commit(bg, records[len(records)-1]); err != nil {
			return err
		}
		n -= len(records)
	}
	return m.Leave(bg)
}

func (l *mqLog) Close() error { return l.db.Close() }
