package workqueue

import (
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/window"
)

// Duplicate is a message that a queue already holds with the UniqueKey of a published one. The
// queue dropped the published one; its other destinations have it. To its publisher that is a
// success; Published.Duplicates tells.
//
// A message holds its key in a queue from the commit that publishes it to the commit that
// removes it. It is removed by an acknowledgement or a rejection, its TTL, the delivery limit,
// a limit of length, Purge, Cancel or the deletion of the queue. Requeued and redelivered it
// holds it all the time, over restarts and crashes. A dead letter holds no key, before and
// after its redrive, so it is never refused. Another message may take the key meanwhile.
// Publishing the message again asks for the key again. Topics and visibility queues do not know
// keys. A key costs a look-up and a record on disk, no memory, so that millions may wait.
//
// For a message that is to come once in a stretch of time, whether or not the first
// is done, use its MessageID and a DedupeWindow. RabbitMQ has neither; this is as in
// job queues.
type Duplicate struct {
	Queue     string
	MessageID string    // of the message that the queue has
	Timestamp time.Time // of the same
}

// uniqueKey is what a queue keeps of a key.
func uniqueKey(key string) queue.UniqueKey {
	if key == "" {
		return queue.UniqueKey{}
	}
	return queue.UniqueKey(window.IDOf(key))
}

// outdone finds out whether a queue has a message with the same key.
func (o *publishOp) outdone(t *store.Turn, q *declaredQueue) (bool, error) {
	data, err := q.core.Holder(t, o.parcel.unique)
	if err != nil {
		return false, fmt.Errorf("unique key %q in queue %q: %w", o.message.UniqueKey, q.name, err)
	}
	if data == nil {
		return false, nil
	}
	e, err := decodeMessage(data)
	if err != nil {
		return false, err
	}
	o.duplicates = append(o.duplicates, Duplicate{q.name, e.MessageID, e.Timestamp})
	return true, nil
}
