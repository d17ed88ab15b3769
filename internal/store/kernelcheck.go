package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// LostObject is what is left of an object that the catalog does not have: its name and
// configuration are gone, so nothing can be done with its records.
type LostObject struct {
	ID      uint32
	Records []string // the sorts of record
	Keys    int
	Bytes   int64
}

func (l LostObject) String() string {
	p := Part{ID: l.ID, Records: l.Records}
	return fmt.Sprintf("%s: %d keys, %d bytes", p, l.Keys, l.Bytes)
}

// newAudit begins an audit of the store as it is now. The caller closes it.
func (s *Store) newAudit(p *pace, mend bool) (*Audit, error) {
	if err := s.settle(p.ctx); err != nil && !errors.Is(err, ErrDiskFull) {
		return nil, err
	}
	sn, err := s.snapshot()
	if err != nil {
		return nil, err
	}
	return &Audit{s: s, pace: p, mend: mend, sn: sn}, nil
}

func (a *Audit) close() { a.sn.Close() }

// readCatalog brings the objects into memory, as the snapshot has them.
func (a *Audit) readCatalog() error {
	a.byName, a.byID = make(map[Class]map[string]*Object), make(directory)
	lo := []byte{byte(KindCatalog)}
	return a.Walk(lo, PrefixEnd(lo), func(k, v []byte) error {
		o, err := decodeObject(k, v)
		if err != nil {
			return a.Drop(k, "catalog entry: %v", err)
		}
		if twin := a.byID[o.ID]; twin != nil {
			return a.Drop(k, "catalog entries of %s %q and %s %q have one id", twin.Class, twin.Name, o.Class, o.Name)
		}
		if a.byName[o.Class] == nil {
			a.byName[o.Class] = make(map[string]*Object)
		}
		a.byName[o.Class][o.Name], a.byID[o.ID] = o, o
		return nil
	})
}

// kernel checks what the kernel itself keeps: the catalog, the next id, and that each
// record belongs to an object. It returns the objects that records are left of.
func (a *Audit) kernel() ([]LostObject, error) {
	if err := a.readCatalog(); err != nil {
		return nil, err
	}
	if err := errors.Join(a.checkOwners(), a.checkMarks()); err != nil {
		return nil, err
	}
	lost, highest, err := a.findLost()
	if err != nil {
		return nil, err
	}
	for id := range a.byID {
		highest = max(highest, id)
	}
	v, err := a.Get(keyNextID)
	if err != nil {
		return nil, err
	}
	if next := highest + 1; highest > 0 && (len(v) != 4 || binary.BigEndian.Uint32(v) < next) {
		err = a.Put(keyNextID, binary.BigEndian.AppendUint32(nil, next), "the next object id is %x, ids up to %d are in use", v, highest)
	}
	return lost, errors.Join(err, a.flush())
}

// checkOwners finds objects that lie inside others that are not there.
func (a *Audit) checkOwners() error {
	for class, owners := range map[Class]Class{ClassGroup: ClassTopic, ClassExchange: ClassBroker, ClassQueue: ClassBroker} {
		for _, o := range a.List(class, "") {
			owner, known := (*Object)(nil), false
			if len(o.Name) > 4 {
				owner, known = a.Object(binary.BigEndian.Uint32([]byte(o.Name)))
			}
			if known && owner.Class == owners {
				continue
			}
			if err := a.Drop(catalogKey(class, o.Name), "%s %q lies in a %s that is not in the catalog", class, o.Name, owners); err != nil {
				return err
			}
			delete(a.byName[class], o.Name)
			delete(a.byID, o.ID)
		}
	}
	return nil
}

// checkMarks decodes the marks that say how far the store has come.
func (a *Audit) checkMarks() error {
	return a.Walk(keySeq, PrefixEnd(keySeq), func(k, _ []byte) error {
		if len(k) != len(keySeq)+8 {
			return a.Drop(k, "mark %x of the kernel is malformed", k)
		}
		return nil
	})
}

// findLost looks for records of objects that the catalog does not have, and returns
// these and the highest id that any record has. It reads one record of each object that
// is known.
func (a *Audit) findLost() (lost []LostObject, highest uint32, err error) {
	byID := make(map[uint32]*LostObject)
	for _, k := range recordKinds {
		if k.classes == nil {
			continue
		}
		if err := a.findLostOf(k, byID, &highest); err != nil {
			return nil, 0, err
		}
	}
	for _, l := range byID {
		lost = append(lost, *l)
	}
	slices.SortFunc(lost, func(a, b LostObject) int { return int(int64(a.ID) - int64(b.ID)) })
	return lost, highest, nil
}

func (a *Audit) findLostOf(k recordKind, byID map[uint32]*LostObject, highest *uint32) error {
	lo := []byte{byte(k.kind)}
	c, err := a.Cursor(lo, PrefixEnd(lo))
	if err != nil {
		return err
	}
	for ok := c.First(); ok && err == nil; {
		if len(c.Key()) < 5 {
			err = a.Drop(c.Key(), "key %x is too short", c.Key())
			ok = c.Next()
			continue
		}
		id := binary.BigEndian.Uint32(c.Key()[1:])
		*highest = max(*highest, id)
		if o := a.byID[id]; o == nil || !slices.Contains(k.classes, o.Class) {
			if byID[id] == nil {
				byID[id] = &LostObject{ID: id}
			}
			err = errors.Join(err, a.lose(k, byID[id]))
		}
		_, next := Span(k.kind, id)
		ok = next != nil && c.Seek(next)
		err = errors.Join(err, a.pace.read(len(next)))
	}
	return errors.Join(err, c.Close())
}

// lose counts the records of one kind of an object that is lost, and drops them.
func (a *Audit) lose(k recordKind, l *LostObject) error {
	l.Records = append(l.Records, k.records)
	keys, size := l.Keys, l.Bytes
	err := a.WalkKind(k.kind, l.ID, func(k, v []byte) error {
		l.Keys++
		l.Bytes += int64(len(k) + len(v))
		return nil
	})
	lo, hi := Span(k.kind, l.ID)
	a.Wrong(lo, "%d keys, %d bytes of %s belong to object %d, which is not in the catalog", l.Keys-keys, l.Bytes-size, k.records, l.ID)
	if err != nil || !a.mend {
		return err
	}
	return a.s.Do(WithDurability(a.pace.ctx, NoSync), FreeingFunc{func(t *Turn) error {
		if k.kind == KindHolding {
			t.letGo(l.ID)
		}
		t.DeleteRange(lo, hi)
		return nil
	}}, NoSync)
}
