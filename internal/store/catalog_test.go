package store_test

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

func inTurn(t *testing.T, s *store.Store, f store.OpFunc) {
	t.Helper()
	require.NoError(t, s.Do(ctx, f, store.Sync))
}

// listing shows the objects of a class.
func listing(t *testing.T, s *store.Store, class store.Class, prefix string) []string {
	t.Helper()
	found := []string{}
	inTurn(t, s, func(t *store.Turn) error {
		for _, o := range t.List(class, prefix) {
			found = append(found, fmt.Sprintf("%s #%d %s", o.Name, o.ID, o.Config))
		}
		return nil
	})
	return found
}

func TestCatalogSurvives(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := openStore(t, small(mem))
	reopen := func(crash bool) {
		next := mem
		if crash {
			next = mem.CrashClone(vfs.CrashCloneCfg{})
		}
		require.NoError(t, s.Close())
		mem = next
		s = openStore(t, small(mem))
	}
	create := func(class store.Class, name, config string) (id uint32) {
		inTurn(t, s, func(t *store.Turn) error {
			o, err := t.Create(class, name, []byte(config))
			if err == nil {
				id = o.ID
				t.Set(store.Key(store.KindLogBatch, id, 0), []byte("of "+name))
			}
			return err
		})
		return id
	}
	object := func(t *store.Turn, name string) *store.Object {
		o, _ := t.Lookup(store.ClassTopic, name)
		return o
	}

	require.EqualValues(t, 1, create(store.ClassTopic, "b", "{}"))
	require.EqualValues(t, 2, create(store.ClassTopic, "a/1", "{}"))
	require.EqualValues(t, 3, create(store.ClassQueue, "b", "{}"))
	require.EqualValues(t, 4, create(store.ClassTopic, "a/2", ""))
	inTurn(t, s, func(t *store.Turn) error { t.Alter(object(t, "b"), []byte("{1}")); return nil })
	inTurn(t, s, func(t *store.Turn) error { t.Drop(object(t, "a/2"), store.KindLogBatch); return nil })
	err := s.Do(ctx, store.OpFunc(func(t *store.Turn) error {
		_, err := t.Create(store.ClassTopic, "b", nil)
		return err
	}), store.Sync)
	require.ErrorIs(t, err, store.ErrInvalid, "a name is taken once in a class")

	for _, crash := range []bool{false, true, false} {
		require.Equal(t, []string{"a/1 #2 {}", "b #1 {1}"}, listing(t, s, store.ClassTopic, ""))
		require.Equal(t, []string{"a/1 #2 {}"}, listing(t, s, store.ClassTopic, "a/"))
		require.Equal(t, []string{"b #3 {}"}, listing(t, s, store.ClassQueue, ""))
		require.Empty(t, listing(t, s, store.ClassGroup, ""))
		for id, want := range map[uint32]string{1: "of b", 2: "of a/1", 3: "of b", 4: ""} {
			v, err := s.Get(ctx, store.Key(store.KindLogBatch, id, 0))
			require.NoError(t, err)
			require.Equal(t, want, string(v))
		}
		reopen(crash)
	}
	// The newest id was given up; it is not given again.
	inTurn(t, s, func(t *store.Turn) error { t.Drop(object(t, "b")); return nil })
	require.EqualValues(t, 5, create(store.ClassTopic, "b", ""))
	reopen(true)
	require.EqualValues(t, 6, create(store.ClassTopic, "c", ""))
	require.NoError(t, s.Close())
}

func TestNames(t *testing.T) {
	for name, want := range map[string]error{
		"a": nil, "orders.eu-1/ü": nil, string(make([]byte, 0)): store.ErrInvalid,
		"a\x00b": store.ErrInvalid, "a\n": store.ErrInvalid, "\x7f": store.ErrInvalid, "\xff": store.ErrInvalid,
		fmt.Sprintf("%0*d", store.MaxName, 0): nil, fmt.Sprintf("%0*d", store.MaxName+1, 0): store.ErrTooLarge,
	} {
		require.ErrorIs(t, store.CheckName("queue", name), want, "%.20q", name)
	}
}

func TestKeys(t *testing.T) {
	lo, hi := store.Span(store.KindLogBatch, 0xffffffff)
	require.Equal(t, []byte{0x10, 0xff, 0xff, 0xff, 0xff}, lo)
	require.Equal(t, []byte{0x11}, hi)
	lo, hi = store.Span(store.KindWorkMessage, 0x1ff)
	require.Equal(t, []byte{0x20, 0, 0, 1, 0xff}, lo)
	require.Equal(t, []byte{0x20, 0, 0, 2}, hi)
	require.Nil(t, store.PrefixEnd([]byte{0xff, 0xff}))
	require.Nil(t, store.PrefixEnd(nil))
}
