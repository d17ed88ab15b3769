package spool

import "github.com/pebblemq/pebblemq/internal/store"

// A consumer has messages in its inbox that nobody has seen. They are out, and nobody else gets
// them. But if the process ends they have not been delivered, and must not be counted as if they
// had, and they cannot be what has killed it.
//
//	Prefetch ──▶ taken, waiting ──Deliver──▶ taken ──▶ settled, or returned
//	                 ▲                         │
//	                 └──────── Withhold ───────┘
//
// What is written of a message that waits is that it was not delivered this time.

// Prefetch takes the next message for somebody who will see it later, if at all. Its Count has the
// delivery already. Deliver must come before anybody sees it, or if it is no suspect, before the
// first group that is synced after that.
func (q *Lanes) Prefetch(t *store.Turn) *Message {
	m := q.pull(t)
	if m != nil {
		m.waiting = true
	}
	return m
}

// Deliver has the delivery of a taken message written, before the next fsync. If the message is a
// suspect the Op is forced to Sync, and the message must not reach anyone before Visible.
func (q *Spool) Deliver(t *store.Turn, m *Message) {
	m.prime, m.waiting = false, false
	q.order.markLater(t, m)
	t.Touch(q)
	t.Promise(markLen)
	if m.Suspect {
		t.ForceSync()
	}
}

// Deliver is Spool.Deliver.
func (q *Lanes) Deliver(t *store.Turn, m *Message) { q.of(m).Deliver(t, m) }

// Withhold takes Deliver back, because the receiver keeps the message for later.
func (q *Lanes) Withhold(t *store.Turn, m *Message) {
	if !m.waiting {
		m.waiting = true
		q.of(m).order.markLater(t, m)
	}
}
