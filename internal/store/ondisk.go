package store

import (
	"slices"
	"sync"
	"sync/atomic"
)

// onDisk follows the engine's files, for the sync record. It is never ahead of the disk.
type onDisk struct {
	ended atomic.Bool // the directory may have another owner

	mu       sync.Mutex  // held while the record is written
	record   *syncRecord // nil in memory, and until Open has compared it
	seq      uint64      // newest group on disk
	wals     []uint64    // in order
	manifest uint64      // its marker is on disk
	named    uint64      // by the newest marker, which may not be
	written  written     // of the MANIFEST that was synced last
}

// found notes what is there when the store is opened.
func (d *onDisk) found(p progress, wals []string) {
	d.seq, d.manifest, d.named, d.written = p.seq, p.manifest.number, p.manifest.number, p.manifest
	for _, name := range wals {
		d.created(name)
	}
}

// follow begins to write to the record. It first writes everything that is known already.
func (d *onDisk) follow(r *syncRecord) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.record = r
	d.put()
}

// close ends the record.
func (d *onDisk) close() {
	d.ended.Store(true)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.record != nil {
		d.record.close()
	}
}

// groupSynced notes that operations up to seq are on disk.
func (d *onDisk) groupSynced(seq uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seq = seq
	d.put()
}

// created notes that a file of that base name was created. The record need not know of
// it before there is something in it.
func (d *onDisk) created(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n, ok := walNumber(name); ok {
		d.wals = append(d.wals, n)
	}
	if m, ok := parseMarker(name); ok && m.what == manifestMarker {
		d.named, _ = manifestNumber(m.value)
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
	d.put()
}

// manifestSynced notes how much of a MANIFEST is on disk.
func (d *onDisk) manifestSynced(w written) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.written = w
	d.put()
}

// dirSynced notes that the newest marker is on disk, because its directory is.
func (d *onDisk) dirSynced() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.manifest != d.named {
		d.manifest = d.named
		d.put()
	}
}

// put writes the record. The caller has the lock.
func (d *onDisk) put() {
	if d.kept() {
		d.record.put(d.progress())
	}
}

// kept reports whether the record is being written.
func (d *onDisk) kept() bool { return d.record != nil && d.record.f != nil && !d.ended.Load() }

// progress is what goes to the record.
func (d *onDisk) progress() progress {
	p := progress{seq: d.seq, manifest: written{number: d.manifest}}
	newest := d.wals[max(len(d.wals)-maxWALs, 0):]
	copy(p.wals[maxWALs-len(newest):], newest)
	if d.written.number == d.manifest {
		p.manifest = d.written
	}
	return p
}

// diskState is what onDisk knows at a moment.
type diskState struct {
	progress
	named uint64   // the MANIFEST of the newest marker
	wals  []uint64 // all of them
	last  progress // the newest write to the record
	kept  bool     // the record is being written
}

func (d *onDisk) state() diskState {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := diskState{progress: d.progress(), named: d.named, wals: slices.Clone(d.wals), kept: d.kept()}
	if st.kept {
		st.last = d.record.last
	}
	return st
}
