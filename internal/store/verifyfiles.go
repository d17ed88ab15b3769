package store

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// tableParts are the tables that are made of one file: one, or several that are parts
// of it.
type tableParts []pebble.SSTableInfo

// tables verifies the tables that are live as the pass comes to them. One that a
// compaction has replaced meanwhile is gone, with what it held in others.
func (v *verification) tables() error {
	done := make(map[uint64]bool)
	for vanished := true; vanished; {
		files, err := v.liveFiles()
		if err != nil {
			return err
		}
		v.progress.TotalFiles, v.progress.TotalBytes = v.progress.Files, v.pace.bytes
		for number, parts := range files {
			if !done[number] {
				v.progress.TotalFiles++
				v.progress.TotalBytes += int64(parts[0].Size)
			}
		}
		vanished = false
		for number, parts := range files {
			if done[number] {
				continue
			}
			done[number] = true
			there, err := v.table(number, parts)
			if err != nil {
				return err
			}
			if there {
				v.progress.Files++
				v.report.Tables++
			}
			vanished = vanished || !there
		}
	}
	slices.SortStableFunc(v.damages.list, func(a, b Damage) int { return cmp.Compare(a.File, b.File) })
	return nil
}

// liveFiles asks the engine for its tables, by the number of their files.
func (v *verification) liveFiles() (map[uint64]tableParts, error) {
	tables, err := v.s.engineTables(v.pace.ctx)
	if err != nil {
		return nil, err
	}
	files := make(map[uint64]tableParts)
	for _, t := range tables {
		number := uint64(t.BackingSSTNum)
		files[number] = append(files[number], t)
	}
	return files, nil
}

// table verifies a file. It reports false if the file is not there any more because no
// table is made of it.
func (v *verification) table(number uint64, parts tableParts) (there bool, err error) {
	f, err := openTable(v.s.opts.FS, v.s.opts.Dir, tableName(number), v.pace.read)
	if err != nil {
		if files, listErr := v.liveFiles(); listErr != nil || files[number] == nil {
			return false, listErr
		}
		v.lose(parts, tableName(number), damagedPart{part: partFile, lo: []byte{}, err: damagedBlock("open: %v", err)})
		return true, nil
	}
	defer func() { _ = f.Close() }() // it was only read
	if is := stampOf(f.File); is != 0 && is != number {
		v.lose(parts, f.name, damagedPart{part: partFile, lo: []byte{}, err: damagedBlock("the file is another table, which was written as %s", tableName(is))})
		return true, nil
	}
	m, err := f.survey()
	if err != nil {
		return true, err
	}
	for _, p := range m.damaged {
		if p.lo == nil {
			p.lo = []byte{} // the engine opens no table without them
		}
		v.lose(parts, f.name, p)
	}
	return true, v.dataBlocks(f, m, parts)
}

// dataBlocks compares the checksums of all data blocks, and the first and last key with
// those that the engine expects in the table.
func (v *verification) dataBlocks(f *tableFile, m *tableMap, parts tableParts) error {
	var smallest, largest []byte
	lo := []byte{}
	for i, e := range m.data {
		_, _, err := f.check(e.Handle)
		if err == nil && (i == 0 || i == len(m.data)-1) {
			var b, first, last []byte
			if b, err = f.block(e.Handle); err == nil {
				first, last, err = keysOf(b)
			}
			if i == 0 {
				smallest = first
			}
			largest = last
		}
		switch {
		case errors.As(err, new(blockError)):
			v.lose(parts, f.name, damagedPart{partData, e.Handle, lo, append(bytes.Clone(e.hi), 0), err})
		case err != nil:
			return err
		}
		lo = e.hi
	}
	if t := parts[0]; !t.Virtual && len(m.damaged) == 0 && smallest != nil && largest != nil {
		v.bounds(t, f, m, smallest, largest)
	}
	return nil
}

// bounds detects a file that is whole, but not the one that it should be, although it has
// no stamp that says so.
func (v *verification) bounds(t pebble.SSTableInfo, f *tableFile, m *tableMap, smallest, largest []byte) {
	for _, d := range m.deletions {
		if bytes.Compare(d.lo, smallest) < 0 {
			smallest = d.lo
		}
		if bytes.Compare(d.hi, largest) > 0 {
			largest = d.hi
		}
	}
	if t.Size == f.size && bytes.Equal(t.Smallest.UserKey, smallest) && bytes.Equal(t.Largest.UserKey, largest) {
		return
	}
	v.lose(tableParts{t}, f.name, damagedPart{part: partFile, lo: []byte{}, err: damagedBlock(
		"the file is another table than it should be: %d bytes with keys %x to %x, not %d with %x to %x",
		f.size, smallest, largest, t.Size, t.Smallest.UserKey, t.Largest.UserKey)})
}

// lose reports damage of a file, with what it costs the tables that are made of it.
func (v *verification) lose(parts tableParts, file string, p damagedPart) {
	d := Damage{File: file, Part: p.part, Offset: int64(p.Offset), Length: int64(p.Length), Err: p.err}
	for _, t := range parts {
		lo, hi := t.Smallest.UserKey, append(bytes.Clone(t.Largest.UserKey), 0)
		if !overlap(lo, hi, p.lo, p.hi) {
			continue
		}
		if bytes.Compare(p.lo, lo) > 0 {
			lo = p.lo
		}
		if p.hi != nil && bytes.Compare(p.hi, hi) < 0 {
			hi = p.hi
		}
		if d.Lo == nil || bytes.Compare(lo, d.Lo) < 0 {
			d.Lo = lo
		}
		if d.Hi == nil || bytes.Compare(hi, d.Hi) > 0 {
			d.Hi = hi
		}
	}
	v.damages.add(d)
}
