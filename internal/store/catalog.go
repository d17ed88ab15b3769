package store

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Class tells the sorts of named object apart: a topic and a queue may have
// the same name. Its numbers are part of the disk format.
type Class byte

// The classes, all of them.
const (
	ClassTopic     Class = 1 // log
	ClassGroup     Class = 2 // log
	ClassBroker    Class = 3 // workqueue
	ClassExchange  Class = 4 // workqueue
	ClassQueue     Class = 5 // workqueue
	ClassVisQueue  Class = 6 // visibility
	ClassNamespace Class = 7 // idempotency
)

// Object is a named thing with a stored configuration.
//
//	01 class name  ->  version 1 B | id 4 B | config
//
// Ids are never used again after a drop. A name may hold any bytes; a layer
// whose names live inside another object puts the owner's id in front.
type Object struct {
	ID     uint32
	Class  Class
	Name   string
	Config []byte
}

const catalogVersion = 1

// catalog is the memory of all objects. It changes under the baton.
type catalog struct {
	byName   map[Class]map[string]*Object
	inside   map[owner]map[string]*Object // of the classes whose objects live inside others, by name
	nextID   uint32
	watchers map[Class][]func(*Turn, *Object)
}

// owner is an object with others of a class inside.
type owner struct {
	class Class
	id    string // 4 B, as in their names
}

// ownerOf returns the owner of the objects of a class whose names begin with prefix.
func ownerOf(class Class, prefix string) (o owner, known bool) {
	switch class {
	case ClassGroup, ClassExchange, ClassQueue:
		if len(prefix) >= 4 {
			return owner{class, prefix[:4]}, true
		}
	}
	return owner{}, false
}

func newCatalog(nextID uint32) catalog {
	return catalog{
		byName: make(map[Class]map[string]*Object), inside: make(map[owner]map[string]*Object), nextID: nextID,
		watchers: make(map[Class][]func(*Turn, *Object)),
	}
}

func (c *catalog) put(o *Object) {
	putIn(c.byName, o.Class, o)
	if within, ok := ownerOf(o.Class, o.Name); ok {
		putIn(c.inside, within, o)
	}
}

func putIn[K comparable](names map[K]map[string]*Object, k K, o *Object) {
	if names[k] == nil {
		names[k] = make(map[string]*Object)
	}
	names[k][o.Name] = o
}

func (c *catalog) remove(o *Object) {
	delete(c.byName[o.Class], o.Name)
	within, ok := ownerOf(o.Class, o.Name)
	if !ok {
		return
	}
	if delete(c.inside[within], o.Name); len(c.inside[within]) == 0 {
		delete(c.inside, within)
	}
}

// of returns objects of a class, among them all whose names begin with prefix.
func (c *catalog) of(class Class, prefix string) map[string]*Object {
	if within, ok := ownerOf(class, prefix); ok {
		return c.inside[within]
	}
	return c.byName[class]
}

func catalogKey(class Class, name string) []byte {
	return append([]byte{byte(KindCatalog), byte(class)}, name...)
}

func encodeObject(o *Object) []byte {
	v := append([]byte{catalogVersion}, 0, 0, 0, 0)
	binary.BigEndian.PutUint32(v[1:], o.ID)
	return append(v, o.Config...)
}

func decodeObject(key, value []byte) (*Object, error) {
	if len(key) < 2 || len(value) < 5 {
		return nil, fmt.Errorf("%w: catalog entry %x", ErrCorrupt, key)
	}
	if value[0] != catalogVersion {
		return nil, fmt.Errorf("%w: catalog entry %x has version %d", ErrFormat, key, value[0])
	}
	return &Object{
		ID:     binary.BigEndian.Uint32(value[1:]),
		Class:  Class(key[1]),
		Name:   string(key[2:]),
		Config: slices.Clone(value[5:]),
	}, nil
}

// Lookup finds an object by name. The returned Object is not to be changed.
func (t *Turn) Lookup(class Class, name string) (*Object, bool) {
	o, ok := t.s.catalog.byName[class][name]
	return o, ok
}

// List returns the objects of a class whose names begin with prefix, by name.
func (t *Turn) List(class Class, prefix string) []*Object {
	var found []*Object
	for name, o := range t.s.catalog.of(class, prefix) {
		if strings.HasPrefix(name, prefix) {
			found = append(found, o)
		}
	}
	slices.SortFunc(found, func(a, b *Object) int { return strings.Compare(a.Name, b.Name) })
	return found
}

// Create adds an object under a name that is free, unless the disk is nearly
// full. Create, Alter and Drop
// belong in Ops of their own, never in transactions: they have no Undo.
func (t *Turn) Create(class Class, name string, config []byte) (*Object, error) {
	if err := t.Grow(); err != nil {
		return nil, err
	}
	return t.CreateInReserve(class, name, config)
}

// CreateInReserve is Create on a disk that may be nearly full, for an object that helps to
// empty others.
func (t *Turn) CreateInReserve(class Class, name string, config []byte) (*Object, error) {
	if _, taken := t.Lookup(class, name); taken {
		return nil, Invalid("%q exists", name)
	}
	c := &t.s.catalog
	if c.nextID == math.MaxUint32 {
		return nil, TooLarge("number of objects ever created", int64(c.nextID), math.MaxUint32-1)
	}
	o := &Object{ID: c.nextID, Class: class, Name: name, Config: slices.Clone(config)}
	c.nextID++
	t.Set(keyNextID, binary.BigEndian.AppendUint32(nil, c.nextID))
	t.Set(catalogKey(class, name), encodeObject(o))
	c.put(o)
	return o, nil
}

// Alter stores another configuration with an object.
func (t *Turn) Alter(o *Object, config []byte) {
	o.Config = slices.Clone(config)
	t.Set(catalogKey(o.Class, o.Name), encodeObject(o))
}

// Drop removes an object, all its keys of the given kinds and its holdings.
func (t *Turn) Drop(o *Object, kinds ...Kind) {
	t.Delete(catalogKey(o.Class, o.Name))
	for _, k := range kinds {
		lo, hi := Span(k, o.ID)
		t.DeleteRange(lo, hi)
	}
	t.s.catalog.remove(o)
	t.letGo(o.ID)
	for _, dropped := range t.s.catalog.watchers[o.Class] {
		dropped(t, o)
	}
}
