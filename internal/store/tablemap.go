package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2/sstable/block"
)

// tableMap says where the blocks of a table file are, and which parts of it are
// damaged.
type tableMap struct {
	data      []indexEntry // data blocks in order
	named     map[string]block.Handle
	deletions []tombstone
	damaged   []damagedPart
	known     []block.Handle // all blocks that were found, or are known to be damaged
	blind     bool           // more blocks than these may be in the file
}

// damagedPart is a part of a table file that cannot be read. Lo and hi bound the keys
// that are out of reach because of it; both are nil if none are.
type damagedPart struct {
	part string
	block.Handle
	lo, hi []byte
	err    error
}

// The parts of a table file, as reports name them.
const (
	partFooter     = "footer"
	partMetaindex  = "metaindex"
	partIndex      = "index"
	partData       = "data block"
	partDeletions  = "range deletions"
	partProperties = "properties"
	partFilter     = "filter"
	partUnknown    = "unknown block"
	partRecord     = "record" // of a WAL or MANIFEST
	partFile       = "file"
)

// Names in the metaindex.
const (
	nameDeletions  = "rocksdb.range_del2"
	nameProperties = "rocksdb.properties"
)

// survey reads everything but the data blocks. Damage is noted in the map. An error
// means that the survey was interrupted.
func (t *tableFile) survey() (*tableMap, error) {
	m := &tableMap{}
	meta, index, err := t.footer()
	end := t.size - min(t.size, footerLen)
	if err := m.note(partFooter, block.Handle{Offset: end, Length: t.size - end}, nil, nil, err); err != nil {
		return nil, err
	}
	if m.blind {
		return m, nil
	}
	if err := t.surveyMeta(m, meta); err != nil {
		return nil, err
	}
	return m, t.surveyIndex(m, index, nil, nil)
}

// note adds a block to the map, with the damage that reading it has found. It returns
// errors that are not damage.
func (m *tableMap) note(part string, h block.Handle, lo, hi []byte, err error) error {
	m.known = append(m.known, h)
	if err == nil {
		return nil
	}
	if !errors.As(err, new(blockError)) {
		return err
	}
	m.damaged = append(m.damaged, damagedPart{part, h, lo, hi, err})
	if part == partFooter || part == partMetaindex || part == partIndex {
		m.blind = true
	}
	return nil
}

// surveyMeta reads the metaindex and the blocks that it names.
func (t *tableFile) surveyMeta(m *tableMap, h block.Handle) error {
	b, err := t.block(h)
	if err == nil {
		m.named, err = decodeMetaindex(b)
	}
	if err := m.note(partMetaindex, h, nil, nil, err); err != nil {
		return err
	}
	for name, h := range m.named {
		part := partFilter
		switch name {
		case nameProperties:
			part = partProperties
		case nameDeletions:
			part = partDeletions
		}
		_, _, err := t.check(h)
		if part == partDeletions && err == nil {
			if b, err = t.block(h); err == nil {
				m.deletions, err = decodeDeletions(b)
			}
		}
		if err := m.note(part, h, nil, nil, err); err != nil {
			return err
		}
	}
	return nil
}

// surveyIndex reads an index block, whose keys lie in (lo, hi], and those below it. Data
// begins the file, so the first entry tells the two levels of an index apart.
func (t *tableFile) surveyIndex(m *tableMap, h block.Handle, lo, hi []byte) error {
	b, err := t.block(h)
	var entries []indexEntry
	if err == nil {
		entries, err = decodeIndex(b)
	}
	if err := m.note(partIndex, h, lo, hi, err); err != nil || len(entries) == 0 {
		return err
	}
	if lo != nil || hi != nil || entries[0].Offset == 0 {
		m.data = append(m.data, entries...)
		for _, e := range entries {
			m.known = append(m.known, e.Handle)
		}
		return nil
	}
	lo = []byte{}
	for _, e := range entries {
		if err := t.surveyIndex(m, e.Handle, lo, e.hi); err != nil {
			return err
		}
		lo = e.hi
	}
	return nil
}

// scan looks for blocks where the map knows of none, by their checksums. It stands in for a
// damaged index.
func (t *tableFile) scan(m *tableMap) error {
	for _, gap := range m.gaps(t.size) {
		region := make([]byte, gap.Length)
		if err := t.readAt(region, gap.Offset); err != nil {
			if err := m.note(partUnknown, gap, nil, nil, err); err != nil {
				return err
			}
			continue
		}
		s := blockScan{region, gap.Offset, m}
		s.run()
	}
	slices.SortFunc(m.data, func(a, b indexEntry) int { return cmp.Compare(a.Offset, b.Offset) })
	m.bound()
	m.blind = false
	return nil
}

