// Package workqueue is a routed work queue: messages are published to exchanges,
// bindings lead them to queues, and consumers share the deliveries of a queue
// and acknowledge them one by one. It is modelled on RabbitMQ.
//
// # What it guarantees
//
//   - Publish returns when every queue that the message was routed to holds it,
//     durably and in one commit: all of them or none.
//   - A delivery that is not settled comes back, at its old place, when its
//     consumer is closed or its process ends; Redelivered and DeliveryCount say
//     so. Consumers therefore see duplicates: acknowledge in the transaction
//     that holds the effect, or use package idempotency.
//   - A message that is rejected, or delivered more often than its queue
//     allows, goes to the queue's dead letter place in the same commit. That
//     includes a message whose handler kills the process.
//   - A settled delivery cannot be settled again, and one that was lost cannot
//     be settled at all: the error is typed, and nothing else is affected.
//
// # States of a message in a queue
//
//	               ┌───── Requeue with a Delay ─────┐
//	         Delay ▼                                │
//	Publish ──▶ delayed ──▶ ready ───dispatch───▶ unacknowledged ──Ack──▶ gone
//	   │                     ▲ │ ▲                   │  │
//	   └─────────────────────┘ │ └── Nack, Release,──┘  │ Reject, or over
//	                           │     AckTimeout,        │ the DeliveryLimit
//	            TTL, MaxLength,│     Close, crash,      │
//	            MaxBytes       │     Requeue            │
//	                           │                        ▼
//	                           └──────────────▶ dead letter place, or gone
//
// Requeue puts it at the head or the tail of what is ready, after a Delay at the
// tail, and so do a Release with a delay, a Nack in a queue that has a Retry and a handler of Run that fails;
// all others give it back at its old place.
//
// # What a queue holds
//
// A message may have a priority, a delay and a time to live at once. The highest
// priority that is ready goes first (MaxPriority), in order of arrival, where what
// is requeued has its old place. A TTL is exact wherever the message stands, and
// so are the limits of the queue (MaxLength, MaxBytes; see Overflow). What such a
// queue pays is a spool for each priority that is used, and a key of an index for
// each message with a TTL; a queue without pays nothing.
//
// Browse and Peek show what is in a queue, and change nothing. What is delayed can be
// cancelled by its MessageID, at a cost that does not depend on how much there is.
// Redrive moves dead letters back to the queues that they died in, or elsewhere.
//
// Messages that cannot be read, because the disk is damaged or fails, stay in the queue
// and are counted in QueueStats.Unreadable. The others are delivered. Get returns
// pebblemq.ErrCorrupt or pebblemq.ErrUnreadable once for each stretch of such messages;
// consumers and Run go on, and the log tells. A queue whose own record cannot be read
// refuses every use but its deletion.
//
// # Consumers
//
// A consumer holds at most its Prefetch unsettled. Deliveries go to the consumer of
// the highest priority that has room, in turn among equals; a SingleActive queue has
// one at a time. Run is a consumer with handlers, which may limit those of one key, the
// rate, and the time that each of them has. Caller sends requests and waits for
// replies; PutJob publishes again and again. A message with a UniqueKey does not get
// into a queue that has one with the same key (see Duplicate).
//
// # Routing
//
// An exchange leads to queues, to other exchanges, and to log topics and
// visibility queues of the same store (see Binding); its kind says how it compares
// messages with bindings (see ExchangeKind). What none of them matches goes to its
// alternate exchange. A message gets to a place once, however many ways lead
// there, and a body of 1 KiB or more that goes to several queues is stored once.
// What a publish costs depends on the bindings that match, not on those that do
// not: a hundred thousand patterns cost what ten do.
//
//	                 ┌─ key ──▶ queue
//	Publish ▶ exchange ─ pattern ─▶ exchange ─▶ queue, topic, visibility queue
//	                 └─ nothing matches ─▶ alternate exchange ─▶ ...
//
// Exchanges and queues stay until they are deleted, or end by themselves:
// AutoDelete, Expires, Exclusive. Export and Apply move a topology as JSON. With
// a DedupeWindow an exchange or queue takes the same MessageID once.
//
// # Departures from RabbitMQ
//
// There are no channels, no non-durable queues and no transient messages: what
// need not survive a crash is published NoSync, and is stored and counted like the
// rest. An exclusive queue belongs to a *Broker instead of a connection, and outlives
// no restart; an auto-delete queue does, and waits for its consumers to return. CC and BCC are fields, not headers.
// Arguments of bindings are texts or nil, as headers are. Errors are return values and
// close nothing. A confirm covers all queues. A requeued message returns to its old
// place however long that is (Nack), or goes to the head, the tail or there after a
// delay (Requeue). A message that cannot be dead-lettered stays where it is,
// with an error, or is tried again, instead of being dropped (unless DropIfMissing). A TTL is exact behind other
// messages too, one of 0 is called NowOrNever, and a delayed message's begins when it is
// due. RejectDeadLetter is a success to the publisher.
//
// # Memory and keys
//
// A queue keeps what is unacknowledged and a window of what is ready in memory,
// the rest on disk. keys.go shows the keys; the messages of a queue are a spool,
// see internal/spool.
package workqueue
