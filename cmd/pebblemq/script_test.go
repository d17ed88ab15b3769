package main

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pebblemq": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"store":  makeStore,
			"hold":   hold,
			"bulk":   bulk,
			"damage": damage,
			"code":   code,
		},
	})
}

// script reports the failures of assertions in a script.
type script struct{ *testscript.TestScript }

func (s script) Errorf(format string, args ...any) { s.Logf(format, args...) }
func (s script) FailNow()                          { s.Fatalf("failed") }

// store DIR makes a store with objects of all kinds.
func makeStore(ts *testscript.TestScript, _ bool, args []string) { fill(script{ts}, ts.MkAbs(args[0])) }

// bulk DIR adds a topic that fills a table.
func bulk(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(openStore(ts.MkAbs(args[0]), func(db *pebblemq.DB) error {
		ctx := context.Background()
		t, err := log.OpenTopic(ctx, db, "bulk", nil)
		if err != nil {
			return err
		}
		noise := rand.NewChaCha8([32]byte{})
		records := make([]log.Record, 1000)
		for i := range records {
			records[i].Value = make([]byte, 1000)
			_, _ = noise.Read(records[i].Value) // cannot fail
			if _, err := t.Append(pebblemq.WithDurability(ctx, pebblemq.NoSync), records[i]); err != nil {
				return err
			}
		}
		return nil
	}))
}

// hold DIR has a store open until the script ends.
func hold(ts *testscript.TestScript, _ bool, args []string) {
	db, err := pebblemq.Open(ts.MkAbs(args[0]), nil)
	ts.Check(err)
	ts.Defer(func() { ts.Check(db.Close()) })
}

// damage DIR changes bytes in the middle of the largest table of a store.
func damage(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(openStore(dir, func(*pebblemq.DB) error { return nil })) // writes tables
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	ts.Check(err)
	if len(tables) == 0 {
		ts.Fatalf("%s has no tables", dir)
	}
	largest := slices.MaxFunc(tables, func(a, b string) int { return cmp.Compare(size(ts, a), size(ts, b)) })
	text, err := os.ReadFile(largest)
	ts.Check(err)
	for i := range 64 {
		text[len(text)/2+i] ^= 0x55
	}
	ts.Check(os.WriteFile(largest, text, 0o644))
}

func size(ts *testscript.TestScript, name string) int64 {
	info, err := os.Stat(name)
	ts.Check(err)
	return info.Size()
}

// code N COMMAND... runs a command and expects an exit code.
func code(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	got := 0
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}
