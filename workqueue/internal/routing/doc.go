// Package routing finds out where a message goes: which bindings of an exchange match it, and
// where these lead. It knows nothing of stores, locks and queues.
//
// # Words
//
//	exchange  a set of bindings, of one kind, which says how they are compared with messages
//	binding   a key and arguments, which lead from an exchange to a place
//	place     what a binding leads to: another exchange, or something of the caller's
//	message   the keys, headers and properties that decide
//	router    the walk from one exchange to the next
//
// # How a message is routed
//
//	             ┌─────────────── place is an exchange ───────────────┐
//	             ▼                                                    │
//	message ─▶ exchange ──match──▶ places ────────────────────────────┴──▶ found, each once
//	             │ none
//	             └──▶ its alternate
//
// Each exchange routes a message once, so cycles end. A place that several bindings lead to is
// found once. Routing allocates nothing but what the first messages need.
//
// # Concurrency
//
// A router belongs to one goroutine at a time, with its exchanges and places.
package routing
