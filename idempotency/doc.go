// Package idempotency makes the second delivery of a message or request harmless. It
// remembers, under a key that the caller chooses, that work was done and what its
// result was.
//
// # Three strengths
//
//   - Transactional: Once, and Complete in a transaction, for effects in this
//     store. Effect, key, result, sent messages and the acknowledgement of
//     the received one are one commit, so the effect happens exactly once.
//   - Leased: Do, for effects elsewhere, such as a payment. One handler runs at a
//     time. The claim is on disk before it starts, the result before Do
//     returns. If the process dies in between, the effect may have happened. The next
//     call runs the handler again, with a higher fencing token and
//     Claim.Interrupted. Claim.In makes changes in this store exact nevertheless.
//   - Windowed: Accept, for producers. A message id is accepted once within
//     Config.Expiry, and a repetition returns the original answer.
//
// # Guarantees
//
//   - A key is completed only after its handler has succeeded, or has failed with an
//     error marked with Final. After any other error the key is free.
//   - Of several calls with one key, one runs the handler; the others get its result.
//   - An answer rests on data that is on disk. Lookups wait for the fsync of NoSync
//     changes that they read. Only the ErrDuplicate of a transaction may be ahead of
//     the disk, and then the transaction would be too.
//   - An expired key is absent at once. Its space is reclaimed later, in bulk.
//
// # Words
//
//	namespace       a named set of keys with one Config
//	key             what identifies the work: a message id, an order, a request
//	claim           the right of one call of Do to run the handler of a key
//	fencing token   a number that rises with each claim of a key
//	interrupted     an earlier claim ended without a result, for example in a crash
//	result          the stored outcome of a key
//	replayed        returned from storage, without a run of the handler
//	fingerprint     a digest of the payload; the same key with another is ErrMismatch
//
// # States of a key
//
//	                 Do                          result stored
//	absent ─────────────────────▶ in progress ───────────────▶ completed
//	  ▲  ▲  ▲                        │    │                        │  ▲
//	  │  │  └──── error, panic ──────┘    │ crash,                 │  │ Once, Accept,
//	  │  │                                ▼ ErrNotStored           │  │ Complete
//	  │  └─────── Config.Expiry ── interrupted: the next call runs │  │ from absent
//	  └───────────────── Forget, Config.Expiry ────────────────────┘
//
// OpenNamespace opens or creates a namespace, EnsureNamespace also alters it, and its
// handle deletes it. Handlers that run at its deletion lose their claims.
//
// # Effects that may repeat
//
// A Do whose process died, or whose result could not be stored (ErrNotStored),
// runs again, because the store cannot know whether the other side was
// reached. There are three remedies: pass the key on, as payment services ask for; ask the
// other side if Interrupted is set; or let it refuse a token lower than the last one.
// A forgotten key, and a handler that continues after its process was presumed dead, have the
// same effect. Config.Lease is the time that requests of a dead process have to arrive.
//
// # Memory and keys
//
// Keys in progress are in memory. A Bloom filter answers "absent" for most new keys without
// a read. It takes 12 to 24 bits a key, at most a quarter of Options.MemoryBytes, on
// top of that budget. After opening it is rebuilt in the background. Until then, and in a
// namespace with more keys than fit, the engine's own filters answer within some
// microseconds; they take 10 bits a key and should fit into half of Options.MemoryBytes.
// The newest outcomes are in a cache (Config.CacheBytes). Any other lookup is one point
// read. keys.go shows the keys on disk.
package idempotency
