// Package visibility is a queue modelled on Amazon SQS. A received message is hidden from
// other receivers for a visibility timeout. Unless it is deleted by then, it becomes visible
// again. There are no connections and no consumers to register: a receipt is enough
// to delete a message or to extend its timeout.
//
//	mail, err := visibility.OpenQueue(ctx, db, "mail", nil)
//	id, err := mail.Send(ctx, visibility.Message{Body: body})
//	messages, err := mail.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Minute})
//	err = mail.Delete(ctx, messages[0].Receipt)
//
// Run receives, extends and deletes around a handler. If the handler fails, the message is
// hidden for a while, longer after each failure, and becomes a dead letter in the end.
//
// # Guarantees
//
//   - A message whose Send returned is received at least once, and again
//     until it is deleted or moved to the dead-letter queue.
//   - During its visibility timeout a message is not received again. It has at most one
//     valid receipt: a receive makes the earlier receipt stale.
//   - Messages are received in the order of sending, and a returned message keeps its place.
//     Several receivers, and timeouts, may overtake one another. Messages in memory may
//     overtake those that have to be read from disk.
//   - In a FIFO queue the order within a group is strict, with any number of receivers.
//     While a message of the group is in flight, those behind it wait. Groups never wait
//     for one another. There may be any number of groups: one takes memory only while its
//     messages are in flight or blocked.
//   - In a standard queue a group may name a tenant. A tenant with more than its share in
//     flight gives way to the others, whatever its backlog.
//   - In a queue with a DedupeWindow a repeated send, by DedupeID or body, adds no message.
//   - Receives are counted, including those of a message that kills its process.
//     With MaxReceives n the message is in the dead-letter queue after at most n+1
//     crashes. Move and receive are one change. ID, body, attributes and send time
//     are kept.
//   - After a crash, the messages that were in flight come one at a time, because one of them
//     may have ended the process. The next one comes when the one before is deleted,
//     returned, or was received five seconds ago. Until then it counts as in flight. The
//     others do not wait.
//   - A Redrive moves each dead letter in one change and continues after a restart.
//   - Browse, Peek and Find receive nothing. Cancel removes a delayed message.
//   - A message is kept for exactly the Retention of its queue, even if it is in flight. Its
//     receipt is refused then, and the context of its handler in Run ends.
//   - Higher priorities are received first; in a FIFO queue this holds between groups.
//   - Release returns a message without counting the receive.
//   - Timeouts, delays and retention continue while the store is closed.
//   - With In, sending, cancelling, deleting and extending are part of a transaction.
//   - Messages that cannot be read, because the disk is damaged or fails, stay in the
//     queue and are counted in Stats.Unreadable. The others are received.
//
// # Words
//
//	visible             may be received
//	in flight           received and hidden until its visibility timeout ends
//	delayed             not visible before its Delay is over
//	visibility timeout  how long a received message is hidden
//	receipt             proof of one receive; it deletes, releases or extends
//	stale               a receipt whose message was received again
//	group               in a FIFO queue the unit of order, in a standard queue a tenant
//	receive count       how often the message was received
//	retention           how long a message is kept
//	dead letter         a message that was received MaxReceives times, given up or expired
//
// # States of a message
//
//	         Delay                 Receive
//	Send ─▶ delayed ──due──▶ visible ────▶ in flight ──Delete──▶ gone
//	  │                      ▲ │  ▲            │ │                 ▲
//	  └──────────────────────┘ │  └────────────┘ │                 │
//	                           │  timeout ends,  │                 │
//	                           │  or is set to 0 └─ extend ─┐      │
//	                           │                 ▲          │      │
//	                           │                 └──────────┘      │
//	                           └──received MaxReceives times, or given up by Run:
//	                              dead-letter queue, from which Redrive brings it back
//
// From visible and in flight, the end of the retention leads to gone, or to the
// dead-letter queue.
//
// # Departures from SQS
//
//   - Stale receipts are refused, also by Delete. Delete succeeds for a message that is
//     gone, but in a transaction it returns ErrNotInFlight.
//   - A receive is never empty while a message is visible.
//   - Bodies may be empty and have up to 64 MiB. There may be 1000 attributes. Batches are
//     limited by bytes. SQSLimits returns a config with the limits of SQS.
//   - Names, groups and IDs have up to 256 bytes, except queue names, which have 255.
//   - Delays and retention may have any length. The retention of a delayed message counts
//     from the time it is due.
//   - There are priorities, also in FIFO queues.
//   - A FIFO queue without DedupeByBody accepts a message without a DedupeID and does not
//     deduplicate it.
//   - A queue is fair between tenants or ordered by group, not both.
//   - ReceiveCount begins at 1 again in a dead-letter queue. DeadLetterInfo has the count of
//     the other queue.
//   - Stats.OldestAge counts from the send, or from the time a delayed message was due. In a
//     dead-letter queue it does so too, unless the queue has RetentionRestarts.
//   - A queue without a DeadLetterQueue gets NAME.dead when Run gives up a message.
//   - An out-of-range value is an error; it is never clamped.
//
// # Keys
//
// docs/FORMAT.md lists the keys.
package visibility
