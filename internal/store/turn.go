package store

import (
	"bytes"
	"context"
	"time"
)

// Op is one change of the store. The kernel calls its methods under the
// baton, one Op at a time, so what they touch needs no other lock. They must
// be quick and must not block.
type Op interface {
	// Run validates the change against the layer's memory, writes its keys
	// and updates that memory. An error refuses the Op: its keys are taken
	// back, and it must not have changed any memory.
	Run(t *Turn) error

	// Undo takes back the change of memory that a successful Run made,
	// because a later Op of the same transaction was refused. Ops are
	// undone in reverse order.
	Undo()

	// Visible runs once, in the order of acceptance, when no crash can take
	// the change back any more (see the watermark in the package comment).
	Visible(t *Turn)
}

// OpFunc is an Op that needs neither Undo nor Visible, because it is never
// part of a transaction and shows itself otherwise.
type OpFunc func(t *Turn) error

func (f OpFunc) Run(t *Turn) error { return f(t) }
func (f OpFunc) Undo()             {}
func (f OpFunc) Visible(*Turn)     {}

// Turn is what an Op may do while it holds the baton. It is valid only
// during the call it was passed to.
type Turn struct {
	s       *Store
	now     time.Time
	touched bool
	synced  bool
	lax     bool
}

// Seq returns the sequence number that the running Op gets if accepted.
func (t *Turn) Seq() uint64 { return t.s.accepted.Load() + 1 }

// Durable returns the newest operation that is known to be on disk, with all
// before it. What rests on a later one can be taken back by a crash, even if it
// is visible: it may be NoSync.
func (t *Turn) Durable() uint64 { return t.s.durable }

// Now returns the store's clock, read once a turn.
func (t *Turn) Now() time.Time {
	if t.now.IsZero() {
		t.now = t.s.opts.Clock()
	}
	return t.now
}

// Set writes a key. Both slices are copied.
func (t *Turn) Set(key, value []byte) { t.note(t.s.open.batch.Set(key, value, nil)) }

// SetDeferred reserves room for a key and a value in the group, to be filled
// before anything else is written; it saves copying what is encoded anyway.
func (t *Turn) SetDeferred(keyLen, valueLen int) (key, value []byte) {
	d := t.s.open.batch.SetDeferred(keyLen, valueLen)
	return d.Key, d.Value
}

// Delete removes a key.
func (t *Turn) Delete(key []byte) { t.note(t.s.open.batch.Delete(key, nil)) }

// DeleteSingle removes a key that was Set once since it last was not there, and
// has not been overwritten. The two annihilate one another as soon as the engine
// meets them, mostly before either reaches a table; a Delete would have to sink
// to the last level.
func (t *Turn) DeleteSingle(key []byte) { t.note(t.s.open.batch.SingleDelete(key, nil)) }

// DeleteRange removes all keys in [lo, hi). Ranges should be coarse and abut
// one another: the engine pays for each one at the next read.
func (t *Turn) DeleteRange(lo, hi []byte) {
	t.s.open.trims = append(t.s.open.trims, keyRange{bytes.Clone(lo), bytes.Clone(hi)})
	t.note(t.s.open.batch.DeleteRange(lo, hi, nil))
}

// Get returns a copy of the value of key as of this turn, the writes of
// earlier Ops and of this one included; nil if there is none.
func (t *Turn) Get(key []byte) ([]byte, error) {
	if v, known := t.s.unapplied(key); known {
		return v, nil
	}
	return t.read(key, t.s.engineGet)
}

// Probe is Get for a key that is new most of the time; see Store.Probe.
func (t *Turn) Probe(key []byte) ([]byte, error) {
	if v, known := t.s.unapplied(key); known {
		return v, nil
	}
	return t.read(key, t.s.engineProbe)
}

// read reads a key with applied. Only callers that need the baton wait for the disk meanwhile.
func (t *Turn) read(key []byte, applied func(key []byte) ([]byte, error)) (value []byte, err error) {
	t.s.mu.Aside(func() { value, err = applied(key) })
	return value, err
}

