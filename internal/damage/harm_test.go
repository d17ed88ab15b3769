package damage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// kind is a kind of file in a store's directory.
type kind string

const (
	kindTable    kind = "table"
	kindWAL      kind = "WAL"
	kindManifest kind = "MANIFEST"
	kindMarker   kind = "marker"
	kindOptions  kind = "OPTIONS"
	kindFormat   kind = "FORMAT"
	kindSynced   kind = "SYNCED"
	kindLock     kind = "LOCK"
	kindBallast  kind = "BALLAST"
)

// damage is what happens to a file.
type damage string

const (
	flip    damage = "bit flip"
	zero    damage = "zeroed block"
	cut     damage = "cut"
	extend  damage = "extended"
	swap    damage = "swapped"
	remove  damage = "deleted"
	oldCopy damage = "old copy"

	unreadable damage = "EIO" // of TestReadErrors
)

// inapplicable are those that change nothing: an empty file has no bits, and
// the format file and the options are the same in all stores at all times. The ballast
// has room on the disk, but no length.
var inapplicable = map[kind][]damage{
	kindMarker:  {zero},
	kindLock:    {flip, zero, cut, swap, oldCopy},
	kindBallast: {flip, zero, cut, swap, oldCopy},
	kindFormat:  {swap, oldCopy},
	kindOptions: {swap, oldCopy},
}

// harm is damage done to a file of a store.
type harm struct {
	kind   kind
	damage damage
	random *rand.Rand

	dir   string   // of the store
	older []string // its files at earlier moments, the latest first
	other string   // another store

	file     string   // the base name of what was damaged
	spot     string   // where in it
	names    []string // of which an error must have one
	harmless bool     // no data can be concerned
}

func (h *harm) String() string {
	return fmt.Sprintf("%s: %s %s", h.damage, h.file, h.spot)
}

func kindOf(name string) kind {
	switch {
	case strings.HasSuffix(name, ".sst"), strings.HasSuffix(name, ".blob"):
		return kindTable
	case strings.HasSuffix(name, ".log"):
		return kindWAL
	case strings.HasPrefix(name, "MANIFEST"):
		return kindManifest
	case strings.HasPrefix(name, "marker."):
		return kindMarker
	case strings.HasPrefix(name, "OPTIONS"):
		return kindOptions
	}
	return kind(name) // FORMAT, SYNCED, LOCK, BALLAST, and what else there may be
}

// files lists those of a kind in a directory, oldest first.
func files(dir string, k kind) (names []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if kindOf(e.Name()) == k {
			names = append(names, e.Name())
		}
	}
	return names
}

// errNothing says that there is nothing to damage in this way.
var errNothing = errors.New("nothing to damage")

