package store

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// checkManifest looks at the markers and the MANIFEST before the engine does. The engine
// ends its reading of the MANIFEST silently at a damaged record. Then it misses tables, or
// takes older ones for live, and its error is about these.
//
// What the record says is on disk must be there, byte for byte. Behind that the end may be
// torn by a crash. A record that is damaged before a whole one is not torn: the engine
// syncs each before it writes the next.
func (p progress) checkManifest(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return fmt.Errorf("pebblemq: open %s: %w", dir, err)
	}
	current, err := p.checkMarkers(names)
	if err != nil || current == "" {
		return corruptIn(dir, err)
	}
	b, err := readWhole(fs, fs.PathJoin(dir, current))
	if err != nil {
		return fmt.Errorf("pebblemq: open %s: %w", dir, err)
	}
	if number, _ := manifestNumber(current); number == p.manifest.number {
		err = p.manifest.check(b)
	}
	if err == nil {
		err = checkRecords(b)
	}
	if err != nil {
		err = fmt.Errorf("%s %w", current, err)
	}
	return corruptIn(dir, err)
}

// corruptIn makes what is wrong with a file of a directory an ErrCorrupt.
func corruptIn(dir string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s: %w", ErrCorrupt, dir, err)
}

// markerError says what is wrong with a marker.
type markerError struct {
	file string
	error
}

func badMarker(file, format string, args ...any) error {
	return markerError{file, fmt.Errorf(format, args...)}
}

// checkMarkers returns the MANIFEST that the engine is going to read, "" if the store has
// none yet. An error is a markerError.
func (p progress) checkMarkers(names []string) (current string, err error) {
	for _, name := range names {
		if _, ok := parseMarker(name); isMarker(name) && !ok {
			return "", badMarker(name, "the name of %s is damaged", name)
		}
	}
	m, marked := currentMarker(names, manifestMarker)
	if !marked && p.manifest.number == 0 && !slices.ContainsFunc(names, holdsData) {
		return "", nil
	}
	if !marked {
		file := markerFiles(manifestMarker)
		return "", badMarker(file, "the file %s, which names the MANIFEST, is missing%s", file, p.last())
	}
	switch n, ok := manifestNumber(m.value); {
	case !ok:
		return "", badMarker(m.file, "%s names no MANIFEST%s", m.file, p.last())
	case !slices.Contains(names, m.value):
		return "", badMarker(m.file, "%s names a MANIFEST that is missing%s", m.file, p.last())
	case n < p.manifest.number:
		return "", badMarker(m.file, "%s names an older MANIFEST%s", m.file, p.last())
	}
	if _, marked := currentMarker(names, formatMarker); !marked && p.seq > 0 {
		file := markerFiles(formatMarker)
		return "", badMarker(file, "the file %s is missing", file)
	}
	return m.value, nil
}

// last says which MANIFEST was the current one.
func (p progress) last() string {
	if p.manifest.number == 0 {
		return ""
	}
	return fmt.Sprintf("; by %s the last one was %s", recordName, manifestName(p.manifest.number))
}

// holdsData reports whether a file is one that the engine makes only when its MANIFEST has
// a marker.
func holdsData(name string) bool { return isTable(name) || isWAL(name) }

// add notes bytes that were written to the MANIFEST.
func (w *written) add(b []byte) {
	w.bytes += uint64(len(b))
	w.sum = crc32.Update(w.sum, castagnoli, b)
}

// check compares the content of the MANIFEST with what was written to it.
func (w written) check(b []byte) error {
	if uint64(len(b)) < w.bytes {
		return fmt.Errorf("has %d bytes, but by %s %d were on disk", len(b), recordName, w.bytes)
	}
	if crc32.Checksum(b[:w.bytes], castagnoli) != w.sum {
		return fmt.Errorf("is damaged: its first %d bytes are not those that by %s were on disk", w.bytes, recordName)
	}
	return nil
}

// checkRecords looks for damage in a MANIFEST that no crash explains.
func checkRecords(b []byte) error {
	whole := 0
	j := journal{
		r: bytes.NewReader(b), size: int64(len(b)),
		read:   func(int) error { return nil },
		record: func([]byte, int64) error { whole++; return nil },
	}
	if err := j.run(); err != nil {
		return err
	}
	for _, d := range j.lost {
		if !d.torn {
			return fmt.Errorf("is damaged from byte %d to %d", d.offset, d.offset+d.length)
		}
	}
	if whole == 0 {
		return fmt.Errorf("holds no whole record")
	}
	return nil
}

func readWhole(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	_ = f.Close() // it was only read
	return b, err
}
