package store

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// unapplied looks a key up in what the engine has not applied yet. The baton
// is held.
func (s *Store) unapplied(key []byte) (value []byte, known bool) {
	p, known := s.open.index.get(s.open.batch.Repr(), key)
	if !known && s.applying != nil {
		p, known = s.applying.index.get(s.applying.repr, key)
	}
	if !known {
		return nil, false
	}
	return p.clone(), true
}

// engineGet reads what the engine has applied.
func (s *Store) engineGet(key []byte) ([]byte, error) {
	if err := s.readers.enter(); err != nil {
		return nil, err
	}
	defer s.readers.exit()
	for {
		epoch := s.awaitWhole()
		v, err := copyValue(s.db.Get(key))
		if s.whole(epoch) {
			return v, err
		}
	}
}

// engineFirst returns the first key in [lo, hi) that the engine has applied, or nil.
func (s *Store) engineFirst(lo, hi []byte) (key []byte, err error) {
	if err := s.readers.enter(); err != nil {
		return nil, err
	}
	defer s.readers.exit()
	it, err := s.engineIter(s.db, &pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		return nil, damaged(err)
	}
	defer func() { err = damaged(errors.Join(err, it.Close())) }()
	if it.First() {
		key = append([]byte{}, it.Key()...)
	}
	return key, nil
}

// closer is what the engine returns beside a value that it still owns.
type closer interface{ Close() error }

func copyValue[C closer](v []byte, c C, err error) ([]byte, error) {
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, damaged(err)
	}
	v = append([]byte{}, v...)
	return v, c.Close()
}

// Get returns a copy of the value of key, or nil. It sees every change accepted before the call,
// also those that are not visible yet. The caller must not hand the value out unless it knows
// that the value is visible.
func (s *Store) Get(ctx context.Context, key []byte) ([]byte, error) {
	return s.get(ctx, key, s.engineGet)
}

func (s *Store) get(ctx context.Context, key []byte, applied func(key []byte) ([]byte, error)) ([]byte, error) {
	if err := s.mu.LockUntil(ctx, s.closed); err != nil { // a store that has failed can be read
		return nil, err
	}
	v, known := s.unapplied(key)
	s.mu.Unlock()
	if known {
		return v, nil
	}
	return applied(key)
}

// Probe is Get for a key that is new most of the time: the filters answer for
// tables of every level, which the engine's own Get does not ask in the last.
func (s *Store) Probe(ctx context.Context, key []byte) ([]byte, error) {
	return s.get(ctx, key, s.engineProbe)
}

// engineProbe reads all levels at once, and what it cannot read of an older version must
// not hide a newer one: the engine's Get ends at that.
func (s *Store) engineProbe(key []byte) ([]byte, error) {
	v, err := s.probeLevels(key)
	if IsUnread(err) {
		return s.engineGet(key)
	}
	return v, err
}

func (s *Store) probeLevels(key []byte) (value []byte, err error) {
	if err := s.readers.enter(); err != nil {
		return nil, err
	}
	defer s.readers.exit()
	it, err := s.engineIter(s.db, &pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return nil, damaged(err)
	}
	defer func() { err = damaged(errors.Join(err, it.Close())) }()
	if !it.SeekPrefixGE(key) {
		return nil, nil // or an error, which Close returns
	}
	v, err := it.ValueAndErr()
	return append([]byte{}, v...), err
}

// Iter walks keys in order. It pins engine memory: close it soon. It is for
// one goroutine.
type Iter struct {
	it     *pebble.Iterator
	s      *Store
	lo, hi []byte    // the bounds, of one that may PassOver
	skip   *skipping // nil if it does not
	closed func()    // may be nil
	failed error     // of the first move that could not read, unless PassOver went on
}

// moved keeps the error of a move that failed, because the engine forgets it at the next move. A
// loop of seeks would then take an unreadable key for an absent one.
func (i *Iter) moved(ok bool) bool {
	if !ok && i.failed == nil && i.skip == nil {
		i.failed = i.it.Error()
	}
	return ok
}

// Iter returns an iterator over [lo, hi) that sees every change accepted
// before the call, under the same caveat as Get. It must not be called under
// the baton.
func (s *Store) Iter(ctx context.Context, lo, hi []byte) (*Iter, error) {
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	if err := s.readers.enter(); err != nil {
		return nil, err
	}
	i, err := s.iter(s.engineIter(s.db, &pebble.IterOptions{LowerBound: lo, UpperBound: hi}))
	if err == nil {
		i.lo, i.hi = lo, hi
	}
	return i, err
}

