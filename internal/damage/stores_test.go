package damage

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// base is a store that was built, in the directory "data" of its root, beside
// its ledger and earlier moments of its files.
//
//	root/data     the store
//	root/ledger   what it has acknowledged
//	root/first    its files after the first life
//	root/middle   in the middle of the last life
type base struct {
	name string
	root string
}

func (b base) dir() string    { return filepath.Join(b.root, "data") }
func (b base) ledger() string { return filepath.Join(b.root, "ledger") }
func (b base) first() string  { return filepath.Join(b.root, "first") }
func (b base) middle() string { return filepath.Join(b.root, "middle") }

const (
	baseSteps   = 450 // of a life that builds a store
	closedSteps = 120 // of the last life of one that is closed: its WAL holds them
	stallSteps  = 400
)

// bases are the stores that cases begin with, in three variants: closed
// cleanly, killed, and killed with several WALs.
type bases struct{ closed, killed, backlog base }

func (b bases) all() []base { return []base{b.closed, b.killed, b.backlog} }

// stores are built once for all tests.
var stores library

// library holds the stores of each seed, below a directory of its own.
type library struct {
	mu    sync.Mutex
	root  string
	built map[int]bases
}

// of returns the stores of a seed.
func (l *library) of(seed int) (bases, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b, known := l.built[seed]; known {
		return b, nil
	}
	if l.root == "" {
		root, err := os.MkdirTemp(scratch(), "damage")
		if err != nil {
			return bases{}, err
		}
		l.root, l.built = root, make(map[int]bases)
	}
	b, err := build(filepath.Join(l.root, strconv.Itoa(seed)), uint64(seed))
	if err == nil {
		l.built[seed] = b
	}
	return b, err
}

// scratch returns where stores are kept: in memory if there is room for them, as
// only processes die here and never the machine, else "", the default.
func scratch() string {
	const memory, room = "/dev/shm", 1 << 30
	if u, err := vfs.Default.GetDiskUsage(memory); err == nil && u.AvailBytes > room {
		return memory
	}
	return ""
}

// copyOf copies a store for one test.
func copyOf(t *testing.T, from base) base {
	t.Helper()
	root, err := os.MkdirTemp(scratch(), "damaged")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	require.NoError(t, copyDir(from.root, root))
	return base{from.name, root}
}

// build makes the stores of a seed. The three share their first lives.
func build(root string, seed uint64) (bases, error) {
	b := bases{
		killed:  base{"killed", filepath.Join(root, "killed")},
		closed:  base{"closed", filepath.Join(root, "closed")},
		backlog: base{"killed with a backlog", filepath.Join(root, "backlog")},
	}
	if err := os.MkdirAll(b.killed.dir(), 0o755); err != nil {
		return b, err
	}
	if err := b.killed.live(plan{Seed: seed, Steps: baseSteps}); err != nil {
		return b, err
	}
	if err := copyDir(b.killed.dir(), b.killed.first()); err != nil {
		return b, err
	}
	for _, p := range []plan{{Seed: seed, Steps: baseSteps}, {Seed: seed, Steps: baseSteps, Kill: true}} {
		if err := b.killed.live(p); err != nil {
			return b, err
		}
	}
	for _, other := range []struct {
		base base
		plan plan
	}{
		{b.closed, plan{Seed: seed, Steps: closedSteps}},
		{b.backlog, plan{Seed: seed, Steps: stallSteps, Stall: true, Kill: true}},
	} {
		if err := copyDir(b.killed.root, other.base.root); err != nil {
			return b, err
		}
		if err := other.base.live(other.plan); err != nil {
			return b, err
		}
	}
	return b, nil
}

// live runs one undamaged life and notes its middle.
func (b base) live(p plan) error {
	p.Dir, p.Ledger, p.Pauses = b.dir(), b.ledger(), true
	o, err := run(p, func(moment string) error {
		if moment != "midway" {
			return nil
		}
		if err := os.RemoveAll(b.middle()); err != nil {
			return err
		}
		return copyDir(b.dir(), b.middle())
	})
	if err != nil {
		return err
	}
	if v := judge(nil, o); v.worst() != allBack {
		return fmt.Errorf("building the store %q: %s", b.name, v)
	}
	return nil
}

// copyDir copies a directory tree. A file that vanishes meanwhile is left out.
func copyDir(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		return copyFile(path, filepath.Join(to, rel))
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