// do damages a file in place: those who have it open see it. A store that runs may
// delete the file first: then it is another one.
func (h *harm) do() error {
	for {
		if err := h.once(); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

func (h *harm) once() error {
	names := files(h.dir, h.kind)
	if len(names) == 0 {
		return errNothing
	}
	h.file = h.choose(names)
	h.names = []string{h.file}
	if h.kind == kindMarker {
		h.names = []string{markerOf(h.file)}
	}
	h.harmless = h.kind == kindLock || h.kind == kindBallast
	if h.kind == kindMarker && h.damage != extend && h.damage != remove {
		return h.rename()
	}
	return h.change(filepath.Join(h.dir, h.file))
}

// choose picks a file. The newest of its kind is most often the one that
// counts; all tables do.
func (h *harm) choose(names []string) string {
	newest := names[len(names)-1]
	if h.kind == kindMarker && (h.damage == swap || h.damage == oldCopy) {
		return newest // that of the MANIFEST; the other one never changes
	}
	if h.kind != kindTable && h.kind != kindMarker && h.random.IntN(3) > 0 {
		return newest
	}
	return names[h.random.IntN(len(names))]
}

func (h *harm) change(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	switch h.damage {
	case flip:
		return h.flip(path, b)
	case zero:
		return h.zero(path, b)
	case cut:
		return h.cut(path, b)
	case extend:
		more := make([]byte, 1+h.random.IntN(4096))
		for i := range more {
			more[i] = byte(h.random.Uint32())
		}
		h.spot = fmt.Sprintf("by %d bytes", len(more))
		return patch(path, len(b), more)
	case swap:
		return h.swap(path, b)
	case remove:
		return os.Remove(path)
	default:
		return h.outdate(path, b)
	}
}

// place picks an offset in a file: in its head, its middle or its end, which in
// a table are data, data and what leads to them.
func (h *harm) place(size int) int {
	at := h.random.IntN(size)
	switch h.random.IntN(4) {
	case 0:
		at = h.random.IntN(min(size, 64))
	case 1:
		at = size - 1 - h.random.IntN(min(size, 64))
	case 2:
		at = size - 1 - h.random.IntN(min(size, 1024))
	}
	h.spot = fmt.Sprintf("at %d of %d", at, size)
	return at
}

func (h *harm) flip(path string, b []byte) error {
	if len(b) == 0 {
		return errNothing
	}
	at := h.place(len(b))
	return patch(path, at, []byte{b[at] ^ 1<<h.random.IntN(8)})
}

// zero clears a block of the file system's.
func (h *harm) zero(path string, b []byte) error {
	const block = 512
	if len(bytes.Trim(b, "\x00")) == 0 {
		return errNothing
	}
	for {
		from := h.place(len(b)) / block * block
		to := min(from+block<<h.random.IntN(4), len(b))
		if len(bytes.Trim(b[from:to], "\x00")) > 0 {
			h.spot = fmt.Sprintf("from %d to %d of %d", from, to, len(b))
			return patch(path, from, make([]byte, to-from))
		}
	}
}

func (h *harm) cut(path string, b []byte) error {
	if len(b) == 0 {
		return errNothing
	}
	return os.Truncate(path, int64(h.place(len(b))))
}

// swap exchanges the contents of two files of a kind. If there is only one, it
// gets that of another store.
func (h *harm) swap(path string, b []byte) error {
	others := slices.DeleteFunc(files(h.dir, h.kind), func(n string) bool { return n == h.file })
	if len(others) == 0 {
		return h.replace(path, b, []string{h.other}, h.file)
	}
	name := others[h.random.IntN(len(others))]
	c, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		return err
	}
	if bytes.Equal(b, c) {
		return errNothing
	}
	h.spot, h.names = "with "+name, append(h.names, name)
	return errors.Join(overwrite(path, c), overwrite(filepath.Join(h.dir, name), b))
}

// outdate gives a file its earlier content. A table never changes: it gets that
// of one that is gone.
func (h *harm) outdate(path string, b []byte) error {
	if h.kind != kindTable {
		return h.replace(path, b, h.older, h.file)
	}
	gone := slices.DeleteFunc(files(h.older[0], kindTable), func(n string) bool { return n == h.file })
	if len(gone) == 0 {
		return errNothing
	}
	return h.replace(path, b, h.older, gone[h.random.IntN(len(gone))])
}

// replace gives a file the content of another one, from the first directory that
// has another content of that name or, if there is no such file, of that kind.
func (h *harm) replace(path string, b []byte, dirs []string, name string) error {
	for _, dir := range dirs {
		names := files(dir, h.kind)
		if len(names) == 0 {
			continue
		}
		from := name
		if !slices.Contains(names, name) {
			from = names[len(names)-1]
		}
		c, err := os.ReadFile(filepath.Join(dir, from))
		if err != nil {
			return err
		}
		if !bytes.Equal(b, c) {
			h.spot = fmt.Sprintf("by %d bytes of %s for %d", len(c), from, len(b))
			return overwrite(path, c)
		}
	}
	return errNothing
}

// rename damages a marker, whose content is its name.
func (h *harm) rename() error {
	name := []byte(h.file)
	switch h.damage {
	case flip:
		digits := make([]int, 0, len(name))
		for i, c := range name {
			if c >= '0' && c <= '9' {
				digits = append(digits, i)
			}
		}
		name[digits[h.random.IntN(len(digits))]] ^= 1
	case cut:
		name = name[:len(name)-1-h.random.IntN(4)]
	default:
		dirs := h.older
		if h.damage == swap {
			dirs = []string{h.other}
		}
		name = h.otherMarker(dirs)
	}
	if name == nil || string(name) == h.file {
		return errNothing
	}
	h.spot = "renamed " + string(name)
	return os.Rename(filepath.Join(h.dir, h.file), filepath.Join(h.dir, string(name)))
}

// otherMarker returns the name that the marker has in the first directory where
// it has another one.
func (h *harm) otherMarker(dirs []string) []byte {
	for _, dir := range dirs {
		for _, n := range files(dir, kindMarker) {
			if markerOf(n) == markerOf(h.file) && n != h.file {
				return []byte(n)
			}
		}
	}
	return nil
}

// markerOf returns which marker it is: "marker.manifest" or another.
func markerOf(name string) string {
	f := strings.SplitN(name, ".", 3)
	return strings.Join(f[:min(2, len(f))], ".")
}

// overwrite changes the content of a file, which stays the same file.
func overwrite(path string, b []byte) error {
	return errors.Join(patch(path, 0, b), os.Truncate(path, int64(len(b))))
}

// patch changes a part of a file.
func patch(path string, at int, b []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, int64(at))
	return errors.Join(err, f.Close())
}
