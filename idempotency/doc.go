// Package idempotency makes the second delivery of the same thing harmless. It
// remembers, under a key that the caller chooses, that something was done and
// what came of it.
//
// # Three strengths
//
//   - Once, and Complete in a transaction: the effect is in this store. Effect,
//     key, result and the acknowledgement of the message are one commit, so the
//     effect happens exactly once.
//   - Do: the effect is elsewhere. One runner at a time, the claim on disk before
//     it starts, the result on disk before Do returns. A process that dies in
//     between may have had its effect; the next call runs the handler again,
//     with a higher fencing token.
//   - Nothing: an effect that is harmless twice needs no key.
//
// # Life of a key
//
//	                 Do, Once                    result stored
//	absent ─────────────────────▶ in progress ───────────────▶ completed
//	  ▲  ▲                             │                           │
//	  │  └── error, panic, crash, ─────┘                           │
//	  │      Forget (ErrLeaseLost)                                 │
//	  └──────────────────────── Forget, Config.Expiry ─────────────┘
//
// A key is never marked done before its handler has succeeded, so a failed one
// is tried again. An expired key is absent at once; its space is reclaimed
// later, in bulk.
//
// # Memory and keys
//
// Only keys in progress are in memory. keys.go shows what is on disk. A lookup is
// one point read.
//
// An answer of this package, a replayed result included, rests only on what is
// on disk: lookups wait for the fsync of what they saw.
package idempotency
