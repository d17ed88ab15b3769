package redrive

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// A redrive has a record, which is written by the Ops that move messages: so after a
// crash it says exactly what was moved, and what is left.
//
//	kind queue id 4 B | number 8 B  ->  version 1 B | record as JSON
const version = 1

func (s *Set) key(number uint64) []byte { return keyOf(s.q.Kind, s.q.ID, number) }

func keyOf(kind store.Kind, queue uint32, number uint64) []byte {
	return binary.BigEndian.AppendUint64(store.Key(kind, queue, 8), number)
}

// record is the JSON. Times are nanoseconds since 1970.
type record struct {
	State     State        `json:"state"`
	To        string       `json:"to,omitempty"`
	Filtered  bool         `json:"filtered,omitempty"`
	Rate      float64      `json:"rate,omitempty"`
	Burst     int          `json:"burst,omitempty"`
	Started   int64        `json:"started"`
	Ended     int64        `json:"ended,omitempty"`
	Moved     uint64       `json:"moved,omitempty"`
	Skipped   uint64       `json:"skipped,omitempty"`
	Failed    uint64       `json:"failed,omitempty"`
	Remaining uint64       `json:"remaining,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	Left      []queue.Span `json:"left,omitempty"` // of the messages
}

// write stores what has become of the redrive.
func (r *Redrive) write(t *store.Turn, i Info, left []queue.Span) {
	t.Set(r.s.key(i.ID), encode(i, left))
}

func encode(i Info, left []queue.Span) []byte {
	s := record{
		State: i.State, To: i.To, Filtered: i.Filtered, Rate: i.Rate, Burst: i.Burst, Started: i.StartedAt.UnixNano(),
		Moved: i.Moved, Skipped: i.Skipped, Failed: i.Failed, Remaining: i.Remaining, Reason: i.Reason, Left: left,
	}
	if !i.EndedAt.IsZero() {
		s.Ended = i.EndedAt.UnixNano()
	}
	text, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("redrive: encode a record: %v", err)) // its numbers were checked
	}
	return append([]byte{version}, text...)
}

// Decode reads a record, and which messages were left.
func Decode(key, v []byte) (i Info, left []queue.Span, err error) {
	if len(v) > 0 && v[0] != version {
		return i, nil, fmt.Errorf("%w: redrive of a queue has version %d", store.ErrFormat, v[0])
	}
	var s record
	if len(key) != 13 || len(v) == 0 {
		return i, nil, fmt.Errorf("%w: redrive %x of a queue", store.ErrCorrupt, key)
	}
	if err := json.Unmarshal(v[1:], &s); err != nil {
		return i, nil, fmt.Errorf("%w: redrive %x of a queue: %w", store.ErrCorrupt, key, err)
	}
	if err := queue.CheckRate(s.Rate, s.Burst); err != nil {
		return i, nil, fmt.Errorf("%w: redrive %x of a queue: %w", store.ErrCorrupt, key, err)
	}
	i = Info{
		ID: binary.BigEndian.Uint64(key[5:]), State: s.State, To: s.To, Filtered: s.Filtered, Rate: s.Rate, Burst: s.Burst,
		StartedAt: time.Unix(0, s.Started), Moved: s.Moved, Skipped: s.Skipped, Failed: s.Failed, Remaining: s.Remaining, Reason: s.Reason,
	}
	if s.Ended != 0 {
		i.EndedAt = time.Unix(0, s.Ended)
	}
	return i, s.Left, nil
}

// Check is the part of a queue's store.Check that is about its redrives.
func Check(a *store.Audit, kind store.Kind, queue uint32) error {
	return a.WalkKind(kind, queue, func(key, v []byte) error {
		if _, _, err := Decode(key, v); err != nil {
			return a.Drop(key, "%v", err)
		}
		return nil
	})
}
