package visibility

import (
	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// A FIFO queue keeps the order within each group, by the groups of its core:
//
//   - While a message of a group is in flight, those behind it wait. A receive
//     may take several of a group, in order, then others.
//   - A message that comes back stands where it stood, so what its group has
//     next is it again, whatever of those behind it was in the same receive.
//   - A receipt whose time is over is of no use: by then the group may be with
//     somebody else.
//   - A message that goes to the dead-letter queue lets its group go on.

// grouped tells the queue core about groups.
func (c *QueueConfig) grouped(o *queue.Options) { o.Group, o.Fair = groupOf, !c.FIFO }

// checkGroup refuses a message without a group where one is needed.
func (c *QueueConfig) checkGroup(m *Message) error {
	switch {
	case m.Group != "":
		return checkText("Group", m.Group)
	case c.FIFO:
		return store.Invalid("there is no Group, which a FIFO queue needs")
	}
	return nil
}

// groupOf returns the group in an encoded message. It is called for each under
// the baton, and does not decode the rest.
func groupOf(data []byte) []byte {
	f := fields{rest: data}
	flags, _ := f.head()
	if group := f.group(flags); !f.failed {
		return group
	}
	return nil
}

// over reports that a receipt for m has no say any more: the time is over, and
// order depends on it.
func (q *Queue) over(t *store.Turn, m *queue.Message) bool {
	return q.config().FIFO && !(m.Taken() && m.Until.After(t.Now()))
}
