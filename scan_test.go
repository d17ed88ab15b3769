package pebblemq_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// closes fails the test if the store does not close: a walk that was not ended
// keeps the engine open.
func closes(t *testing.T, db *pebblemq.DB) {
	t.Helper()
	closed := make(chan error, 1)
	go func() { closed <- db.Close() }()
	select {
	case err := <-closed:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		t.Fatal("Close waits for a walk that is over")
	}
}

func TestAScanThatIsLeftLetsTheStoreClose(t *testing.T) {
	leave := map[string]func(*pebblemq.Tx){
		"by break": func(tx *pebblemq.Tx) {
			for range tx.Scan(nil) {
				break
			}
		},
		"by a panic": func(tx *pebblemq.Tx) {
			for range tx.Scan(nil) {
				panic("boom")
			}
		},
		"by the end of its goroutine": func(tx *pebblemq.Tx) {
			for range tx.Scan(nil) {
				runtime.Goexit()
			}
		},
	}
	for name, f := range leave {
		for verb := range map[string]bool{"Update": true, "View": true} {
			t.Run(name+" in "+verb, func(t *testing.T) {
				db, err := pebblemq.OpenMemory(nil)
				require.NoError(t, err)
				set(t, db, "a", "1")
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					defer func() { _ = recover() }()
					run := db.Update
					if verb == "View" {
						run = db.View
					}
					_ = run(bg, func(tx *pebblemq.Tx) error { f(tx); return nil })
				}()
				<-ended
				closes(t, db)
			})
		}
	}
}

func TestAScanInAScan(t *testing.T) {
	db := storetest.Open(t, nil)
	require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error {
		for i := range 3 {
			if err := tx.Set([]byte{byte(i)}, nil); err != nil {
				return err
			}
		}
		pairs := 0
		for a, err := range tx.Scan(nil) {
			require.NoError(t, err)
			for b, err := range tx.Scan(&pebblemq.ScanOptions{From: a.Key}) {
				require.NoError(t, err)
				require.NoError(t, tx.Set(append(a.Key, b.Key...), nil))
				pairs++
			}
		}
		require.Equal(t, 3+2+1, pairs, "writes do not show in a walk that is under way")
		n := 0
		for range tx.Scan(nil) {
			n++
		}
		require.Equal(t, 3+6, n)
		return nil
	}))
}

func TestScanBounds(t *testing.T) {
	db := storetest.Open(t, nil)
	for _, key := range []string{"", "a", "b", "b\x00", "\xff"} {
		set(t, db, key, "")
	}
	for _, c := range []struct {
		from, to []byte
		want     []string
	}{
		{nil, nil, []string{"", "a", "b", "b\x00", "\xff"}},
		{[]byte{}, nil, []string{"", "a", "b", "b\x00", "\xff"}},
		{nil, []byte{}, nil},
		{[]byte("a"), []byte("b"), []string{"a"}},
		{[]byte("b"), []byte("a"), nil},
		{[]byte("b"), []byte("b\x00"), []string{"b"}},
		{[]byte("\xff"), nil, []string{"\xff"}},
	} {
		for _, own := range []bool{false, true} {
			require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error {
				if own {
					require.NoError(t, tx.Delete([]byte("nothing")))
				}
				var got []string
				for e, err := range tx.Scan(&pebblemq.ScanOptions{From: c.from, To: c.to}) {
					require.NoError(t, err)
					got = append(got, string(e.Key))
				}
				require.Equal(t, c.want, got, "[%q, %q)", c.from, c.to)
				return nil
			}))
		}
	}
}

