package store_test

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq/internal/store"
)

func TestSmoke(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s, err := store.Open(store.Options{FS: fs, Dir: "data"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for i := range 10 {
		if err := s.Do(ctx, &setOp{[]byte{2, byte(i)}, []byte("x")}, store.Sync); err != nil {
			t.Fatal(err)
		}
	}
	clone := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = store.Open(store.Options{FS: clone, Dir: "data"})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Unclean() {
		t.Error("clean")
	}
	v, err := s.Get(ctx, []byte{2, 9})
	if string(v) != "x" || err != nil {
		t.Fatal(v, err)
	}
	s.Close()
	s, err = store.Open(store.Options{FS: clone, Dir: "data"})
	if err != nil || s.Unclean() {
		t.Fatal(err, s.Unclean())
	}
	s.Close()
}
