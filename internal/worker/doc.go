// Package worker is the one loop that calls handlers. log.Group.Run, workqueue.Queue.Run
// and visibility.Queue.Run are Sources of it. It knows no queue: a Source fetches
// messages, keeps them and settles them; Run decides when the handler is called, how often
// and what its end means.
//
// # What it guarantees
//
//   - Run returns nil only after its context has ended. Before that, it ends with an error
//     of the store, or with the one that a handler gave to Stop.
//   - Each call of a handler has one Outcome, however it ends: nil, an error, a panic,
//     runtime.Goexit, or not at all. No worker, key or held message is lost to a handler.
//   - Messages with equal keys are handled one after the other, in the order in which they
//     were fetched. With InPlace that holds for attempts after a failure as well.
//   - A message that was fetched is settled or given back before Run returns.
//
// # The life of a task
//
//	Fetch ──▶ held ──▶ lane (waits for its key) ──▶ ready ──▶ called ──▶ outcome
//	                     ▲                                                │ │
//	                     └── pause: backoff or snooze, if InPlace ────────┘ │
//	                                                                        ▼
//	                                              settled: done, retried, released, dead
//
// # The end of Run
//
//	running ──ctx ends, Stop, store──▶ draining ──DrainTimeout──▶ ended calls ──Grace──▶ over
//	                                   nothing begins,            contexts end with      calls that did not
//	                                   the rest goes back         ErrDrainTimeout        return are abandoned
//
// # Words
//
//	source   fetches, holds and settles messages
//	task     one message from its fetch to its end
//	lane     the tasks of one key, in order; one worker has it at a time
//	call     one run of the handler, with one task or a batch of them
//	outcome  what a call means for a task
//	drain    the time from the end of Run's context to the end of its calls
package worker