// bound finds out which keys the damaged parts cost, once all blocks were looked for.
func (m *tableMap) bound() {
	end := []byte{} // of the keys that can be read
	if n := len(m.data); n > 0 {
		end = m.data[n-1].hi
	}
	if m.lostDeletions() {
		end = []byte{} // whatever it was that these deleted is back
	}
	for i := range m.damaged {
		p := &m.damaged[i]
		next, _ := slices.BinarySearchFunc(m.data, p.Offset, func(e indexEntry, at uint64) int { return cmp.Compare(e.Offset, at) })
		switch {
		case p.part == partIndex:
			p.lo, p.hi = nil, nil // what it led to was found, or is noted as damaged itself
		case p.part == partUnknown && next < len(m.data):
			if p.lo, p.hi = []byte{}, m.data[next].hi; next > 0 {
				p.lo = m.data[next-1].hi
			}
		case p.part == partUnknown || p.part == partFooter && m.named == nil:
			p.lo, p.hi = end, nil // the file may have been cut short
		}
	}
}

// lostDeletions reports whether there may have been deletions in the table which were not
// found. The metaindex, which would tell, is the last block of a file.
func (m *tableMap) lostDeletions() bool {
	if _, had := m.named[nameDeletions]; m.named != nil {
		return had && len(m.deletions) == 0
	}
	return len(m.deletions) == 0 && slices.ContainsFunc(m.damaged, func(p damagedPart) bool {
		return p.part == partUnknown || p.part == partFooter
	})
}

// gaps returns the parts of the file where the map knows of no block.
func (m *tableMap) gaps(size uint64) (gaps []block.Handle) {
	slices.SortFunc(m.known, func(a, b block.Handle) int { return cmp.Compare(a.Offset, b.Offset) })
	at := uint64(0)
	for _, h := range append(m.known, block.Handle{Offset: size}) {
		if h.Offset > at && h.Offset <= size {
			gaps = append(gaps, block.Handle{Offset: at, Length: h.Offset - at})
		}
		at = max(at, min(size, h.Offset+h.Length+block.TrailerLen))
	}
	return gaps
}

// blockScan finds the blocks in a part of a file.
//
// A block begins where the one before it ends. So one pass over the bytes is enough as long
// as nothing is damaged: the running checksum is compared at each place where a block could
// end. Behind a damaged block every byte may be the beginning of the next. Then only lengths
// up to scanReach are tried, and no more than scanTries bytes.
type blockScan struct {
	region []byte
	base   uint64 // of the region in the file
	m      *tableMap
}

const (
	scanReach = 64 << 10
	scanTries = 256 << 10
)

func (s *blockScan) run() {
	lost := 0 // where the bytes begin that are no block
	for at := 0; at < len(s.region); {
		reach, tries := len(s.region)-at, at-lost
		if tries > 0 {
			reach = min(reach, scanReach)
		}
		n := blockLength(s.region[at : at+reach])
		switch {
		case n > 0 && s.found(at, n):
			s.lost(lost, at)
			at += n + block.TrailerLen
			lost = at
		case tries >= scanTries:
			at = len(s.region)
		default:
			at++
		}
	}
	s.lost(lost, len(s.region))
}

// blockLength returns how long the block is that begins b, or 0 if none does.
func blockLength(b []byte) int {
	crc := ^uint32(0)
	for i := range max(0, len(b)-block.TrailerLen+1) {
		crc = castagnoli[byte(crc)^b[i]] ^ crc>>8
		if i > 0 && compression(b[i]) && mask(^crc) == binary.LittleEndian.Uint32(b[i+1:]) {
			return i
		}
	}
	return 0
}

// compression reports whether a byte may be the one that ends a block.
func compression(b byte) bool {
	switch block.CompressionIndicator(b) {
	case block.NoCompressionIndicator, block.SnappyCompressionIndicator, block.ZstdCompressionIndicator, block.MinLZCompressionIndicator:
		return true
	}
	return false
}

// found takes a block into the map, unless it cannot be one after all.
func (s *blockScan) found(at, n int) bool {
	h := block.Handle{Offset: s.base + uint64(at), Length: uint64(n)}
	plain, err := decompress(s.region[at:at+n], block.CompressionIndicator(s.region[at+n]))
	if err != nil {
		return false
	}
	switch shapeOf(plain) {
	case shapeData:
		_, last, err := keysOf(plain)
		if err != nil {
			return false
		}
		s.m.data = append(s.m.data, indexEntry{h, last})
	case shapeDeletions:
		list, err := decodeDeletions(plain)
		if err != nil {
			return false
		}
		s.m.deletions = append(s.m.deletions, list...)
	case shapeMetaindex:
		if named, err := decodeMetaindex(plain); err == nil {
			s.m.named = named
		}
	}
	s.m.known = append(s.m.known, h)
	return true
}

// lost notes bytes that are no block.
func (s *blockScan) lost(from, to int) {
	if from == to {
		return
	}
	h := block.Handle{Offset: s.base + uint64(from), Length: uint64(to - from)}
	s.m.damaged = append(s.m.damaged, damagedPart{part: partUnknown, Handle: h, err: damagedBlock("no block is found by its checksum")})
}

// keysOf returns the first and the last key of a data block.
func keysOf(plain []byte) (first, last []byte, err error) {
	var c blockCursor
	for err = c.open(plain); err == nil && c.valid(); err = c.next() {
		if first == nil {
			first = slices.Clone(c.key.UserKey)
		}
		last = append(last[:0], c.key.UserKey...)
	}
	return first, last, err
}