// A goroutine that goes on with a transaction after its end meets an error or
// the old state, and never the memory of another transaction.
func TestAScanThatOutlivesItsTransaction(t *testing.T) {
	db := storetest.Open(t, nil)
	next, goOn := make(chan string), make(chan struct{})
	require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error {
		for i := range 100 {
			if err := tx.Set(fmt.Appendf(nil, "old%02d", i), []byte("old")); err != nil {
				return err
			}
		}
		go func() {
			defer close(next)
			for e, err := range tx.Scan(nil) {
				if err != nil {
					return
				}
				next <- string(e.Key) + string(e.Value)
				<-goOn
			}
		}()
		require.Equal(t, "old00old", <-next)
		return nil
	}))
	for i := range 10 { // takes what the ended one gave back, if it did
		require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error {
			for j := range 100 {
				if err := tx.Set(fmt.Appendf(nil, "new%d-%02d", i, j), []byte("new")); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	n := 1
	for goOn <- struct{}{}; ; goOn <- struct{}{} {
		kv, ok := <-next
		if !ok {
			break
		}
		require.Equal(t, fmt.Sprintf("old%02dold", n), kv)
		n++
		if n == 100 {
			goOn <- struct{}{}
			_, ok = <-next
			require.False(t, ok)
			break
		}
	}
}

// A read that was cut off before it could see all that came before does not
// leave the next one with less.
func TestACancelledReadIsAnErrorTheSecondTimeToo(t *testing.T) {
	db := storetest.Open(t, nil)
	nosync := pebblemq.WithDurability(bg, pebblemq.NoSync)
	for i := range 500 {
		ctx, cancel := context.WithCancel(bg)
		err := db.Update(ctx, func(tx *pebblemq.Tx) error {
			require.NoError(t, db.Update(nosync, increment))
			cancel()
			_, first := tx.Get([]byte("n"))
			v, second := tx.Get([]byte("n"))
			if first != nil && second == nil {
				require.Equal(t, fmt.Sprint(i+1), string(v))
			}
			return nil
		})
		require.ErrorIs(t, err, context.Canceled)
	}
}

func TestANilFunctionIsRefused(t *testing.T) {
	db := storetest.Open(t, nil)
	require.ErrorIs(t, db.Update(bg, nil), pebblemq.ErrInvalid)
	require.ErrorIs(t, db.View(bg, nil), pebblemq.ErrInvalid)
}

// A scan returns the sorted keys between its bounds, up to its limit.
func TestScanOptionsBehaveLikeTheirModel(t *testing.T) {
	db := storetest.Open(t, nil)
	text := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 'a', 'b', 0xff}), 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		model := make(map[string]bool)
		o := &pebblemq.ScanOptions{
			Prefix: rapid.OneOf(rapid.Just([]byte(nil)), text).Draw(t, "prefix"),
			From:   rapid.OneOf(rapid.Just([]byte(nil)), text).Draw(t, "from"),
			To:     rapid.OneOf(rapid.Just([]byte(nil)), text).Draw(t, "to"),
			Limit:  rapid.IntRange(0, 4).Draw(t, "limit"), Reverse: rapid.Bool().Draw(t, "reverse"),
		}
		var got []string
		require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error {
			for e, err := range tx.Scan(nil) {
				require.NoError(t, err)
				require.NoError(t, tx.Delete(e.Key))
			}
			for _, key := range rapid.SliceOfN(text, 0, 12).Draw(t, "keys") {
				model[string(key)] = true
				require.NoError(t, tx.Set(key, nil))
			}
			for e, err := range tx.Scan(o) {
				require.NoError(t, err)
				got = append(got, string(e.Key))
			}
			return nil
		}))
		var want []string
		for key := range model {
			if strings.HasPrefix(key, string(o.Prefix)) && key >= string(o.From) && (o.To == nil || key < string(o.To)) {
				want = append(want, key)
			}
		}
		slices.Sort(want)
		if o.Reverse {
			slices.Reverse(want)
		}
		if o.Limit > 0 && len(want) > o.Limit {
			want = want[:o.Limit]
		}
		require.Equal(t, want, got)
	})
}

func TestABadScanLimitIsRefused(t *testing.T) {
	db := storetest.Open(t, nil)
	require.NoError(t, db.View(bg, func(tx *pebblemq.Tx) error {
		n := 0
		for _, err := range tx.Scan(&pebblemq.ScanOptions{Limit: -1}) {
			require.ErrorIs(t, err, pebblemq.ErrInvalid)
			n++
		}
		require.Equal(t, 1, n)
		return nil
	}))
}
