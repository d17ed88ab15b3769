package store

import (
	"bytes"
	"errors"
	"os"
	"slices"
)

// readSource finds out what the store consists of, and reads its WALs.
func (v *salvage) readSource() error {
	names, err := v.fs.List(v.src)
	if err != nil {
		return err
	}
	if err := v.readFormat(names); err != nil {
		return err
	}
	m, err := v.readManifest(names)
	if err != nil {
		return err
	}
	if err := v.readTables(names, m); err != nil {
		return err
	}
	return v.readWALs(names, m)
}

// readFormat refuses what is not a store, or of another format.
func (v *salvage) readFormat(names []string) error {
	isEngine := func(name string) bool {
		_, isTable := tableNumber(name)
		return isTable || isWAL(name)
	}
	if !slices.ContainsFunc(names, isEngine) {
		return ErrNotStore
	}
	err := checkFormat(v.fs, v.src)
	if errors.Is(err, ErrFormat) {
		return err
	}
	if err != nil {
		v.damages.add(Damage{File: formatName, Part: partFile, Err: err})
	}
	return nil
}

// readManifest reads the MANIFEST. If it is damaged the older ones are read before it: what
// they say still holds, unless it says otherwise.
func (v *salvage) readManifest(names []string) (*manifest, error) {
	name, marked := currentManifest(names)
	if !marked {
		v.damages.add(Damage{File: markerFiles(manifestMarker), Part: partFile, Err: damagedBlock("the marker that names the MANIFEST is missing")})
	}
	m := newManifest()
	lost, err := m.read(v.fs, v.src, name, v.pace.read)
	if err != nil {
		return nil, err
	}
	m.whole = marked && len(lost) == 0
	m.number, _ = manifestNumber(name)
	for _, d := range lost {
		if !d.cut { // else an edit was never completed
			v.damages.add(Damage{
				File: name, Part: partRecord, Offset: d.offset, Length: d.length,
				Err: damagedBlock("which tables make up the store is not known for certain: what was deleted of late may be back"),
			})
		}
	}
	if m.whole {
		return m, nil
	}
	m = newManifest()
	for _, older := range slices.Sorted(slices.Values(names)) {
		if _, is := manifestNumber(older); !is || older == name {
			continue
		}
		if _, err := m.read(v.fs, v.src, older, v.pace.read); err != nil {
			return nil, err
		}
	}
	_, err = m.read(v.fs, v.src, name, v.pace.read)
	return m, err
}

// readTables surveys the tables that are live, or may be. A MANIFEST begins with all tables that
// are live then. A table with a lower number that a whole one does not know was removed before:
// a crash has left the file. Reading it would bring back what was deleted since.
func (v *salvage) readTables(names []string, m *manifest) error {
	found := v.findTables(names)
	files := make(map[uint64][]liveTable)
	live := make(map[uint64]bool)
	known := m.whole
	for _, t := range m.tables {
		file, there := found[t.file]
		if !there {
			v.damages.add(Damage{File: tableName(t.file), Part: partFile, Lo: t.lo, Hi: t.end(), Err: damagedBlock("the table is missing")})
			known = false
			continue
		}
		live[t.file] = true
		t.file = file
		files[file] = append(files[file], t)
	}
	for number, file := range found {
		if live[number] || m.gone[number] || known && number < m.number {
			continue
		}
		if !m.whole || v.complete(file) { // the MANIFEST may have been cut short
			files[file] = append(files[file], liveTable{number: number, file: file})
		}
	}
	for file, tables := range files {
		if err := v.readTable(tableName(file), tables); err != nil {
			return err
		}
	}
	return nil
}

// findTables returns in which file each table is, both by their numbers. Tables that were
// put in the place of others are known by their stamps.
func (v *salvage) findTables(names []string) map[uint64]uint64 {
	found := make(map[uint64]uint64)
	for _, name := range names {
		file, ok := tableNumber(name)
		if !ok {
			continue
		}
		number := file
		if is := v.stampOf(name); is != 0 && is != file {
			number = is
			v.damages.add(Damage{File: name, Part: partFile, Err: damagedBlock("the file is another table, which was written as %s", tableName(is))})
		}
		if _, twice := found[number]; !twice || number == file {
			found[number] = file
		}
	}
	return found
}

// stampOf returns the number that a table was written with, 0 if that is not known.
func (v *salvage) stampOf(name string) uint64 {
	f, err := v.fs.Open(v.fs.PathJoin(v.src, name))
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }() // it was only read
	return stampOf(f)
}

// complete reports whether the engine has finished writing a table.
func (v *salvage) complete(file uint64) bool {
	f, err := openTable(v.fs, v.src, tableName(file), v.pace.read)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // it was only read
	_, _, err = f.footer()
	return err == nil
}

