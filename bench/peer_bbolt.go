package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

var bboltPeer = &Peer{
	Name:    "bbolt",
	About:   "a B+ tree in one file, a key for each message, db.Batch when there are several writers; a queue is its keys, and where it stands is in memory",
	Modules: []string{"go.etcd.io/bbolt"},
	Durable: "default: fdatasync for each transaction",
	Relaxed: "NoSync: a loss of power may leave the file damaged",
	Log:     openBboltLog,
	Groups:  true,
	Queue:   openBboltQueue,
	Dedupe:  openBboltDedupe,
	Tx:      openBboltTx,
}

// boltDB is a database with one bucket.
type boltDB struct {
	*bbolt.DB
	next    atomic.Uint64
	writers atomic.Int32
}

var bucket = []byte("b")

func openBbolt(e Env) (*boltDB, error) {
	db, err := bbolt.Open(filepath.Join(e.Dir, "db"), 0o600, &bbolt.Options{
		NoSync: !e.durable(), NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	if err != nil {
		return nil, err
	}
	db.MaxBatchDelay = 100 * time.Microsecond // the default of 10 ms is far beyond an fsync
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	return &boltDB{DB: db}, err
}

// change is an Update for a writer that is alone, who would wait in vain for
// others to share a Batch with.
func (d *boltDB) change(f func(*bbolt.Tx) error) error {
	defer d.writers.Add(-1)
	if d.writers.Add(1) == 1 {
		return d.Update(f)
	}
	return d.Batch(f)
}

// put stores bodies under the next numbers. Numbers are given out in the
// transaction, since what is appended in order keeps the pages full.
func (d *boltDB) put(bodies [][]byte) (first uint64, err error) {
	err = d.change(func(tx *bbolt.Tx) error {
		n := uint64(len(bodies))
		first = d.next.Add(n) - n
		b := tx.Bucket(bucket)
		b.FillPercent = 1
		for i, body := range bodies {
			if err := b.Put(key('m', first+uint64(i)), body); err != nil {
				return err
			}
		}
		return nil
	})
	return first, err
}

type boltLog struct{ *boltDB }

func openBboltLog(e Env) (Log, error) {
	d, err := openBbolt(e)
	return boltLog{d}, err
}

func (l boltLog) Append(records [][]byte) error {
	_, err := l.put(records)
	return err
}

func (l boltLog) Replay(n int, f func([]byte) error) error {
	_, err := l.replay(nil, n, f)
	return err
}

// replay reads n records behind a key and returns the last one's.
func (l boltLog) replay(after []byte, n int, f func([]byte) error) (last []byte, err error) {
	err = l.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucket).Cursor()
		k, v := c.First()
		if after != nil {
			c.Seek(after)
			k, v = c.Next()
		}
		for ; k != nil && n > 0; k, v = c.Next() {
			if err := f(v); err != nil {
				return err
			}
			last = append(last[:0], k...)
			n--
		}
		return nil
	})
	return last, err
}

func (l boltLog) ReplayGroup(name string, n, commitEvery int, f func([]byte) error) error {
	var at []byte
	for n > 0 {
		last, err := l.replay(at, min(n, commitEvery), f)
		if err != nil {
			return err
		}
		if last == nil {
			return errors.New("the log ends early")
		}
		err = l.Update(func(tx *bbolt.Tx) error {
			cursors, err := tx.CreateBucketIfNotExists([]byte("cursors"))
			if err != nil {
				return err
			}
			return cursors.Put([]byte(name), last)
		})
		if err != nil {
			return err
		}
		at = last
		n -= commitEvery
	}
	return nil
}

// boltQueue hands out the messages behind the last one that it handed out. Those
// that were not deleted are there after a reopen.
type boltQueue struct {
	*boltDB
	wake chan struct{}
	head struct {
		sync.Mutex
		next uint64
	}
}

func openBboltQueue(e Env) (Queue, error) {
	d, err := openBbolt(e)
	return &boltQueue{boltDB: d, wake: make(chan struct{}, 1)}, err
}

