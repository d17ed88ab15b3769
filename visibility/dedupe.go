package visibility

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/window"
)

// DefaultDedupeWindow is that of FIFO queues.
const DefaultDedupeWindow = 5 * time.Minute

// MaxDedupeID is the longest Message.DedupeID, 256 bytes.
const MaxDedupeID = 256

var _ = [1]struct{}{}[MaxDedupeID-window.MaxID] // the two are equal

// openWindow brings back which messages were sent of late.
func (q *Queue) openWindow(s *store.Store) {
	if q.config().DedupeWindow > 0 {
		q.window = window.New(s, fmt.Sprintf("queue %q", q.name), store.KindVisWindow, q.id, q.config().DedupeWindow)
	}
}

// identity is how a message is recognized when it is sent again.
type identity struct {
	id   window.ID
	body uint64 // the beginning of its hash
}

// identify returns nil for a message that is not deduplicated.
func (q *Queue) identify(m *Message) (*identity, error) {
	switch {
	case q.window == nil && m.DedupeID == "":
		return nil, nil
	case q.window == nil:
		return nil, store.Invalid("DedupeID %q needs a QueueConfig.DedupeWindow", m.DedupeID)
	case m.DedupeID == "" && !q.config().DedupeByBody:
		return nil, nil
	}
	sum := sha256.Sum256(m.Body)
	id := "body " + string(sum[:])
	if m.DedupeID != "" {
		if err := window.Check(m.DedupeID); err != nil {
			return nil, fmt.Errorf("DedupeID: %w", err)
		}
		id = "id " + m.DedupeID
	}
	if q.config().DedupePerGroup {
		id = string(appendString(nil, m.Group)) + id
	}
	return &identity{window.IDOf(id), binary.BigEndian.Uint64(sum[:])}, nil
}

// original is what is known of a message that was sent before.
//
//	sequence 8 B | beginning of the body's hash 8 B | id
type original struct {
	seq  uint64
	body uint64
	id   string
}

func (o *original) encode() []byte {
	b := make([]byte, 0, 16+len(o.id))
	b = binary.BigEndian.AppendUint64(b, o.seq)
	return append(binary.BigEndian.AppendUint64(b, o.body), o.id...)
}

func decodeOriginal(v []byte) (*original, error) {
	if len(v) < 16 {
		return nil, fmt.Errorf("%w: answer %x to a deduplication id", store.ErrCorrupt, v)
	}
	return &original{binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:]), string(v[16:])}, nil
}

// before returns the message that this one repeats, if any.
func (o *sendOp) before(t *store.Turn) (*original, error) {
	if o.identity == nil {
		return nil, nil
	}
	answer, found, err := o.q.window.Look(t, o.identity.id)
	if err != nil || !found {
		return nil, err
	}
	return decodeOriginal(answer)
}

// remember has the message recognized from now on.
func (o *sendOp) remember(t *store.Turn) {
	if o.identity == nil {
		return
	}
	first := original{body: o.identity.body, id: o.id}
	if o.put != nil {
		first.seq = o.put.Sequence()
	}
	o.q.window.Put(t, o.identity.id, first.encode())
}

// result is what the sender is told, once the Op has run.
func (o *sendOp) result() SendResult {
	switch {
	case o.first != nil:
		return SendResult{ID: o.first.id, Sequence: o.first.seq, Duplicate: true, Differs: o.first.body != o.identity.body}
	case o.put != nil:
		return SendResult{ID: o.id, Sequence: o.put.Sequence()}
	}
	return SendResult{ID: o.id}
}
