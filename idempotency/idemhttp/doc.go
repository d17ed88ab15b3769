// Package idemhttp makes HTTP requests harmless to send twice. It implements the
// Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header-07) in front of
// any http.Handler:
//
//	keys, err := idempotency.OpenNamespace(ctx, db, "requests", nil)
//	mux.Handle("/payments", idemhttp.Middleware(keys, &idemhttp.Options{Required: true})(payments))
//
// # What it guarantees
//
//   - The handler runs once for a key at a time, and not again once its response
//     is stored, for the namespace's Expiry. Status, headers and body are then
//     replayed, with Idempotent-Replayed: true.
//   - A response is stored and on disk before the client sees any of it.
//   - What the handler does in the store happens once: Response.Store makes the
//     response a part of the same commit.
//   - What it does elsewhere can happen twice if the process dies before
//     its response is stored: it is idempotency.Namespace.Do that runs it. ClaimOf
//     tells the handler if that may be so.
//
// # What a request gets
//
//	no key, and one is required, or not a valid one    400
//	the first request with the key is being handled    409
//	body over the limit                                413
//	the key was used with another request              422
//	the handler answered                               its response, stored
//	it answered 408, 409, 425, 429, 500 or above       its response, and the key is free (see Options.Outcome)
//	it panicked                                        the panic goes on, and the key is free
//	the response could not be stored                   500; the effect may have happened
//	the store is full, closed or failed                503; the handler did not run
//
// The middleware's own errors are problem documents (RFC 9457). Two requests are
// the same if method, path with query, and body are.
//
// # Keys
//
// response.go shows what is stored as the result of a key.
package idemhttp
