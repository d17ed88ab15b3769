package store

import (
	"errors"
	"io"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ownFiles verifies FORMAT and SYNCED.
func (v *verification) ownFiles() {
	if err := checkFormat(v.s.opts.FS, v.s.opts.Dir); err != nil {
		v.loseFile(formatName, err)
	}
	if err := v.synced(); err != nil {
		v.loseFile(recordName, err)
	}
}

func (v *verification) loseFile(name string, err error) {
	v.damages.add(Damage{File: name, Part: partFile, Err: err})
}

// recordLooks bounds how often a Verify reads a sync record that is being written.
const recordLooks = 10

// synced compares the sync record with what was written to it last. It is written in
// place all the time, so a look may find a slot half written. Damage is still there at the
// next looks.
func (v *verification) synced() (err error) {
	d := &v.s.guard.onDisk
	for range recordLooks {
		before := d.state()
		found, unread := readRecord(v.s.opts.FS, v.s.opts.Dir)
		after := d.state()
		from, to := before.last.number, after.last.number
		switch {
		case !after.kept:
			return unread
		case unread != nil:
			err = damagedBlock("%v", unread)
		case found == before.last || from < found.number && found.number <= to:
			return nil
		default:
			err = damagedBlock("its newest write is number %d, of operation %d and %s, not number %d, of operation %d and %s",
				found.number, found.seq, manifestName(found.manifest.number), from, before.last.seq, manifestName(before.last.manifest.number))
		}
	}
	return err
}

// journals verifies the MANIFEST and the WALs. The engine may write on in the newest of
// each. It reads no WAL whose changes are all in tables, so the end of such a one may be
// torn: that is what a crash leaves of the newest.
func (v *verification) journals() error {
	first, err := v.manifest()
	if err != nil {
		return err
	}
	fs, dir := v.s.opts.FS, v.s.opts.Dir
	before := v.s.guard.onDisk.state().wals
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	after := v.s.guard.onDisk.state().wals
	for _, n := range after {
		if name := walName(n); n >= first && slices.Contains(before, n) && !slices.Contains(names, name) {
			v.loseFile(name, damagedBlock("the WAL is missing"))
		}
	}
	logs := filesOf(names, isWAL)
	for i, n := range logs {
		number, _ := walNumber(n)
		if number < first {
			continue
		}
		err := v.journal(n, number, i < len(logs)-1, func([]byte, int64) error { return nil })
		if err != nil {
			return err
		}
	}
	return nil
}

// manifest verifies the markers and the MANIFEST that the next Open would read. It returns
// the first WAL that is needed.
//
// The engine may go over to another MANIFEST at any time. Whatever was found meanwhile says
// nothing, and is looked at again.
func (v *verification) manifest() (wal uint64, err error) {
	d := &v.s.guard.onDisk
	for {
		before := d.state()
		names, err := v.s.opts.FS.List(v.s.opts.Dir)
		if err != nil {
			return 0, err
		}
		name, bad := before.checkMarkers(names)
		if d.state().named != before.named {
			continue
		}
		if marker := (markerError{}); errors.As(bad, &marker) {
			v.loseFile(marker.file, damagedBlock("%v", bad))
			if name, _ = currentManifest(names); !slices.Contains(names, name) {
				return 0, nil
			}
		}
		m := newManifest()
		err = v.journal(name, 0, false, func(b []byte, _ int64) error {
			_ = m.apply(b) // only for the first WAL that is needed
			return nil
		})
		if err == nil {
			err = v.onRecord(name, before.manifest)
		}
		switch {
		case !errors.Is(err, os.ErrNotExist):
			return m.wal, err
		case d.state().named == before.named:
			v.loseFile(name, damagedBlock("the MANIFEST is missing"))
			return m.wal, nil
		}
	}
}

// onRecord compares a MANIFEST with what by the sync record is on disk of it.
func (v *verification) onRecord(name string, w written) error {
	number, _ := manifestNumber(name)
	reported := slices.ContainsFunc(v.damages.list, func(d Damage) bool { return d.File == name })
	if number != w.number || reported {
		return nil
	}
	f, err := v.s.opts.FS.Open(v.s.opts.FS.PathJoin(v.s.opts.Dir, name))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	b, err := v.prefix(f, w.bytes)
	if err != nil {
		return err
	}
	if err := w.check(b); err != nil {
		v.loseFile(name, damagedBlock("%s %w", name, err))
	}
	return nil
}

// prefix reads the first n bytes of a file, or all that can be read of them.
func (v *verification) prefix(f vfs.File, n uint64) (b []byte, err error) {
	for uint64(len(b)) < n {
		block := make([]byte, min(journalBlock, n-uint64(len(b))))
		if err := v.pace.read(len(block)); err != nil {
			return nil, err
		}
		got, err := io.ReadFull(f, block)
		b = append(b, block[:got]...)
		if err != nil {
			break
		}
	}
	return b, nil
}

// journal verifies one of them. If it is closed, its end must not be torn either.
//
// The engine may use a WAL again under another name, while it is read. So damage counts
// only if a second look finds it at the same place, in a file that is still there.
func (v *verification) journal(name string, number uint64, closed bool, record func(b []byte, at int64) error) error {
	fs := v.s.opts.FS
	path := fs.PathJoin(v.s.opts.Dir, name)
	look := func() ([]journalDamage, error) {
		lost, err := readJournal(fs, path, number, v.pace.read, record)
		if errors.Is(err, os.ErrNotExist) && number != 0 {
			return nil, nil // obsolete by now
		}
		return lost, err
	}
	v.progress.Files++
	first, err := look()
	if err != nil || len(first) == 0 {
		return err
	}
	second, err := look()
	for _, d := range second {
		if d.torn && !closed || !slices.ContainsFunc(first, func(f journalDamage) bool { return f.offset == d.offset }) {
			continue
		}
		v.damages.add(Damage{
			File: name, Part: partRecord, Offset: d.offset, Length: d.length,
			Err: damagedBlock("the next Open could not read what is on record there"),
		})
	}
	return err
}
