package pebblemqtest

import (
	"bytes"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// stores counts the stores of this package that are open.
var stores struct {
	sync.Mutex
	open int
}

// opened counts a store, and returns the goroutines of stores that are there before it.
func opened() (before map[string]bool) {
	stores.Lock()
	defer stores.Unlock()
	stores.open++
	before = make(map[string]bool)
	for _, g := range goroutines() {
		before[g.id] = true
	}
	return before
}

// closed counts the end of a store. It reports whether there is no other.
func closed() (alone bool) {
	stores.Lock()
	defer stores.Unlock()
	stores.open--
	return stores.open == 0
}

// goroutine is one that is in the store or its engine, or was started by them.
type goroutine struct {
	id    string
	stack string
}

// ours is what is in the stack of such a goroutine.
var ours = []string{"github.com/pebblemq/pebblemq/internal/", "github.com/cockroachdb/pebble/"}

// goroutines returns those of all stores, without the caller.
func goroutines() (list []goroutine) {
	text := make([]byte, 1<<20)
	for {
		n := runtime.Stack(text, true)
		if n < len(text) {
			text = text[:n]
			break
		}
		text = make([]byte, 2*len(text))
	}
	for i, stack := range bytes.Split(text, []byte("\n\n")) {
		g := goroutine{stack: string(stack)}
		if i > 0 && g.isOurs() {
			g.id, _, _ = strings.Cut(strings.TrimPrefix(g.stack, "goroutine "), " ")
			list = append(list, g)
		}
	}
	return list
}

func (g goroutine) isOurs() bool {
	for _, name := range ours {
		if strings.Contains(g.stack, name) {
			return true
		}
	}
	return false
}

// patience is how long goroutines may take to end after their store.
const patience = 2 * time.Second

// requireNoneLeft fails the test if there are goroutines of stores that were not there before.
func requireNoneLeft(t testing.TB, before map[string]bool) {
	t.Helper()
	var left []string
	for pause := time.Millisecond; ; pause *= 2 {
		left = left[:0]
		for _, g := range goroutines() {
			if !before[g.id] {
				left = append(left, g.stack)
			}
		}
		if len(left) == 0 {
			return
		}
		if pause > patience/2 {
			break
		}
		time.Sleep(pause)
	}
	t.Errorf("pebblemqtest: %d goroutines are left after the store was closed:\n\n%s", len(left), strings.Join(left, "\n\n"))
}
