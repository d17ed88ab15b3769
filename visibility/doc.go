// Package visibility is a queue after Amazon SQS: a message that is received is
// hidden from others for a while, the visibility timeout, and comes back unless
// it is deleted by then. There are no connections to lose and no consumers to
// register; whoever has a receipt can delete or extend.
//
//	mail, err := visibility.OpenQueue(ctx, db, "mail", nil)
//	id, err := mail.Send(ctx, visibility.Message{Body: body})
//	messages, err := mail.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Minute})
//	err = mail.Delete(ctx, messages[0].Receipt)
//
// Run does the receiving, deleting and extending around a handler. A message whose handler
// fails is hidden for a while, longer each time, and is a dead letter in the end.
//
// # What it guarantees
//
//   - A message whose Send returned is received at least once, and again and
//     again until it is deleted or moved to the dead-letter queue.
//   - While its timeout runs nobody else receives it. Two never have valid
//     receipts for it: a receive makes the receipt before it stale.
//   - Order is that of sending; what comes back keeps its place. Several
//     receivers, and timeouts, may of course overtake one another.
//   - In a FIFO queue the order within a group is strict, whatever comes back
//     and however many receive: while a message of the group is in flight, those
//     behind it wait. Groups never wait for one another, and there may be any
//     number of them: one takes memory only while something of it is in flight
//     or has to wait.
//   - In a standard queue a group may name a tenant. One that has more than its
//     share in flight gives way to the others, however much of it waits.
//   - In a queue with a DedupeWindow a message that is sent again, by its
//     DedupeID or body, is not: so with Delete it is processed once.
//   - Receives are counted, also those of a message that kills its process:
//     with MaxReceives n it is in the dead-letter queue after at most n+1
//     crashes. Move and receive are one change; ID, body, attributes and the
//     time it was sent are kept.
//   - A Redrive moves dead letters back to the queues that they died in, or to
//     another one, each in one change, and goes on after a restart.
//   - Browse, Peek and Get show messages and receive none. A delayed one can be
//     called back with Cancel.
//   - A message is kept for the Retention of its queue, to the moment, and not longer,
//     also if it is in flight: its receipt is refused then, and a handler of Run is
//     told.
//   - With priorities, a higher one comes first; in a FIFO queue between groups.
//   - A Release gives a message back without counting the receive.
//   - Timeouts, delays and retention go on while the store is closed.
//   - With In, sending, cancelling, deleting and extending are part of a transaction.
//   - Messages that cannot be read, because the disk is damaged or fails, stay in the
//     queue and are counted in Stats.Unreadable. The others are received.
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
// # Where it departs from SQS
//
// Stale receipts are refused, also by Delete. A receive finds what there is: it
// does not return nothing while there is something. Bodies may be up to 64 MiB, and
// empty if the queue says so; delays and retention of any length, and the retention of
// a delayed message counts from when it is due. Batches are limited by bytes. There are
// priorities, and groups of a FIFO queue keep one each. A FIFO queue takes a message
// that has no DedupeID, without DedupeByBody, and does not know it again. Nothing is
// clamped: what is out of range is an error.
//
// # Keys
//
// docs/FORMAT.md lists them; internal/spool stores the messages.
package visibility
