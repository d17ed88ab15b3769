package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Check walks the records of one object and reports those that contradict one another:
// a counter that is not the number of messages, an index entry without its record. It
// sees the store at one moment, between two groups, as a crash could leave it.
//
// Each contradiction comes with its remedy, so that the same walk that verifies an
// object makes a salvaged one consistent. Records that can be rebuilt from others are
// written anew; those that mean nothing without a lost one are dropped. An error means
// that the walk could not go on, and never that something is wrong with the object.
type Check func(a *Audit, o *Object) error

// checks is filled by the layers' init functions and read-only from then on.
var checks = make(map[Class]Check)

// RegisterCheck says how the records of a class are checked. A layer calls it from init,
// for each class whose objects have records of their own.
func RegisterCheck(c Class, check Check) { checks[c] = check }

// Contradiction is a record that does not agree with others.
type Contradiction struct {
	Object Part   // that the record belongs to
	Key    []byte // of the engine
	Text   string // what is wrong
}

func (c Contradiction) String() string {
	if object := c.Object.Object(); object != "" {
		return object + ": " + c.Text
	}
	return c.Text
}

// Audit is what a Check works with.
type Audit struct {
	s      *Store
	pace   *pace
	mend   bool // carry the remedies out
	lossy  bool
	sn     *Snapshot
	object Part
	byName map[Class]map[string]*Object // as of the snapshot
	byID   directory

	found []Contradiction
	more  int
	batch []remedy
	bytes int // of batch
}

// remedy is a write: of a record if the value is not nil, of copies held if holder is set.
type remedy struct {
	key, value []byte
	holder     *Holder
	copies     map[uint32]uint64
}

// remedyBytes is how much an Op of remedies writes.
const remedyBytes = 256 << 10

// Walk calls visit with each record in [lo, hi). Both slices are valid during the call.
func (a *Audit) Walk(lo, hi []byte, visit func(key, value []byte) error) error {
	c, err := a.Cursor(lo, hi)
	if err != nil {
		return err
	}
	for ok := c.First(); ok && err == nil; ok = c.Next() {
		var v []byte
		if v, err = c.Value(); err == nil {
			err = visit(c.Key(), v)
		}
	}
	return errors.Join(err, c.Close())
}

// WalkKind is Walk over all records of one kind that the object has.
func (a *Audit) WalkKind(k Kind, id uint32, visit func(key, value []byte) error) error {
	lo, hi := Span(k, id)
	return a.Walk(lo, hi, visit)
}

// AuditCursor is an Iter whose reads are held to the rate of the pass.
type AuditCursor struct {
	*Iter
	pace *pace
}

// Value is Iter.Value. It fails when the pass is to end.
func (c AuditCursor) Value() ([]byte, error) {
	v, err := c.Iter.Value()
	if err != nil {
		return nil, err
	}
	return v, c.pace.read(len(c.Key()) + len(v))
}

// Finds reports whether there is a record under a key.
func (c AuditCursor) Finds(key []byte) (bool, error) {
	if err := c.pace.read(len(key)); err != nil {
		return false, err
	}
	found := c.Seek(key) && bytes.Equal(c.Key(), key)
	return found, damaged(c.it.Error())
}

// Cursor returns an iterator over [lo, hi). The caller closes it.
func (a *Audit) Cursor(lo, hi []byte) (AuditCursor, error) {
	it, err := a.sn.Iter(lo, hi)
	return AuditCursor{it, a.pace}, err
}

// Get returns a copy of the value of a key, or nil.
func (a *Audit) Get(key []byte) ([]byte, error) {
	v, err := a.sn.Get(key)
	if err != nil {
		return nil, err
	}
	return v, a.pace.read(len(key) + len(v))
}

// Lookup finds an object by name, as of the moment of the audit.
func (a *Audit) Lookup(class Class, name string) (*Object, bool) {
	o, known := a.byName[class][name]
	return o, known
}

// Object finds an object by its id, as of the moment of the audit.
func (a *Audit) Object(id uint32) (*Object, bool) {
	o, known := a.byID[id]
	return o, known
}

