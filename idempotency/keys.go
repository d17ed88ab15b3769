package idempotency

import (
	"encoding/binary"
	"time"

	"github.com/pebblemq/pebblemq/internal/codec"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Keys and values of a namespace.
//
//	record  40 id key         ->  version 1 B | state 1 B | token 8 B | due 8 B | expiry 8 B |
//	                              fingerprint length 1 B | fingerprint | result
//	expiry  41 id due 8 B key ->  empty
//	meta    42 id             ->  version 1 B | records 8 B | token 8 B | next due 8 B
//
// Times are nanoseconds since 1970, 0 for none. A record answers until its
// expiry, and due, which is no earlier, says which expiry entry reclaims it. An
// entry whose record is gone or has another due is stale, and goes with its time.
const version = 1

// state of a record on disk.
type state byte

const (
	claimed   state = 1 // by a process that may be dead
	completed state = 2 // result is the handler's
	failed    state = 3 // result is the text of a final error
)

// record is what is stored under a key.
type record struct {
	state       state
	token       uint64
	due         int64
	expiry      int64 // 0 if claimed
	fingerprint []byte
	result      []byte
}

const (
	recordHead     = 1 + 1 + 8 + 8 + 8 + 1
	metaLen        = 1 + 3*8
	maxFingerprint = 255
)

func recordKey(id uint32, key []byte) []byte {
	return append(store.Key(store.KindIdemRecord, id, len(key)), key...)
}

func expiryKey(id uint32, due int64, key []byte) []byte {
	k := store.Key(store.KindIdemExpiry, id, 8+len(key))
	k = binary.BigEndian.AppendUint64(k, uint64(due))
	return append(k, key...)
}

func decodeExpiryKey(k []byte) (due int64, key []byte, err error) {
	if len(k) < 5+8+1 {
		return 0, nil, codec.Damaged("idempotency expiry key", k)
	}
	return int64(binary.BigEndian.Uint64(k[5:])), k[13:], nil
}

func (r record) encode() []byte {
	v := make([]byte, 0, recordHead+len(r.fingerprint)+len(r.result))
	v = append(v, version, byte(r.state))
	v = binary.BigEndian.AppendUint64(v, r.token)
	v = binary.BigEndian.AppendUint64(v, uint64(r.due))
	v = binary.BigEndian.AppendUint64(v, uint64(r.expiry))
	v = append(v, byte(len(r.fingerprint)))
	v = append(v, r.fingerprint...)
	return append(v, r.result...)
}

// stamp puts the times into an encoded record, which are not known before its
// operation runs.
func stamp(v []byte, due, expiry int64) {
	binary.BigEndian.PutUint64(v[10:], uint64(due))
	binary.BigEndian.PutUint64(v[18:], uint64(expiry))
}

func decodeRecord(v []byte) (record, error) {
	if err := codec.CheckVersion("idempotency record", v, version, recordHead); err != nil {
		return record{}, err
	}
	r := record{
		state:  state(v[1]),
		token:  binary.BigEndian.Uint64(v[2:]),
		due:    int64(binary.BigEndian.Uint64(v[10:])),
		expiry: int64(binary.BigEndian.Uint64(v[18:])),
	}
	n := int(v[recordHead-1])
	if r.state < claimed || r.state > failed || r.due < r.expiry || len(v) < recordHead+n {
		return record{}, codec.Damaged("idempotency record", v)
	}
	r.fingerprint, r.result = v[recordHead:recordHead+n], v[recordHead+n:]
	return r, nil
}

// live reports whether a record answers for its key at a moment.
func (r record) live(now time.Time) bool {
	return r.state != claimed && now.UnixNano() < r.expiry
}

// meta is written along with every group that touches the namespace.
type meta struct {
	records uint64 // on disk, completed or failed, those expired and not reclaimed too
	token   uint64 // the last one given out
	nextDue int64  // of the earliest expiry entry, or earlier; 0 for none
}

func (m meta) encode() []byte {
	v := append(make([]byte, 0, metaLen), version)
	v = binary.BigEndian.AppendUint64(v, m.records)
	v = binary.BigEndian.AppendUint64(v, m.token)
	return binary.BigEndian.AppendUint64(v, uint64(m.nextDue))
}

func decodeMeta(v []byte) (meta, error) {
	if err := codec.CheckVersion("idempotency meta record", v, version, metaLen); err != nil {
		return meta{}, err
	}
	if len(v) != metaLen {
		return meta{}, codec.Damaged("idempotency meta record", v)
	}
	return meta{
		records: binary.BigEndian.Uint64(v[1:]),
		token:   binary.BigEndian.Uint64(v[9:]),
		nextDue: int64(binary.BigEndian.Uint64(v[17:])),
	}, nil
}
