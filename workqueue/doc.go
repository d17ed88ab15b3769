// Package workqueue is a routed work queue modelled on RabbitMQ. Messages are published to
// exchanges, bindings route them to queues, and consumers share the deliveries of a queue
// and acknowledge them one by one.
//
//	broker, err := workqueue.OpenBroker(ctx, db, "main")
//	emails, err := broker.DeclareQueue(ctx, "emails", nil)
//	err = broker.Publish(ctx, "", "emails", workqueue.Message{Body: body})
//	err = emails.Run(ctx, func(ctx context.Context, d *workqueue.Delivery) error { ... }, nil)
//
// # Guarantees
//
//   - Publish returns when every destination of the message holds it,
//     durably and in one commit: all of them or none.
//   - A delivery that is not settled returns to its old place when its
//     consumer is closed or its process ends. Redelivered and DeliveryCount report
//     that. Consumers therefore receive duplicates: acknowledge in the transaction
//     that holds the effect, or use package idempotency.
//   - A message that is rejected, or delivered more often than its queue
//     allows, becomes a dead letter in the same commit. That
//     includes a message whose handler kills the process.
//   - A settled delivery cannot be settled again, and a lost one cannot
//     be settled at all. The error is typed and affects no other delivery.
//
// # Words
//
//	broker            exchanges, queues and bindings under one name
//	exchange          the place that messages are published to; it routes them
//	binding           a rule that leads from an exchange to a destination
//	destination       a queue, another exchange, a log topic or a visibility queue
//	delivery          a message handed to a consumer, unacknowledged until it is settled
//	prefetch          how many unacknowledged deliveries a consumer may hold
//	ready             waiting to be delivered
//	delayed           waiting until its Delay is over
//	dead letter       a message that was given up and moved, with the reason
//	dead-letter place the exchange or queue for it; NAME.dead by default
//	job               a message that the broker publishes by a schedule (PutJob)
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
//	                           └──────────────▶ dead-letter place, or gone
//
// Requeue puts the message at the head or the tail of the ready ones, and with a Delay at
// the tail. A Release with a delay, a Nack in a queue with a Retry and a failed handler of
// Run also put it at the tail. All others return it to its old place.
//
// # Queues
//
// A message may have a priority, a delay and a time to live at once. The ready message with
// the highest priority is delivered first (MaxPriority), then the oldest. A TTL is exact
// wherever the message stands, and so are the limits of the queue (MaxLength, MaxBytes; see
// Overflow). Each priority in use costs a lane, and each message with a TTL an index key.
//
// Browse and Peek show the messages of a queue and change nothing. Cancel removes a delayed
// message by its MessageID, at a cost that does not depend on the length of the queue.
// Redrive moves dead letters back to the queues that they died in, or elsewhere, in the
// background and over restarts.
//
// Messages that cannot be read, because the disk is damaged or fails, stay in the queue
// and are counted in QueueStats.Unreadable. The others are delivered. Get returns
// pebblemq.ErrCorrupt or pebblemq.ErrUnreadable once for each stretch of such messages;
// consumers and Run continue and log it. If the record of a queue itself cannot be read,
// every call on the queue except Delete is refused.
//
// # Consumers
//
// A consumer holds at most Prefetch unsettled deliveries. Deliveries go to the consumer with
// the highest priority that has room, in turn among equals. A SingleActive queue delivers to
// one consumer at a time. Run is a consumer with handlers and has limits per key, per second
// and per call. Caller sends requests and waits for replies. PutJob publishes by a schedule.
// A message with a UniqueKey is refused while the queue holds another with the same key
// (see Duplicate).
//
// A delivery counts when Next, Fetch or a handler has it, not while it waits in a consumer.
// After a crash, the messages that were delivered come first, and one at a time, because one
// of them may have ended the process. The next one comes when the one before is settled, given
// back, or was delivered five seconds ago. The others do not wait.
//
// # Routing
//
// An exchange leads to queues, other exchanges, log topics and visibility queues of the same
// store (see Binding). Its kind says how it compares messages with bindings (see
// ExchangeKind). A message that matches no binding goes to the alternate exchange. Each
// destination gets a message once, even if several paths lead there. A body of 1 KiB or more
// that goes to several queues is stored once. The cost of a publish depends on the bindings
// that match: a hundred thousand patterns cost as much as ten.
//
//	                 ┌─ key ──▶ queue
//	Publish ▶ exchange ─ pattern ─▶ exchange ─▶ queue, topic, visibility queue
//	                 └─ nothing matches ─▶ alternate exchange ─▶ ...
//
// Exchanges and queues stay until they are deleted, unless they are AutoDelete or Exclusive
// or have Expires. Export and Apply move a topology as JSON. An exchange or queue with a
// DedupeWindow accepts each MessageID once within it.
//
// # Departures from RabbitMQ
//
//   - There are no channels, no non-durable queues and no transient messages. Publish with
//     NoSync instead; such messages are stored and counted like all others.
//   - Errors are return values and close nothing. A confirm covers all destinations.
//   - An exclusive queue belongs to a *Broker instead of a connection and does not survive a
//     restart. An auto-delete queue survives and waits for its consumers.
//   - CC and BCC are fields of Message, not headers.
//   - Headers and arguments of bindings are UTF-8 strings; an argument may be nil.
//   - A Nack returns a message to its old place however long the queue is. Requeue puts it at
//     the head or the tail, now or after a delay.
//   - A message that cannot be dead-lettered is tried again or stays in its queue, with an
//     error, unless DropIfMissing is set. Only a message that has passed a ring of queues
//     without a handler is dropped, with a warning (see DeadLetter).
//   - Every name in a configuration or a job must exist.
//   - A topic pattern with * or # inside a word is refused.
//   - A TTL is exact behind other messages too. A TTL of 0 is NowOrNever. The TTL of a
//     delayed message begins when it is due.
//   - The publisher gets no error for a message that RejectDeadLetter dead-letters.
//   - After an AckTimeout the message returns to the queue and the consumer continues.
//   - A queue without a DeadLetter has one by default, NAME.dead. DropDead drops instead.
//
// # Memory and keys
//
// A queue keeps unacknowledged messages and a window of the ready ones in memory, and
// all others on disk. keys.go and docs/FORMAT.md show the keys.
package workqueue