func (q *boltQueue) Publish(bodies [][]byte) error {
	if _, err := q.put(bodies); err != nil {
		return err
	}
	q.signal()
	return nil
}

func (q *boltQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns the next messages that are there.
func (q *boltQueue) take(limit int) (got []Message, err error) {
	q.head.Lock()
	defer q.head.Unlock()
	err = q.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucket).Cursor()
		for k, v := c.Seek(key('m', q.head.next)); k != nil; k, v = c.Next() {
			if len(got) == limit {
				q.signal() // for another consumer
				break
			}
			got = append(got, Message{Body: append([]byte(nil), v...), id: keyNumber(k)})
		}
		return nil
	})
	if len(got) > 0 {
		q.head.next = got[len(got)-1].id + 1
	}
	return got, err
}

func (q *boltQueue) Consumer(int) (Consumer, error) { return boltConsumer{q}, nil }

type boltConsumer struct{ q *boltQueue }

func (c boltConsumer) Receive(ctx context.Context, limit int) ([]Message, error) {
	for {
		got, err := c.q.take(limit)
		if err != nil || len(got) > 0 {
			return got, err
		}
		select {
		case <-c.q.wake:
		case <-ctx.Done():
			return nil, nil
		}
	}
}

func (c boltConsumer) Ack(messages []Message) error {
	return c.q.change(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		for _, m := range messages {
			if err := b.Delete(key('m', m.id)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c boltConsumer) Close() error { return nil }

type boltDedupe struct{ *boltDB }

func openBboltDedupe(e Env) (Dedupe, error) {
	d, err := openBbolt(e)
	return boltDedupe{d}, err
}

func (d boltDedupe) Fill(keys [][]byte, result []byte) error {
	return d.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		for _, k := range keys {
			if err := b.Put(k, result); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d boltDedupe) Once(key, result []byte) (fresh bool, found []byte, err error) {
	look := func(tx *bbolt.Tx) error {
		found = append([]byte(nil), tx.Bucket(bucket).Get(key)...)
		return nil
	}
	if err := d.View(look); err != nil || len(found) > 0 {
		return false, found, err
	}
	err = d.change(func(tx *bbolt.Tx) error {
		if err := look(tx); err != nil || len(found) > 0 {
			return err
		}
		fresh = true
		return tx.Bucket(bucket).Put(key, result)
	})
	return fresh, found, err
}

type boltTx struct{ *boltDB }

func openBboltTx(e Env) (Tx, error) {
	d, err := openBbolt(e)
	if err != nil {
		return nil, err
	}
	err = d.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{"log", "keys", "queue"} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
	return boltTx{d}, err
}

func (t boltTx) Worker(n int) (func(int, []byte) error, error) {
	state := []byte(fmt.Sprintf("state %d", n))
	at := func(i int) []byte { return key(byte(n), uint64(i)) }
	err := t.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("queue")).Put(at(0), []byte("first")) })
	return func(i int, record []byte) error {
		return t.change(func(tx *bbolt.Tx) error {
			queue, keys := tx.Bucket([]byte("queue")), tx.Bucket([]byte("keys"))
			if queue.Get(at(i)) == nil || keys.Get(at(i)) != nil {
				return errors.New("no message is waiting, or its key is there")
			}
			log := tx.Bucket([]byte("log"))
			number, err := log.NextSequence()
			return errors.Join(err,
				tx.Bucket(bucket).Put(state, record),
				log.Put(key('l', number), record),
				queue.Put(at(i+1), record),
				queue.Delete(at(i)),
				keys.Put(at(i), []byte{}))
		})
	}, err
}

func (t boltTx) Check() (records, keys, waiting int, err error) {
	err = t.View(func(tx *bbolt.Tx) error {
		records = tx.Bucket([]byte("log")).Stats().KeyN
		keys = tx.Bucket([]byte("keys")).Stats().KeyN
		waiting = tx.Bucket([]byte("queue")).Stats().KeyN
		return nil
	})
	return records, keys, waiting, err
}
