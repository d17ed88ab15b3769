package store

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// onDisk follows the engine's files, for the sync record. What it knows is never
// ahead of the disk.
type onDisk struct {
	mu       sync.Mutex
	wals     []uint64 // in order
	manifest uint64   // its marker is on disk
	named    uint64   // by the newest marker, which may not be
	written  struct{ manifest, bytes uint64 }
}

// created notes that a file of that base name was created.
func (d *onDisk) created(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n, ok := walNumber(name); ok {
		d.wals = append(d.wals, n)
	}
	if _, value, ok := strings.Cut(name, manifestMarker); ok {
		d.named, _ = manifestNumber(value[strings.IndexByte(value, '.')+1:])
	}
}

// found notes the WALs that are there when the store is opened.
func (d *onDisk) found(wals []string) {
	for _, name := range wals {
		d.created(name)
	}
}

// removed notes that a file is gone, or has another name.
func (d *onDisk) removed(name string) {
	n, ok := walNumber(name)
	if !ok {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wals = slices.DeleteFunc(d.wals, func(wal uint64) bool { return wal == n })
}

// fileSynced notes that a file is on disk with that many bytes.
func (d *onDisk) fileSynced(name string, bytes uint64) {
	n, ok := manifestNumber(name)
	if !ok {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.written.manifest, d.written.bytes = n, bytes
}

// dirSynced notes that the newest marker is on disk, because its directory is.
func (d *onDisk) dirSynced() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.manifest = d.named
}

// progress is what the record says when operations up to seq are on disk.
func (d *onDisk) progress(seq uint64) progress {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := progress{seq: seq, manifest: d.manifest}
	if n := len(d.wals); n > 0 {
		p.oldestWAL, p.newestWAL = d.wals[0], d.wals[n-1]
	}
	if d.written.manifest == d.manifest {
		p.bytes = d.written.bytes
	}
	return p
}

// checkManifest compares the MANIFEST that the engine is about to read with the record.
func (p progress) checkManifest(fs vfs.FS, dir string) error {
	if p.manifest == 0 {
		return nil
	}
	current, err := atomicfs.ReadMarker(fs, dir, "manifest")
	if err != nil || current == "" {
		return fmt.Errorf("%w: %s: the file %s* that names the MANIFEST is missing or damaged; by %s the last one was %s",
			ErrCorrupt, dir, manifestMarker, recordName, manifestName(p.manifest))
	}
	n, ok := manifestNumber(current)
	if !ok || n < p.manifest {
		return fmt.Errorf("%w: %s: the file %s* names %s, but by %s %s was in use",
			ErrCorrupt, dir, manifestMarker, current, recordName, manifestName(p.manifest))
	}
	if n > p.manifest {
		return nil
	}
	info, err := fs.Stat(fs.PathJoin(dir, current))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, dir, err)
	}
	if uint64(info.Size()) < p.bytes {
		return fmt.Errorf("%w: %s: %s has %d bytes, but by %s %d were on disk",
			ErrCorrupt, dir, current, info.Size(), recordName, p.bytes)
	}
	return nil
}

// lostWAL says which WAL has lost operations that were on disk. What a failed attempt to
// open the store made of new WALs does not count.
func (p progress) lostWAL(wals []string) string {
	for _, n := range [...]uint64{p.newestWAL, p.oldestWAL} {
		if name := walName(n); n != 0 && !slices.Contains(wals, name) {
			return name + " is missing"
		}
	}
	switch {
	case p.newestWAL != 0:
		return "the end of " + walName(p.newestWAL) + " is missing or damaged"
	case len(wals) > 0:
		return "one of the WALs is missing or damaged: " + strings.Join(wals, ", ")
	}
	return "there is no WAL"
}
