// Package pebblemq is an embeddable message store: a durable log, a routed work
// queue, a visibility-timeout queue and idempotency keys on one Pebble store,
// in one process, with one atomic commit over all of them and the
// application's own state. There is no broker, no daemon and no network.
//
//	db, err := pebblemq.Open("data", nil)
//	orders, err := log.OpenTopic(ctx, db, "orders", nil)
//	err = db.Update(ctx, func(tx *pebblemq.Tx) error {
//		orders.In(tx).Append(log.Record{Key: id, Value: event})
//		return tx.Set(id, state)
//	})
//
// # What it guarantees
//
//   - At-least-once delivery, always. A consumer sees a message again after a
//     crash, a lost lease or a requeue; package idempotency, or an Update that
//     acknowledges along with the effect, makes the second time harmless.
//   - With Sync, the default, what a call reported done survives a crash of the
//     process and a loss of power. With NoSync the newest changes may be lost:
//     those of the last Options.SyncInterval and of the fsync under way, more
//     if the disk stalls (Stats.UnsyncedAge).
//   - Nobody sees a Sync change before it is on disk.
//   - All of an Update happens, or nothing of it.
//   - A failing or full disk never ends the host process: see ErrFailed and
//     ErrDiskFull.
//
// # One verb for one idea
//
// Open opens or creates, with a Config that is stored and must match the next
// time; Lookup opens what exists with the Config it has; Options are for this
// process only. Append adds to a log, Publish sends through an exchange, Send puts
// into a queue. Poll has the next records of a group's member, Fetch those of a
// reader on its own; Next and Get have a delivery of a work queue, Receive has
// messages of a visibility queue; Records and All are the same as iterators. Ack,
// Delete and Commit settle what was received, each in its broker's own word; Nack and
// ChangeVisibility give it back. Browse looks at what is in a queue and changes
// nothing, Cancel removes what is delayed, Redrive moves dead letters to where they
// died. In
// binds a handle to a transaction: the same verbs, without a context and without
// waiting. Run calls a handler for each message until its context ends, and then
// waits for the handlers under way, whose own context goes on. A handler that panics or
// calls runtime.Goexit has failed, like one that returns an error.
//
// # Contexts
//
// A blocking call takes a context. It returns when the context ends, when the store is
// closed and when it fails, even if the disk hangs. A change that was made by then has one
// more second to reach the disk; after that the call returns ErrUnknownOutcome. What
// follows a handler, its acknowledgement for instance, has a second after the handler if
// the context has ended before. Calls without a context, such as Open, Lookup and Close,
// wait as long as the disk takes. A call with a nil context returns ErrInvalid.
//
// # A store's life
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
// a keyspace of their own, reached through Tx.
//
// The examples folder has programs that run; examples/quickstart uses all of
// this at once.
package pebblemq