// readTable surveys a file that one table is made of, or several.
func (v *salvage) readTable(name string, tables []liveTable) error {
	v.report.Tables++
	f, err := openTable(v.fs, v.src, name, v.pace.read)
	if err != nil {
		v.loseTables(name, tables, damagedPart{part: partFile, lo: []byte{}, err: damagedBlock("open: %v", err)})
		return nil
	}
	defer func() { _ = f.Close() }() // it was only read
	m, err := f.survey()
	if err != nil {
		return err
	}
	if m.blind {
		if err := f.scan(m); err != nil {
			return err
		}
	}
	lo, hi, err := f.bounds(m)
	if err != nil {
		return err
	}
	if t := &tables[0]; !t.partial && lo != nil && (t.lo == nil || bytes.Compare(lo, t.lo) < 0 || bytes.Compare(hi, t.end()) > 0) {
		if t.lo != nil {
			v.damages.add(Damage{File: f.name, Part: partFile, Lo: t.lo, Hi: t.end(), Err: damagedBlock(
				"the file is another table than it should be: its keys are %x to %x, not %x to %x", lo, hi, t.lo, t.hi)})
		}
		tables[0] = liveTable{number: t.number, file: t.file, lo: lo, hi: hi, open: true}
	}
	for _, p := range m.damaged {
		if p.part == partDeletions {
			p.lo = []byte{} // what these deleted is back
		}
		v.loseTables(f.name, tables, p)
	}
	for i := range tables {
		t := &tables[i]
		if t.lo == nil {
			continue // nothing of it can be read
		}
		v.tables = append(v.tables, *t)
		v.deleted = append(v.deleted, t.clip(m.deletions)...)
	}
	return nil
}

// clip returns the deletions as they are in a table.
func (t *liveTable) clip(list []tombstone) (clipped []tombstone) {
	for _, d := range list {
		if !overlap(d.lo, d.hi, t.lo, t.end()) {
			continue
		}
		if t.partial && bytes.Compare(d.lo, t.lo) < 0 {
			d.lo = t.lo
		}
		if t.partial && bytes.Compare(d.hi, t.end()) > 0 {
			d.hi = t.end()
		}
		if t.seq > 0 {
			d.seq = t.seq
		}
		clipped = append(clipped, d)
	}
	return clipped
}

// loseTables reports damage of a file, with the keys that it costs the tables.
func (v *salvage) loseTables(file string, tables []liveTable, p damagedPart) {
	d := Damage{File: file, Part: p.part, Offset: int64(p.Offset), Length: int64(p.Length), Err: p.err}
	for i := range tables {
		d.cost(&tables[i], p)
	}
	v.damages.add(d)
}

// loseBlock is loseTables of one table.
func (v *salvage) loseBlock(file string, t *liveTable, p damagedPart) {
	d := Damage{File: file, Part: p.part, Offset: int64(p.Offset), Length: int64(p.Length), Err: p.err}
	if d.cost(t, p); d.keys() {
		v.damages.add(d) // else it is in no table
	}
}

// cost adds the keys of a table that a damaged part of its file puts out of reach.
func (d *Damage) cost(t *liveTable, p damagedPart) {
	if p.lo == nil {
		return
	}
	lo, hi := p.lo, p.hi
	if t.lo != nil {
		if !overlap(t.lo, t.end(), p.lo, p.hi) {
			return
		}
		if bytes.Compare(t.lo, lo) > 0 {
			lo = t.lo
		}
		if hi == nil || bytes.Compare(t.end(), hi) < 0 {
			hi = t.end()
		}
	}
	if d.Lo == nil || bytes.Compare(lo, d.Lo) < 0 {
		d.Lo = lo
	}
	if d.Hi == nil || hi == nil || bytes.Compare(hi, d.Hi) > 0 {
		d.Hi = hi
	}
}

// readWALs reads the changes that are in no table. A WAL that the engine needs no more may
// still have some, behind damage that it could not pass: an Open that fails for that keeps
// the file.
func (v *salvage) readWALs(names []string, m *manifest) error {
	logs := filesOf(names, isWAL)
	for i, name := range logs {
		v.wal.above = 0
		number, _ := walNumber(name)
		obsolete := number < m.wal
		if obsolete {
			v.wal.above = m.last
		}
		if err := v.readWAL(name, obsolete || i == len(logs)-1); err != nil {
			return err
		}
	}
	v.wal.sort()
	return nil
}

// readWAL reads one. If it is doubtful, its damage counts only if something is missing.
func (v *salvage) readWAL(name string, doubtful bool) error {
	v.report.WALs++
	number, _ := walNumber(name)
	var bad []journalDamage
	lost, err := readJournal(v.fs, v.fs.PathJoin(v.src, name), number, v.pace.read, func(b []byte, at int64) error {
		if v.wal.add(b) != nil {
			bad = append(bad, journalDamage{offset: at, length: int64(len(b))})
		}
		return nil
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, d := range append(lost, bad...) {
		damage := Damage{
			File: name, Part: partRecord, Offset: d.offset, Length: d.length,
			Err: damagedBlock("the changes that are on record there are lost"),
		}
		if doubtful && (d.torn || v.wal.above > 0) {
			v.torn = append(v.torn, damage)
			continue
		}
		v.damages.add(damage)
	}
	return nil
}
