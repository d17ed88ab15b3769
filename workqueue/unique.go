package workqueue

import (
	"fmt"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/window"
)

// Duplicate is a message that a queue has in the place of one that was published with
// the same UniqueKey: that one did not get into this queue, while others that it was
// routed to have it. To its publisher that is a success; Confirm.Duplicates tells.
//
// A message holds its key in a queue from the commit that publishes it to the commit
// that takes it out: by an acknowledgement or a rejection, alone or in a transaction,
// by its TTL, the delivery limit or a limit of length, by Purge, Cancel or DeleteQueue.
// Requeued and redelivered it holds it all the time, over restarts and crashes. A dead
// letter holds no key, nor does it once it is redriven, so that it always gets where it is
// to go, and another message may come in its place; whoever publishes it again asks for
// the key again. Topics and visibility queues do not know keys. A key costs a look-up and
// a record on disk, no memory, so that millions may wait.
//
// For a message that is to come once in a stretch of time, whether or not the first
// is done, use its MessageID and a DedupeWindow. RabbitMQ has neither; this is as in
// job queues.
type Duplicate struct {
	Queue     string
	MessageID string    // of the message that the queue has
	Timestamp time.Time // of the same
}

// Duplicates waits for the outcome and returns, for each queue that has another
// message with the same UniqueKey, which one that is. That is on disk as the outcome is.
func (c *Confirm) Duplicates() []Duplicate {
	<-c.done
	return slices.Clone(c.duplicates)
}

// uniqueKey is what a queue keeps of a key.
func uniqueKey(key string) spool.UniqueKey {
	if key == "" {
		return spool.UniqueKey{}
	}
	return spool.UniqueKey(window.IDOf(key))
}

// outdone finds out whether a queue has a message with the same key.
func (o *publishOp) outdone(t *store.Turn, q *queue) (bool, error) {
	data, err := q.spool.Holder(t, o.parcel.unique)
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
