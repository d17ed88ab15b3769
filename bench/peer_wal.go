package main

import (
	"fmt"
	"path/filepath"
	"sync"

	"github.com/tidwall/wal"
)

var walPeer = &Peer{
	Name:    "tidwall/wal",
	About:   "a segmented log; it has no group commit, so writers queue up",
	Modules: []string{"github.com/tidwall/wal"},
	Durable: "default: fsync for each write",
	Relaxed: "NoSync",
	Log:     openWAL,
}

type walLog struct {
	l    *wal.Log
	mu   sync.Mutex // indexes must come in order
	next uint64
	b    wal.Batch
}

func openWAL(e Env) (Log, error) {
	l, err := wal.Open(filepath.Join(e.Dir, "wal"), &wal.Options{NoSync: !e.durable(), NoCopy: true})
	if err != nil {
		return nil, err
	}
	last, err := l.LastIndex()
	return &walLog{l: l, next: last}, err
}

func (l *walLog) Append(records [][]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(records) == 1 {
		l.next++
		return l.l.Write(l.next, records[0])
	}
	l.b.Clear()
	for _, r := range records {
		l.next++
		l.b.Write(l.next, r)
	}
	return l.l.WriteBatch(&l.b)
}

func (l *walLog) Replay(n int, f func([]byte) error) error {
	for i := range n {
		record, err := l.l.Read(uint64(i) + 1)
		if err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		if err := f(record); err != nil {
			return err
		}
	}
	return nil
}

func (l *walLog) Close() error { return l.l.Close() }