// engineIter returns an iterator of the engine, or of a batch over it, that shows
// each batch wholly or not at all.
func (s *Store) engineIter(from pebble.Reader, o *pebble.IterOptions) (*pebble.Iterator, error) {
	for {
		epoch := s.awaitWhole()
		it, err := from.NewIter(o)
		if err != nil || s.whole(epoch) {
			return it, err
		}
		if err := it.Close(); err != nil {
			return nil, err
		}
	}
}

// iter wraps an iterator of the engine, for whom readers was entered.
func (s *Store) iter(it *pebble.Iterator, err error) (*Iter, error) {
	if err != nil {
		s.readers.exit()
		return nil, damaged(err)
	}
	return &Iter{it: it, s: s}, nil
}

// First moves to the first key and reports whether there is one.
func (i *Iter) First() bool { return i.moved(i.first()) }

// Last moves to the last key and reports whether there is one.
func (i *Iter) Last() bool { return i.moved(i.it.Last()) }

// Seek moves to the first key that is not below key.
func (i *Iter) Seek(key []byte) bool { return i.moved(i.seek(key)) }

// SeekBelow moves to the last key below key.
func (i *Iter) SeekBelow(key []byte) bool { return i.moved(i.it.SeekLT(key)) }

// Next moves on and reports whether there is another key.
func (i *Iter) Next() bool { return i.moved(i.next()) }

// Prev moves back and reports whether there is another key.
func (i *Iter) Prev() bool { return i.moved(i.it.Prev()) }

// Valid reports whether the iterator stands on a key.
func (i *Iter) Valid() bool { return i.it.Valid() && !i.ended() }

// Key is valid until the next move.
func (i *Iter) Key() []byte { return i.it.Key() }

// Value is valid until the next move.
func (i *Iter) Value() ([]byte, error) {
	v, err := i.it.ValueAndErr()
	return v, damaged(err)
}

// Close releases the iterator and returns the first error it met.
func (i *Iter) Close() error {
	err := i.closeSkipping(i.it.Close())
	if err == nil {
		err = i.failed
	}
	err = damaged(err)
	if i.closed != nil {
		i.closed()
	}
	i.s.readers.exit()
	return err
}

// Snapshot is a stable view of what no crash can take back.
type Snapshot struct {
	s  *Store
	sn *pebble.Snapshot
}

// Snapshot returns a view that holds every change accepted before the call,
// after waiting until all that it shows is visible. On a failed store, or one
// that is stuck on a full disk, it shows what reads can reach.
func (s *Store) Snapshot(ctx context.Context) (*Snapshot, error) {
	if err := s.settle(ctx); err != nil && !errors.Is(err, ErrDiskFull) {
		return nil, err
	}
	sn, err := s.snapshot()
	if err != nil {
		return nil, err
	}
	if err := s.Fence(ctx); err != nil {
		sn.Close()
		return nil, err
	}
	return sn, nil
}

// snapshot returns a view that shows each batch wholly or not at all.
func (s *Store) snapshot() (*Snapshot, error) {
	for {
		if err := s.readers.enter(); err != nil {
			return nil, err
		}
		epoch := s.awaitWhole()
		sn := &Snapshot{s: s, sn: s.db.NewSnapshot()}
		if s.whole(epoch) {
			return sn, nil
		}
		sn.Close()
	}
}

// Fence waits until everything accepted so far is visible.
func (s *Store) Fence(ctx context.Context) error {
	err := s.Do(WithDurability(ctx, Sync), QuietFunc(func(*Turn) error { return nil }), Sync)
	if errors.Is(err, ErrFailed) || errors.Is(err, ErrDiskFull) {
		return nil
	}
	return err
}

// Get returns a copy of the value of key, or nil.
func (v *Snapshot) Get(key []byte) ([]byte, error) { return copyValue(v.sn.Get(key)) }

// Iter walks [lo, hi).
func (v *Snapshot) Iter(lo, hi []byte) (*Iter, error) {
	if err := v.s.readers.enter(); err != nil {
		return nil, err
	}
	return v.s.iter(v.sn.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi}))
}

// Close releases the view. Iterators of it are closed first.
func (v *Snapshot) Close() {
	v.s.asideBriefly(viewGrace, func() { _ = v.sn.Close() }, func() {}) // the engine's error is always nil
}
