// Package pebblemq is an embeddable message store: a durable log, a routed work
// queue, a visibility-timeout queue and idempotency keys on one Pebble store,
// in one process. One atomic commit covers all of them and the application's own
// state. There is no broker, no daemon and no network.
//
//	db, err := pebblemq.Open("data", nil)
//	orders, err := log.OpenTopic(ctx, db, "orders", nil)
//	err = db.Update(ctx, func(tx *pebblemq.Tx) error {
//		if _, err := orders.In(tx).Append(log.Record{Key: id, Value: event}); err != nil {
//			return err
//		}
//		return tx.Set(id, state)
//	})
//
// # Guarantees
//
//   - Delivery is at least once. A consumer receives a message again after a
//     crash, a lost lease or a requeue. To make the second delivery harmless, use
//     package idempotency or an Update with both the effect and the acknowledgement.
//   - With Sync, the default, a change survives a crash of the process and a loss of
//     power once the call has returned. With NoSync the newest changes may be lost:
//     those of the last Options.SyncInterval and of the fsync under way, more
//     if the disk stalls (Stats.UnsyncedAge).
//   - A Sync change is on disk before any reader or consumer sees it.
//   - An Update happens completely or not at all.
//   - A failing or full disk never ends the host process: see ErrFailed and
//     ErrDiskFull.
//
// # Words
//
//	store      a directory, opened by one process at a time
//	layer      one of the packages log, workqueue, visibility and idempotency
//	object     a topic, group, broker, exchange, queue or namespace; it has a name
//	Config     settings that are stored with an object
//	Options    settings of this process or call; they are not stored
//	change     one atomic step of a store, such as a publish or an Update
//	sync       an fsync of the write-ahead log; it makes all changes before it durable
//	settle     to acknowledge, delete, commit or reject a message for good
//	dead       given up: a dead letter is a message that failed for good
//
// # Verbs
//
// A verb means the same in all layers.
//
//	Open, Declare   open an object or create it; the Config must match the stored one
//	Ensure          open, create or alter it
//	Lookup          open it only if it exists
//	Alter, Delete   change the Config; remove the object
//	Info, Stats     counters and Config
//	Append          add records to a log
//	Publish         send a message through an exchange
//	Send            put a message into a visibility queue
//	Poll            take records as a member of a group
//	Fetch, Next, Get   read records; take deliveries of a work queue
//	Receive         take messages of a visibility queue
//	Records, Deliveries   the same as iterators
//	Ack, Delete, Commit   settle a message, in the word of each broker
//	Nack, Release   give a message back; Release is not counted as an attempt
//	Browse, Peek, Find    look at messages without taking them
//	Cancel          remove a delayed message
//	Redrive         move dead letters back to their queues
//	Run             call a handler for each message until the context ends
//	In              bind a handle to a transaction
//
// A handle bound with In has the same verbs, without a context and without waiting.
//
// After its context has ended, Run waits for the handlers under way, whose own
// contexts go on until the DrainTimeout. A handler that panics or calls
// runtime.Goexit has failed, like one that returns an error.
//
// In log, workqueue and visibility, Typed makes a handle whose verbs take and return
// values of a type instead of bytes, with a Codec such as JSON.
//
// # Contexts
//
// A blocking call takes a context. It returns when the context ends, when the store is
// closed and when the store fails, even if the disk hangs. If a change was made by then,
// the call waits one more second for the disk. After that it returns ErrUnknownOutcome.
// A step that follows a handler, such as its acknowledgement, gets one second after
// the handler even if the context has ended before. Calls without a context, such as Open
// and Close, wait as long as the disk takes. So does a call whose own read gets no answer
// from the disk; it blocks no other call. A call with a nil context returns ErrInvalid.
//
// # Clocks
//
// Delays, timeouts, retention and expiry end at a time of the system's clock, because they
// continue while the store is closed. If the clock is set back by an hour, pending ones
// end an hour later, and so does the retention of what comes after them. Windows for duplicates
// become no longer while the store is open. If the clock is set forward, all of them end
// earlier. Order, receipts, claims and offsets do not depend on the clock. Gradual adjustment, as
// NTP makes it, has no effect.
//
// # States of a store
//
//	        Open                 disk fails
//	closed ──────▶ open ─────────────────────▶ failed: reads go on, writes ErrFailed
//	   ▲            │  ▲                          │
//	   │      Close │  │ space returns            │ Close
//	   └────────────┘  └── full: ErrDiskFull      │
//	   ▲                                          │
//	   └──────────────────────────────────────────┘
//
// # Keys
//
// docs/FORMAT.md lists every key of a store. The application's own keys live in
// a separate keyspace, reached through Tx.
//
// Package pebblemqtest helps to test programs that use this package. The examples folder
// has complete programs; examples/quickstart uses all layers at once.
package pebblemq
