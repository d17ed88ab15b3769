package visibility

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
)

// A redrive has a record, which is written by the Ops that move messages: so after a
// crash it says exactly what was moved, and what is left.
//
//	3d queue id 4 B | number 8 B  ->  version 1 B | storedRedrive as JSON
const redriveVersion = 1

func redriveKey(queue uint32, number uint64) []byte {
	return binary.BigEndian.AppendUint64(store.Key(store.KindVisRedrive, queue, 8), number)
}

// storedRedrive is the JSON. Times are nanoseconds since 1970.
type storedRedrive struct {
	State     RedriveState `json:"state"`
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
	Left      []spool.Span `json:"left,omitempty"` // of the messages
}

// write stores what has become of the redrive.
func (r *Redrive) write(t *store.Turn, i RedriveInfo, left []spool.Span) {
	t.Set(redriveKey(r.q.id, i.ID), encodeRedrive(i, left))
}

func encodeRedrive(i RedriveInfo, left []spool.Span) []byte {
	s := storedRedrive{
		State: i.State, To: i.To, Filtered: i.Filtered, Rate: i.Rate, Burst: i.Burst, Started: i.StartedAt.UnixNano(),
		Moved: i.Moved, Skipped: i.Skipped, Failed: i.Failed, Remaining: i.Remaining, Reason: i.Reason, Left: left,
	}
	if !i.EndedAt.IsZero() {
		s.Ended = i.EndedAt.UnixNano()
	}
	text, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("visibility: encode a redrive: %v", err)) // its numbers were checked
	}
	return append([]byte{redriveVersion}, text...)
}

func decodeRedrive(key, v []byte) (i RedriveInfo, left []spool.Span, err error) {
	if len(v) > 0 && v[0] != redriveVersion {
		return i, nil, fmt.Errorf("%w: redrive of a queue has version %d", store.ErrFormat, v[0])
	}
	var s storedRedrive
	if len(key) != 13 || len(v) == 0 {
		return i, nil, fmt.Errorf("%w: redrive %x of a queue", store.ErrCorrupt, key)
	}
	if err := json.Unmarshal(v[1:], &s); err != nil {
		return i, nil, fmt.Errorf("%w: redrive %x of a queue: %w", store.ErrCorrupt, key, err)
	}
	if err := spool.CheckRate(s.Rate, s.Burst); err != nil {
		return i, nil, fmt.Errorf("%w: redrive %x of a queue: %w", store.ErrCorrupt, key, err)
	}
	i = RedriveInfo{
		ID: binary.BigEndian.Uint64(key[5:]), State: s.State, To: s.To, Filtered: s.Filtered, Rate: s.Rate, Burst: s.Burst,
		StartedAt: time.Unix(0, s.Started), Moved: s.Moved, Skipped: s.Skipped, Failed: s.Failed, Remaining: s.Remaining, Reason: s.Reason,
	}
	if s.Ended != 0 {
		i.EndedAt = time.Unix(0, s.Ended)
	}
	return i, s.Left, nil
}

// readRedrives brings back what is known. Nobody else has the queue yet.
func (q *Queue) readRedrives(ctx context.Context) (err error) {
	lo, hi := store.Span(store.KindVisRedrive, q.id)
	it, err := q.s.Iter(ctx, lo, hi)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	it.PassOver(ctx, store.IsDamage) // the queue does without what it did
	defer func() {
		for _, g := range it.Gaps() {
			q.s.Log().Error("redrives of a queue cannot be read and do not go on", "queue", q.name, "error", g.Err)
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			return err
		}
		info, left, err := decodeRedrive(it.Key(), v)
		if err != nil {
			return err
		}
		r := newRedrive(q, info)
		if r.spans = left; info.State != RedriveRunning {
			close(r.done)
		}
		q.redrives = append(q.redrives, r)
	}
	return nil
}

// resumeRedrive has the redrive go on that was running.
func (q *Queue) resumeRedrive(t *store.Turn) {
	for _, r := range q.redrives {
		if r.Info().State == RedriveRunning {
			t.Spawn(r.run)
		}
	}
}
