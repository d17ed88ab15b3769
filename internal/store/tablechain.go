package store

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// tableChain reads tables whose keys do not overlap one after the other, so that one file
// at a time is open. It passes over what is damaged, and reports it.
type tableChain struct {
	fs     vfs.FS
	dir    string
	read   func(n int) error
	report func(file string, t *liveTable, p damagedPart)
	tables []liveTable

	file   *tableFile
	m      *tableMap
	block  int // the next one of m.data
	cursor blockCursor
	stands bool // the cursor stands on a key that was not returned yet
	at     change
}

// chains distributes tables over as few chains as their overlaps allow.
func chains(tables []liveTable) (list [][]liveTable) {
	slices.SortFunc(tables, func(a, b liveTable) int {
		return cmp.Or(bytes.Compare(a.lo, b.lo), cmp.Compare(a.number, b.number))
	})
	for _, t := range tables {
		i := slices.IndexFunc(list, func(chain []liveTable) bool {
			last := &chain[len(chain)-1]
			return bytes.Compare(last.end(), t.lo) <= 0
		})
		if i < 0 {
			list = append(list, []liveTable{t})
			continue
		}
		list[i] = append(list[i], t)
	}
	return list
}

// rank is the number of the table at hand: newer tables have higher ones.
func (c *tableChain) rank() uint64 {
	if len(c.tables) == 0 {
		return 0
	}
	return c.tables[0].number
}

func (c *tableChain) next() (*change, error) {
	for len(c.tables) > 0 {
		t := &c.tables[0]
		if c.file == nil {
			if err := c.open(t); err != nil {
				return nil, err
			}
		}
		if err := c.advance(); err != nil {
			return nil, err
		}
		if !c.stands {
			c.close()
			c.tables = c.tables[1:]
			continue
		}
		if k := &c.cursor.key; t.has(k.UserKey) {
			c.at = change{key: k.UserKey, seq: uint64(k.SeqNum()), value: c.cursor.value}
			if t.seq > 0 {
				c.at.seq = t.seq
			}
			kind := k.Kind()
			c.at.set = kind == pebble.InternalKeyKindSet || kind == pebble.InternalKeyKindSetWithDelete
			return &c.at, nil
		}
	}
	return nil, nil
}

// open begins with a table. One that cannot be read at all has no blocks.
func (c *tableChain) open(t *liveTable) (err error) {
	c.file, c.m, c.block, c.stands = nil, &tableMap{}, 0, false
	if c.file, err = openTable(c.fs, c.dir, tableName(t.file), c.read); err != nil {
		c.file = &tableFile{} // which was reported by the survey
		return nil
	}
	if c.m, err = c.file.survey(); err == nil && c.m.blind {
		err = c.file.scan(c.m)
	}
	return err
}

func (c *tableChain) close() {
	if c.file.File != nil {
		_ = c.file.Close() // it was only read
	}
	c.file, c.m = nil, nil
}

// advance moves to the next key of the table that can be read.
func (c *tableChain) advance() error {
	if c.stands {
		err := c.cursor.next()
		if err == nil && c.cursor.valid() {
			return nil
		}
		if c.stands = false; err != nil {
			c.damaged(c.block-1, err)
		}
	}
	for c.block < len(c.m.data) {
		e := c.m.data[c.block]
		c.block++
		b, err := c.file.block(e.Handle)
		if err == nil {
			err = c.cursor.open(b)
		}
		switch {
		case errors.As(err, new(blockError)):
			c.damaged(c.block-1, err)
		case err != nil:
			return err
		case c.cursor.valid():
			c.stands = true
			return nil
		}
	}
	return nil
}

func (c *tableChain) damaged(i int, err error) {
	lo := []byte{}
	if i > 0 {
		lo = c.m.data[i-1].hi
	}
	e := c.m.data[i]
	c.report(c.file.name, &c.tables[0], damagedPart{partData, e.Handle, lo, append(bytes.Clone(e.hi), 0), err})
}

// bounds returns the first key of the table at hand, and a key behind its last, as far as
// its blocks can be read.
func (t *tableFile) bounds(m *tableMap) (lo, hi []byte, err error) {
	grow := func(first, end []byte) {
		if lo == nil || bytes.Compare(first, lo) < 0 {
			lo = first
		}
		if hi == nil || bytes.Compare(end, hi) > 0 {
			hi = end
		}
	}
	for _, from := range [2]func(int) int{func(i int) int { return i }, func(i int) int { return len(m.data) - 1 - i }} {
		for i := range m.data {
			first, last, err := t.keys(m.data[from(i)].Handle)
			if err == nil && first != nil {
				grow(first, append(last, 0))
				break
			}
			if err != nil && !errors.As(err, new(blockError)) {
				return nil, nil, err
			}
		}
	}
	for _, d := range m.deletions {
		grow(d.lo, d.hi)
	}
	return lo, hi, nil
}

func (t *tableFile) keys(h block.Handle) (first, last []byte, err error) {
	b, err := t.block(h)
	if err != nil {
		return nil, nil, err
	}
	return keysOf(b)
}
