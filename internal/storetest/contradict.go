package storetest

import (
	"context"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Contradict changes records of the closed store in directory "data" behind the back of
// their layer. It expects that Verify reports a text, and that a salvaged store is in good
// order again, which it returns open.
func Contradict(t testing.TB, fs *vfs.MemFS, text string, change func(*store.Turn)) *pebblemq.DB {
	t.Helper()
	bg := context.Background()
	s, err := store.Open(store.Options{FS: fs, Dir: "data"})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Do(bg, store.OpFunc(func(turn *store.Turn) error {
		change(turn)
		return nil
	}), store.Sync)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Verify(bg, store.VerifyOptions{BytesPerSecond: store.Unlimited})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, c := range r.Contradictions {
		found = append(found, c.String())
	}
	if all := strings.Join(found, "\n"); !strings.Contains(all, text) {
		t.Errorf("verify found %q, not %q", all, text)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	saved, err := store.Salvage(bg, "data", "saved", store.SalvageOptions{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if len(saved.Unrepaired) > 0 || len(saved.Repaired) == 0 {
		t.Errorf("salvage left %v, and repaired %v", saved.Unrepaired, saved.Repaired)
	}
	s, err = store.Open(store.Options{FS: fs, Dir: "saved"})
	if err != nil {
		t.Fatal(err)
	}
	db := bridge.DB(s).(*pebblemq.DB)
	Verify(t, db)
	return db
}
