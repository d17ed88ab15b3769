package store_test

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// tallyOp is number n of a row of operations. Each adds an item with its number,
// drops that of the one 8 before, and sets the total to its number.
type tallyOp struct {
	n      uint64
	filler int // further keys, which make the batch a large one
}

func (o tallyOp) Run(t *store.Turn) error {
	t.Set(itemKey(o.n), nil)
	if o.n > 8 {
		t.Delete(itemKey(o.n - 8))
	}
	t.Set(totalKey, binary.BigEndian.AppendUint64(nil, o.n))
	for i := range o.filler {
		t.Set(fmt.Appendf([]byte{byte(store.KindApp)}, "filler/%06d", i), make([]byte, 200))
	}
	return nil
}

func (o tallyOp) Undo()               {}
func (o tallyOp) Visible(*store.Turn) {}

var totalKey = []byte{byte(store.KindApp), 't'}

func itemKey(n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(store.KindApp), 'e'}, n)
}

// tally is what a reader saw: the number of the newest item and the total.
type tally struct{ newest, total uint64 }

func readTally(it *store.Iter) (l tally, err error) {
	if it.SeekBelow(itemKey(1 << 63)) {
		l.newest = binary.BigEndian.Uint64(it.Key()[2:])
	}
	if it.Seek(totalKey) {
		var v []byte
		if v, err = it.Value(); err == nil {
			l.total = binary.BigEndian.Uint64(v)
		}
	}
	return l, err
}

// tearing is how long the readers look. The engine shows a part of a batch for some
// instructions only: "make torn" runs the test on an engine that takes its time there.
var tearing = flag.Duration("tearing", time.Second, "how long readers look for torn operations")

// A tallyOp has up to so many further keys: in a short run some hundred KiB, in a long
// one as much as the largest transaction.
func maxFiller() int {
	if *tearing < time.Minute {
		return 1 << 10
	}
	return store.MaxTx / 220
}

// someFiller draws a number of keys. Each power of two is as likely as the others.
func someFiller() int { return int(math.Pow(float64(maxFiller()), rand.Float64())) }

func TestNoReaderSeesAPartOfAnOperation(t *testing.T) {
	s := openStore(t, small(vfs.NewMem()))
	defer func() { require.NoError(t, s.Close()) }()
	ctx := context.Background()
	require.NoError(t, s.Do(ctx, tallyOp{n: 1}, store.Sync))

	var stop atomic.Bool
	var wg sync.WaitGroup
	var looks, torn atomic.Int64
	view := func() (*store.Iter, func()) {
		sn, err := s.Snapshot(ctx)
		require.NoError(t, err)
		it, err := sn.Iter(itemKey(0), store.PrefixEnd(totalKey))
		require.NoError(t, err)
		return it, sn.Close
	}
	iter := func() (*store.Iter, func()) {
		it, err := s.Iter(ctx, itemKey(0), store.PrefixEnd(totalKey))
		require.NoError(t, err)
		return it, func() {}
	}
	for i := range 6 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for !stop.Load() {
				it, done := [...]func() (*store.Iter, func()){view, iter}[i%2]()
				l, err := readTally(it)
				require.NoError(t, err)
				require.NoError(t, it.Close())
				done()
				looks.Add(1)
				if l.newest != l.total {
					torn.Add(1)
					t.Logf("reader %d: newest item %d, total %d", i, l.newest, l.total)
				}
			}
		}()
	}
	for n, end := uint64(2), time.Now().Add(*tearing); time.Now().Before(end); n++ {
		require.NoError(t, s.Do(ctx, tallyOp{n, int(n%2) * someFiller()}, store.NoSync))
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d looks, %d torn", looks.Load(), torn.Load())
	require.Zero(t, torn.Load())
}
