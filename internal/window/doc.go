// Package window remembers message ids for a while, each with an answer, so that a repeat of the
// id gets the answer of the first. The log, the work queue and the visibility queue use it to
// drop duplicates.
//
// An id counts for exactly the length of the window from the moment when it was put, over
// restarts and crashes. It is written in the Op whose answer it keeps, so that both are stored
// or neither is.
//
// Ids are kept by their hash, in buckets of a quarter of the length. A lookup asks
// the five buckets that may hold ids that still count, and a bucket whose last id has
// expired is dropped as a whole, with one range deletion:
//
//	put at     ├── b ──┼─ b+1 ─┼─ b+2 ─┼─ b+3 ─┼─ b+4 ─┤
//	                 └──────── length ──────────┘
//	                                            now
//
//	┌──────┬───────────┬────────┬──────┐    ┌─────────┬───────┬────────┐
//	│ kind │ object id │ bucket │ hash │ →  │ version │ until │ answer │
//	│ 1 B  │ 4 B       │ 8 B    │ 16 B │    │ 1 B     │ 8 B   │        │
//	└──────┴───────────┴────────┴──────┘    └─────────┴───────┴────────┘
//
// Invariants:
//
//   - No key lies in a bucket below oldest or above newest.
//   - A bucket's set of recent ids, if it is complete, has every id that is stored in
//     the bucket. It may have more: of Ops that were refused.
//   - Time does not run backwards here, even if the clock does. It goes on from where the
//     newest bucket began, or from its beginning after a restart, until the clock has caught up.
package window
