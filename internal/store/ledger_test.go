package store_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/pebblemq/pebblemq/internal/store"
)

// ledger is a tiny layer with rules that any loss, gap or torn group breaks: entries are
// numbered without gaps in the order of acceptance, a count rides along once a group, and some
// changes are transactions of two entries and an application key.
type ledger struct {
	store.Sealed
	s    *store.Store
	size int // of a value

	next     uint64 // under the baton, as the two below
	visible  uint64
	disorder error // first breach of the order of Visible

	mu struct {
		sync.Mutex
		synced uint64 // newest entry acknowledged as Sync
	}
}

var (
	ledgerCount   = store.Key(store.KindLogMeta, 7, 0)
	ledgerBalance = []byte("\x02balance")
)

func entryKey(n uint64) []byte {
	return binary.BigEndian.AppendUint64(store.Key(store.KindLogBatch, 7, 8), n)
}

// The first byte of an entry says where it stands in its transaction.
const (
	alone  = 'a'
	first  = 'f'
	second = 's'
)

// Seal writes the count of the group.
func (l *ledger) Seal(t *store.Turn) {
	t.Set(ledgerCount, binary.BigEndian.AppendUint64(nil, l.next))
}

type appendEntry struct {
	l    *ledger
	role byte
	n    uint64
}

func (o *appendEntry) Run(t *store.Turn) error {
	o.l.next++
	o.n = o.l.next
	v := make([]byte, o.l.size)
	v[0] = o.role
	for i := 1; i < len(v); i++ {
		v[i] = byte(i * int(o.n) >> 3) // not to be compressed away
	}
	t.Set(entryKey(o.n), v)
	if o.role == second {
		t.Set(ledgerBalance, binary.BigEndian.AppendUint64(nil, o.n))
	}
	t.Touch(o.l)
	return nil
}

func (o *appendEntry) Undo() { o.l.next-- }

func (o *appendEntry) Visible(*store.Turn) {
	if o.n != o.l.visible+1 && o.l.disorder == nil {
		o.l.disorder = fmt.Errorf("entry %d became visible after %d", o.n, o.l.visible)
	}
	o.l.visible = o.n
}

// add appends one entry.
func (l *ledger) add(ctx context.Context, d store.Durability) error {
	op := &appendEntry{l: l, role: alone}
	return l.acked(op, d, l.s.Do(ctx, op, d))
}

// addTwo appends two in a transaction.
func (l *ledger) addTwo(ctx context.Context, d store.Durability) error {
	tx, err := l.s.Begin(store.WithDurability(ctx, d))
	if err != nil {
		return err
	}
	defer tx.End()
	a, b := &appendEntry{l: l, role: first}, &appendEntry{l: l, role: second}
	if err := errors.Join(tx.Add(a, l.size), tx.Add(b, l.size)); err != nil {
		return err
	}
	return l.acked(b, d, tx.Commit())
}

func (l *ledger) acked(op *appendEntry, d store.Durability, err error) error {
	if err == nil && d == store.Sync {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.mu.synced = max(l.mu.synced, op.n)
	}
	return err
}

func (l *ledger) synced() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.synced
}

// mix makes the i-th change of a mixed load.
func (l *ledger) mix(ctx context.Context, i int) error {
	d := store.NoSync
	if i%4 == 3 {
		d = store.Sync
	}
	if i%3 == 2 {
		return l.addTwo(ctx, d)
	}
	return l.add(ctx, d)
}

// openLedger reads a ledger back and checks its rules; synced is what must be
// there at least.
func openLedger(s *store.Store, size int, synced uint64) (*ledger, error) {
	n, role, err := countEntries(s, size)
	if err != nil {
		return nil, err
	}
	count, err := number(s, ledgerCount)
	if err != nil {
		return nil, err
	}
	balance, err := number(s, ledgerBalance)
	if err != nil {
		return nil, err
	}
	switch {
	case n < synced:
		return nil, fmt.Errorf("%d entries were acknowledged, %d are left", synced, n)
	case count != n:
		return nil, fmt.Errorf("the count of a group is %d, its entries end with %d", count, n)
	case role == first:
		return nil, fmt.Errorf("half a transaction at entry %d", n)
	case role == second && balance != n:
		return nil, fmt.Errorf("entry %d of a transaction without its key (%d)", n, balance)
	}
	l := &ledger{s: s, size: size, next: n, visible: n}
	l.mu.synced = n
	return l, nil
}

func countEntries(s *store.Store, size int) (n uint64, role byte, err error) {
	lo, hi := store.Span(store.KindLogBatch, 7)
	it, err := s.Iter(context.Background(), lo, hi)
	if err != nil {
		return 0, 0, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			return 0, 0, errors.Join(err, it.Close())
		}
		if n++; string(it.Key()) != string(entryKey(n)) || len(v) != size {
			return 0, 0, errors.Join(fmt.Errorf("gap before entry %x", it.Key()), it.Close())
		}
		role = v[0]
	}
	return n, role, it.Close()
}

func number(s *store.Store, key []byte) (uint64, error) {
	v, err := s.Get(ctx, key)
	if err != nil || v == nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}