// List returns the objects of a class whose names begin with prefix, by name.
func (a *Audit) List(class Class, prefix string) (list []*Object) {
	for name, o := range a.byName[class] {
		if strings.HasPrefix(name, prefix) {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b *Object) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Lossy reports that any record may be lost, because the files that were salvaged are not whole.
func (a *Audit) Lossy() bool { return a.lossy }

// Wrong reports a contradiction that nothing can be done about.
func (a *Audit) Wrong(key []byte, format string, args ...any) {
	if len(a.found) == maxReported {
		a.more++
		return
	}
	a.found = append(a.found, Contradiction{Object: a.object, Key: bytes.Clone(key), Text: fmt.Sprintf(format, args...)})
}

// Drop reports a record that is to go. The text is as of fmt.Sprintf.
func (a *Audit) Drop(key []byte, format string, args ...any) error {
	a.Wrong(key, format, args...)
	return a.remedy(remedy{key: bytes.Clone(key)})
}

// Put reports a record that is missing or wrong, and the value that it should have.
func (a *Audit) Put(key, value []byte, format string, args ...any) error {
	a.Wrong(key, format, args...)
	return a.remedy(remedy{key: bytes.Clone(key), value: append([]byte{}, value...)})
}

// Holds compares the copies of shared payloads that a holder has with what is on
// record, by generation.
func (a *Audit) Holds(h Holder, copies map[uint32]uint64) error {
	stored := make(map[uint32]uint64)
	lo := binary.BigEndian.AppendUint16(Key(KindHolding, h.ID, 2), h.Slot)
	err := a.Walk(lo, PrefixEnd(lo), func(k, v []byte) error {
		x, n, err := decodeHolding(k, v)
		if err != nil {
			return a.Drop(k, "payload count: %v", err)
		}
		stored[x.generation] = n
		return nil
	})
	if err != nil {
		return err
	}
	wrong := false
	for g := range merged(stored, copies) {
		if stored[g] != copies[g] {
			wrong = true
			a.Wrong(holding{h, g}.key(), "payload count of generation %d is %d, messages refer to %d", g, stored[g], copies[g])
		}
	}
	if !wrong {
		return nil
	}
	return a.remedy(remedy{holder: &h, copies: copies})
}

func merged(a, b map[uint32]uint64) map[uint32]bool {
	keys := make(map[uint32]bool, len(a)+len(b))
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	return keys
}

// PayloadKey returns the key of a shared payload, for a Cursor to find.
func PayloadKey(p Payload) []byte { return payloadKey(p.Generation, p.Number) }

// PayloadSpan bounds the keys of all shared payloads.
func PayloadSpan() (lo, hi []byte) { return []byte{byte(KindPayload)}, []byte{byte(KindPayload) + 1} }

func (a *Audit) remedy(r remedy) error {
	if !a.mend {
		return nil
	}
	a.batch = append(a.batch, r)
	if a.bytes += len(r.key) + len(r.value); a.bytes < remedyBytes {
		return nil
	}
	return a.flush()
}

// flush carries out what was gathered. The snapshot does not show it.
func (a *Audit) flush() error {
	batch := a.batch
	a.batch, a.bytes = nil, 0
	if len(batch) == 0 {
		return nil
	}
	return a.s.Do(WithDurability(a.pace.ctx, NoSync), FreeingFunc{func(t *Turn) error {
		for _, r := range batch {
			switch {
			case r.holder != nil:
				t.HoldOnly(*r.holder, r.copies)
				t.holdMore(*r.holder, r.copies)
			case r.value != nil:
				t.Set(r.key, r.value)
			default:
				t.Delete(r.key)
			}
		}
		return nil
	}}, NoSync)
}

// holdMore adds what HoldOnly does not: generations that the holder has none in yet.
func (t *Turn) holdMore(h Holder, copies map[uint32]uint64) {
	s := &t.s.payloads
	for g, n := range copies {
		if d := int(n - s.held[h][g]); d > 0 {
			s.add(holding{h, g}, d)
			t.Touch(s)
		}
	}
}

// errNoCheck says that a class is checked by a layer that is not in the program.
var errNoCheck = errors.New("its package is not part of this program")

// run checks one object.
func (a *Audit) run(o *Object) error {
	a.object = a.byID.part(o.ID, nil)
	check := checks[o.Class]
	if check == nil {
		return errNoCheck
	}
	return errors.Join(check(a, o), a.flush())
}

// auditLasts is how long an audit looks at one moment of the store.
const auditLasts = time.Second

// each calls f with every object, by class and name. A long audit goes on with a newer
// snapshot from time to time, so as not to keep the engine from dropping what is deleted.
func (a *Audit) each(f func(*Object) error) error {
	all := slices.Collect(maps.Values(a.byID))
	slices.SortFunc(all, func(a, b *Object) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), strings.Compare(a.Name, b.Name))
	})
	begun := time.Now()
	for _, o := range all {
		if time.Since(begun) > auditLasts {
			if err := a.renew(); err != nil {
				return err
			}
			begun = time.Now()
		}
		now, known := a.Object(o.ID)
		if !known {
			continue // dropped meanwhile
		}
		if err := f(now); err != nil {
			return err
		}
	}
	return nil
}

// renew takes another snapshot, and reads the catalog again.
func (a *Audit) renew() error {
	sn, err := a.s.snapshot()
	if err != nil {
		return err
	}
	a.sn.Close()
	a.sn = sn
	found, more := a.found, a.more
	err = a.readCatalog()
	a.found, a.more = found, more // what is wrong with the catalog is known
	return err
}
