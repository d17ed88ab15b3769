package idempotency

import (
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

func init() { store.RegisterCheck(store.ClassNamespace, checkNamespace) }

// checkNamespace is the store.Check of a namespace. Every record has an entry in the
// index by expiry; entries that outlived their record are fine.
func checkNamespace(a *store.Audit, o *store.Object) error {
	key := store.Key(store.KindIdemMeta, o.ID, 0)
	v, err := a.Get(key)
	if err != nil {
		return err
	}
	var stored meta
	if v != nil {
		if stored, err = decodeMeta(v); err != nil {
			v, stored = nil, meta{}
		}
	}
	counted, err := countRecords(a, o.ID, stored)
	if err != nil || counted == stored {
		return err
	}
	text := fmt.Sprintf("counters are %+v, not %+v", stored, counted)
	if v == nil {
		text = "counters are missing"
	}
	return a.Put(key, counted.encode(), "%s", text)
}

// tokenLeap is by how much fencing tokens go on higher where the record that counted
// them is lost: the lost ones may be in use outside.
const tokenLeap = 1 << 32

// countRecords checks the records and returns the counters that they should have.
func countRecords(a *store.Audit, id uint32, m meta) (meta, error) {
	m.records = 0
	stale := false
	err := a.WalkKind(store.KindIdemRecord, id, func(key, v []byte) error {
		r, err := decodeRecord(v)
		if err != nil {
			return a.Drop(key, "key %q: %v", key[5:], err)
		}
		if r.state != claimed {
			m.records++
		}
		if m.token < r.token {
			m.token, stale = r.token, true
		}
		if r.due == 0 {
			return nil
		}
		if m.nextDue == 0 || r.due < m.nextDue {
			m.nextDue = r.due
		}
		entry := expiryKey(id, r.due, key[5:])
		found, err := a.Get(entry)
		if found != nil || err != nil {
			return err
		}
		return a.Put(entry, nil, "key %q is not in the index by expiry", key[5:])
	})
	if stale {
		m.token += tokenLeap
	}
	if err != nil {
		return m, err
	}
	return m, a.WalkKind(store.KindIdemExpiry, id, func(key, _ []byte) error {
		due, _, err := decodeExpiryKey(key)
		if err != nil {
			return a.Drop(key, "%v", err)
		}
		if m.nextDue == 0 || due < m.nextDue {
			m.nextDue = due
		}
		return nil
	})
}
