// Package queue stores the messages of one queue: it keeps their order, counts
// their deliveries, holds a bounded part of them in memory and brings all of
// it back after a crash. The work queue and the visibility queue are built on
// it; they add who gets a message and for how long.
//
// # Words
//
//   - A Lane keeps messages in one order, that of their sequence numbers. A Queue has a lane for each
//     priority that was ever used.
//   - A segment is what one commit group put into a lane: one key.
//   - The line is what waits in order; its window is what is in memory of that.
//   - A message is out while someone has it, and a suspect if it may have killed the process.
//   - A group is a FIFO group, or a tenant of a fair queue.
//
// # The machines of a lane
//
//		            delays ──due──┐
//		                          ▼
//		layer ──Put, Show──▶ ┌─ Lane ─┐ ──Take──▶ layer ──Settle, Return──▶ Lane
//		                     │ move   │
//		                     └─┬────┬─┘
//		     order on disk ◀───┘    └───▶ where each message is in memory
//		     loader reads it back         line, groups, crash
//
//	  - order: segments, and what has become of their messages (order.go, segment.go, index.go, state.go,
//	    reader.go); loader reads chunks of it (load.go).
//	  - line: what waits in memory for whoever comes next (line.go, window.go).
//	  - groups: may this message go now? FIFO groups, fair tenants (groups.go, fair.go, passing.go).
//	  - crash: what was out when the process ended, and what may have killed it (crash.go, recall.go).
//	  - delays, expiry, retention: what time does to messages (delay.go, expiry.go, retention.go).
//	  - unreadable: what the disk does not give back (unreadable.go, again.go).
//	  - Browse, Pump, Find and Peek look at messages, and move them (browse.go, pump.go, find.go).
//
// # Where a message is
//
// Each message is at one place, and Lane.move alone changes that: see location.go. Sound compares all
// places, counters and segments; the tests call it after each step.
//
// Every method with a *store.Turn is called under the baton. Put, Settle and
// Return change the disk and the counters, in Op.Run; UndoPut, UndoSettle and
// UndoReturn take that back; Show, Settled and Returned belong in Op.Visible
// and change what is handed out.
//
// # Memory
//
// Messages enter in the order of their sequence numbers. Those below loaded are
// in memory or gone; those from loaded to shown are
// on disk only, and are read in chunks when the window runs low. Memory is
// bounded by the window and by what is out, never by the backlog.
//
// Invariant: low <= every message that is not gone; no read starts below low.
//
// What one lane of a queue reads from disk is waited for before a lower one has its turn. What has
// an end of life of its own is in an index by that end as well (see expiry); one that is the same
// for all needs none (see retention).
//
// What holds a unique key is in an index by that (see unique.go).
//
// # On disk
//
// What a group puts is one key, a segment; what becomes of its messages is one state, written at
// most once a group. See order.go for both in memory, segment.go and state.go for their form, and
// reader.go for how they are read.
//
//	lane  ├─ segment 0..99 ─┤├─ 100..102 ─┤├─ 103..250 ─┤  under 99, 102 and 250
//	      │ state: 0 to 97 settled, 98 out │ no state   │ pending
//
// What is settled NoSync, and in no transaction, is written with the next synced group. Until then
// the counters on disk are those of what is there on disk.
//
// # A message that kills its process
//
// Deliveries are written before the next fsync, and not at all if the message is
// settled before that. A crash may therefore lose them. So that a message that
// crashes its process is still counted:
//
//   - A message is handed out only if its sequence number is below a frontier
//     that is known to be on disk. Raising it is one fsync for thousands of
//     messages and is done ahead of need.
//   - After an unclean end every message below that bound is a suspect: it is
//     handed out only once its mark is on disk (Message.Suspect; Take calls
//     ForceSync). From the second crash on, then, each delivery counts.
//   - A message whose state says that it was out when the process died is a
//     prime suspect: these come first, one at a time (each for soloTime at
//     most), so that the neighbours of the culprit, which would be counted
//     along with it, get away.
//
// # Messages in an inbox
//
// A consumer has messages in its inbox that the application has not seen. They are out: no other
// consumer gets them. But if the process ends they have not been delivered. They must not be
// counted, and cannot have killed the process. So nothing is written of that until Deliver.
//
//	Prefetch ──▶ taken, waiting ──Deliver──▶ taken ──▶ settled, or returned
//	                 ▲                         │
//	                 └──────── Withhold ───────┘
//
// # Groups
//
// A lane may keep messages of a group in order (Options.Group): while something
// of a group is out, what stands behind it steps aside and the others pass. What
// has stepped aside is in memory within limits, and beyond these on disk only.
// With Options.Fair groups are tenants instead: one that has more than its share
// out steps aside in the same way, until nobody else has anything.
//
// The first messages of a group that has nothing in the window or behind it do not stand
// in line: they are parked at once, and go before a front that is blocked (passing.go). What
// a blocked front hides from us, as after a restart, a walk finds in turns of 256 messages
// (walk.go). So neither waits for the backlog of another group, nor holds up another queue.
//
// # Looking at it, and moving it
//
// A Browse reads messages and changes nothing. What is delayed is found by the layer's
// id (Later) and removed (Cancel). A Pump takes what waits out of the lane, for the
// layer to put elsewhere.
//
// # What cannot be read
//
// A damaged block, or a read that fails, does not hold up the rest: loads, sweeps and
// browses pass over it. Messages in it stay on disk, are counted (Stats.Unreadable) and
// reported once. After a read that failed in passing they are read again, at growing
// intervals. See unreadable.go and again.go.
//
// # Keys
//
// See keys.go. The layer chooses the kinds.
package queue
