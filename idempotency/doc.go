// Package idempotency makes the second delivery of the same thing harmless. It
// remembers, under a key that the caller chooses, that something was done and
// what came of it.
//
// # Three strengths
//
//   - Transactional: Once, and Complete in a transaction. The effect is in this
//     store. Effect, key, result, the messages sent and the acknowledgement of
//     the one received are one commit, so it happens exactly once.
//   - Leased: Do. The effect is elsewhere, such as a payment. One runner at a
//     time, the claim on disk before it starts, the result on disk before Do
//     returns. A process that dies in between may have had its effect: the next
//     call runs the handler again, with a higher fencing token, and tells it
//     (Claim.Interrupted). What the handler also does in this store can be
//     exact all the same, with Claim.In.
//   - Windowed: Accept. For producers: the same message id within Config.Expiry
//     is accepted once, and the original answer returned.
//
// # Life of a key
//
//	                 Do                          result stored
//	absent ─────────────────────▶ in progress ───────────────▶ completed
//	  ▲  ▲  ▲                        │    │                        │  ▲
//	  │  │  └──── error, panic ──────┘    │ crash,                 │  │ Once, Accept,
//	  │  │                                ▼ ErrNotStored           │  │ Complete
//	  │  └─────── Config.Expiry ── interrupted: the next call runs │  │ from absent
//	  └───────────────── Forget, Config.Expiry ────────────────────┘
//
// A key is never marked done before its handler has succeeded, so a failed one
// is tried again. An error that is marked with Final counts as a result. An
// expired key is absent at once; its space is reclaimed later, in bulk.
//
// A namespace is opened (OpenNamespace) or brought up to its config (EnsureNamespace); it
// is altered and deleted by its handle. Handlers that run as it is deleted lose their
// claims.
//
// # What can still run twice
//
// A Do whose process died, or whose result could not be stored (ErrNotStored),
// runs again: nothing that the store does can tell whether the other side was
// reached. Pass the key on, as payment services ask for, or ask the other side
// when Interrupted is set, or have it refuse a token lower than one it has seen.
// A handler whose key is forgotten, or that goes on after its process was taken
// for dead, is overtaken in the same way. Config.Lease leaves time for what a
// dead process has sent to arrive.
//
// # Memory and keys
//
// Keys in progress are in memory, and of all others a filter that tells most new
// keys without a look at the disk: 12 to 24 bits a key, within a quarter
// of Options.MemoryBytes, which comes on top of them. After opening it is read back
// beside the work. Until then, and in a namespace with more keys than fit, the engine's
// own filters answer, for some microseconds: 10 bits a key, which should fit into half
// of Options.MemoryBytes. The outcomes that were stored or asked for last are in a cache
// (Config.CacheBytes). Any other lookup is one point read. keys.go shows what is on disk.
//
// An answer of this package, a replayed result included, rests only on what is
// on disk: lookups wait for the fsync of what they saw, even if it was stored
// with NoSync. Only the ErrDuplicate of a transaction may be ahead of the disk,
// and then so is what that transaction would have done.
package idempotency