// FirstApplied returns the first key in [lo, hi) that the engine has, or nil. It does not know
// what the groups at hand write: the caller must.
func (t *Turn) FirstApplied(lo, hi []byte) (key []byte, err error) {
	t.s.mu.Aside(func() { key, err = t.s.engineFirst(lo, hi) })
	return key, err
}

// Touch asks for d to be written out once in the group at hand, however many
// Ops of it change d. It is how counters ride along with the changes that
// they count.
func (t *Turn) Touch(d Sealer) {
	t.touched = true
	m := d.mark()
	if m.group == t.s.groups {
		return
	}
	m.group = t.s.groups
	t.s.touched = append(t.s.touched, d)
}

// TouchLate is Touch for what a crash may take along with unsynced writes: d is sealed in the
// next group that is synced, which comes within the sync interval. A change that was reversed by
// then need not be written at all.
func (t *Turn) TouchLate(d Sealer) {
	t.touched = true
	t.s.late.add(d)
}

// TouchLate is Turn.TouchLate for who does not have the baton.
func (s *Store) TouchLate(d Sealer) {
	s.late.mu.Lock()
	s.late.asked = append(s.late.asked, d)
	s.late.mu.Unlock()
	s.kick()
}

// ForceSync makes the running Op a Sync one, whatever its caller asked for.
func (t *Turn) ForceSync() { t.synced = true }

// Lax reports that the running Op is NoSync, and not part of a transaction.
func (t *Turn) Lax() bool { return t.lax }

// Spawn is Store.Spawn for use under the baton.
func (t *Turn) Spawn(f func(ctx context.Context)) bool { return t.s.spawn(f) }

// Promise announces that Seal will write about n bytes on behalf of this Op,
// so that the size of the group stays bounded.
func (t *Turn) Promise(n int) { t.s.promised += n }

// Sealer is an object whose record is written once a group. Embed Sealed.
type Sealer interface {
	Seal(t *Turn)
	mark() *Sealed
}

// Sealed is the kernel's part of a Sealer.
type Sealed struct {
	group uint64
	late  bool // waits for a group that is synced
}

func (m *Sealed) mark() *Sealed { return m }

var _ interface{ mark() *Sealed } = (*Sealed)(nil)

// Post runs op as one of its own, after the running one and before the baton
// is let go. If it is refused, that is logged: a layer posts only what it has
// validated.
func (t *Turn) Post(op Op, d Durability) { t.s.posted = append(t.s.posted, post{op, d}) }

type post struct {
	op Op
	d  Durability
}

// note keeps the first error of writing into a batch in memory. The engine
// gives none for the writes used here.
func (t *Turn) note(err error) {
	if err != nil {
		t.s.poison(err)
	}
}

// Try runs a part of an Op that may fail without the rest. If it returns an error,
// its keys are taken back, and it must not have changed any memory.
func (t *Turn) Try(part func() error) error {
	point := t.s.save()
	err := part()
	if err != nil {
		t.s.restore(point)
	}
	return err
}

// savepoint remembers the state of the open group, to cut it back to.
type savepoint struct {
	bytes    int
	count    uint32
	posts    int
	touched  int
	promised int
}

func (s *Store) save() savepoint {
	b := s.open.batch
	return savepoint{bytes: b.Len(), count: b.Count(), posts: len(s.posted), touched: len(s.touched), promised: s.promised}
}

// wrote reports whether anything was written since the savepoint.
func (s *Store) wrote(p savepoint) bool { return s.open.batch.Count() != p.count }

func (s *Store) restore(p savepoint) {
	for _, d := range s.touched[p.touched:] {
		d.mark().group = 0
	}
	s.posted, s.touched, s.promised = s.posted[:p.posts], s.touched[:p.touched], p.promised
	if !s.wrote(p) {
		return
	}
	repr := s.open.batch.Repr()[:p.bytes]
	putBatchCount(repr, p.count)
	if err := s.open.batch.SetRepr(repr); err != nil {
		s.poison(err)
	}
	s.open.index.forget()
}
