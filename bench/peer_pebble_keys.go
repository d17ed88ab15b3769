package main

import (
	"errors"
	"fmt"
	"hash/maphash"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// pebbleDedupe is get and set under a lock for the key's share of all keys.
type pebbleDedupe struct {
	db    *pebble.DB
	w     *pebble.WriteOptions
	seed  maphash.Seed
	locks [64]sync.Mutex
}

func openPebbleDedupe(e Env) (Dedupe, error) {
	db, err := openPebble(e)
	return &pebbleDedupe{db: db, w: pebbleWrite(e), seed: maphash.MakeSeed()}, err
}

func (d *pebbleDedupe) Fill(keys [][]byte, result []byte) error {
	b := d.db.NewBatch()
	for _, k := range keys {
		if err := b.Set(k, result, nil); err != nil {
			return err
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	return b.Close()
}

func (d *pebbleDedupe) Once(key, result []byte) (bool, []byte, error) {
	l := &d.locks[maphash.Bytes(d.seed, key)%uint64(len(d.locks))]
	l.Lock()
	defer l.Unlock()
	v, closer, err := d.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return true, result, d.db.Set(key, result, d.w)
	}
	if err != nil {
		return false, nil, err
	}
	return false, append([]byte(nil), v...), closer.Close()
}

func (d *pebbleDedupe) Close() error { return d.db.Close() }

// pebbleTx is a batch of five.
type pebbleTx struct {
	db  *pebble.DB
	w   *pebble.WriteOptions
	log struct {
		sync.Mutex
		next uint64
	}
}

func openPebbleTx(e Env) (Tx, error) {
	db, err := openPebble(e)
	return &pebbleTx{db: db, w: pebbleWrite(e)}, err
}

func (t *pebbleTx) Worker(n int) (func(int, []byte) error, error) {
	queue, state := []byte(fmt.Sprintf("q%02d", n)), []byte(fmt.Sprintf("s%02d", n))
	at := func(i int) []byte { return append(queue[:3:3], key('/', uint64(i))...) }
	if err := t.db.Set(at(0), []byte("first"), pebble.NoSync); err != nil {
		return nil, err
	}
	return func(i int, record []byte) error {
		received, closer, err := t.db.Get(at(i))
		if err != nil {
			return err
		}
		_ = append([]byte(nil), received...)
		if err := closer.Close(); err != nil {
			return err
		}
		dedupe := append([]byte("k"), key(byte(n), uint64(i))...)
		if _, _, err := t.db.Get(dedupe); !errors.Is(err, pebble.ErrNotFound) {
			return errors.Join(err, errors.New("the key was there already"))
		}
		t.log.Lock()
		number := t.log.next
		t.log.next++
		t.log.Unlock()
		b := t.db.NewBatch()
		err = errors.Join(
			b.Set(state, record, nil),
			b.Set(key('l', number), record, nil),
			b.Set(at(i+1), record, nil),
			b.Delete(at(i), nil),
			b.Set(dedupe, nil, nil),
		)
		if err != nil {
			return err
		}
		if err := b.Commit(t.w); err != nil {
			return err
		}
		return b.Close()
	}, nil
}

func (t *pebbleTx) Check() (records, keys, waiting int, err error) {
	it, err := t.db.NewIter(nil)
	if err != nil {
		return 0, 0, 0, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		switch it.Key()[0] {
		case 'l':
			records++
		case 'k':
			keys++
		case 'q':
			waiting++
		}
	}
	return records, keys, waiting, it.Close()
}

func (t *pebbleTx) Close() error { return t.db.Close() }
