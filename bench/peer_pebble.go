package main

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

var pebblePeer = &Peer{
	Name: "pebble",
	About: "the bare engine with our options, used as directly as the work allows: a key for each message, " +
		"queues in memory that nothing could recover",
	Modules:    []string{"github.com/cockroachdb/pebble/v2"},
	Durable:    "Sync commits; deletions NoSync",
	Relaxed:    "NoSync commits: the engine keeps up to 32 KiB in the process",
	Log:        openPebbleLog,
	Groups:     true,
	Queue:      openPebbleQueue,
	Visibility: openPebbleVisibility,
	FIFO:       true,
	Fanout:     openPebbleFanout,
	Router:     openPebbleRouter,
	Dedupe:     openPebbleDedupe,
	Tx:         openPebbleTx,
}

// openPebble opens the engine with the options of the library, so that what is
// compared is the work and not the settings.
func openPebble(e Env) (*pebble.DB, error) {
	const memory = 16 << 20
	o := &pebble.Options{
		CacheSize:                   memory / 2,
		FormatMajorVersion:          pebble.FormatTableFormatV6,
		Logger:                      quiet{},
		MemTableSize:                memory / 4,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		MaxOpenFiles:                200,
	}
	o.Experimental.FileCacheShards = 1
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	return pebble.Open(e.Dir, o)
}

type quiet struct{}

func (quiet) Infof(string, ...any)         {}
func (quiet) Errorf(string, ...any)        {}
func (quiet) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

func pebbleWrite(e Env) *pebble.WriteOptions {
	if e.durable() {
		return pebble.Sync
	}
	return pebble.NoSync
}

// key is a kind, and a number in the order of the engine.
func key(kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, n)
}

func keyNumber(k []byte) uint64 { return binary.BigEndian.Uint64(k[len(k)-8:]) }

type pebbleLog struct {
	db   *pebble.DB
	w    *pebble.WriteOptions
	next atomic.Uint64
}

func openPebbleLog(e Env) (Log, error) {
	db, err := openPebble(e)
	return &pebbleLog{db: db, w: pebbleWrite(e)}, err
}

func (l *pebbleLog) Append(records [][]byte) error {
	last := l.next.Add(uint64(len(records)))
	b := l.db.NewBatch()
	for i, r := range records {
		if err := b.Set(key('l', last-uint64(len(records)-i)), r, nil); err != nil {
			return err
		}
	}
	if err := b.Commit(l.w); err != nil {
		return err
	}
	return b.Close()
}

func (l *pebbleLog) Replay(n int, f func([]byte) error) error {
	return l.replay(n, f, func(int) error { return nil })
}

func (l *pebbleLog) ReplayGroup(name string, n, commitEvery int, f func([]byte) error) error {
	cursor := []byte("g" + name)
	return l.replay(n, f, func(done int) error {
		if done%commitEvery > 0 {
			return nil
		}
		return l.db.Set(cursor, key('l', uint64(done)), pebble.NoSync)
	})
}

func (l *pebbleLog) replay(n int, f func([]byte) error, after func(done int) error) error {
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte("l"), UpperBound: []byte("m")})
	if err != nil {
		return err
	}
	defer it.Close()
	done := 0
	for ok := it.First(); ok && done < n; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if err := f(v); err != nil {
			return err
		}
		done++
		if err := after(done); err != nil {
			return err
		}
	}
	return it.Error()
}

func (l *pebbleLog) Close() error { return l.db.Close() }
