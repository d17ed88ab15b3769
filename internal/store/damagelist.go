package store

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2/sstable/block"
)

// Damage is a part of a file that cannot be read, or does not hold what it should.
type Damage struct {
	File   string // base name
	Part   string // of the file: "data block", "index", "record"
	Offset int64
	Length int64
	Lo, Hi []byte   // keys that are out of reach because of it: [Lo, Hi), nil Hi is the end
	Holds  Contents // the objects that these keys may belong to; empty if none are out of reach
	Err    error
}

// keys reports whether the damage costs keys.
func (d *Damage) keys() bool { return d.Lo != nil }

func (d Damage) String() string {
	text := fmt.Sprintf("%s, %s of %d bytes at %d: %v", d.File, d.Part, d.Length, d.Offset, d.Err)
	if holds := d.Holds.String(); holds != "" {
		text += "; it may hold " + holds
	}
	return text
}

// maxReported bounds how many findings a report lists; the others are counted.
const maxReported = 1000

// damageList collects what is found. Neighbouring blocks make one Damage.
type damageList struct {
	list []Damage
	more int
}

func (d *damageList) add(x Damage) {
	if n := len(d.list); n > 0 && d.list[n-1].absorb(&x) {
		return
	}
	if len(d.list) == maxReported {
		d.more++
		return
	}
	d.list = append(d.list, x)
}

// absorb takes over the block that follows.
func (d *Damage) absorb(x *Damage) bool {
	gap := x.Offset - d.Offset - d.Length
	if d.File != x.File || d.Part != x.Part || gap < 0 || gap > block.TrailerLen || d.keys() != x.keys() {
		return false
	}
	d.Length = x.Offset + x.Length - d.Offset
	if bytes.Compare(x.Lo, d.Lo) < 0 {
		d.Lo = x.Lo
	}
	if x.Hi == nil || d.Hi != nil && bytes.Compare(x.Hi, d.Hi) > 0 {
		d.Hi = x.Hi
	}
	return true
}
