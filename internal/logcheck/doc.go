// Package logcheck decides whether what the users of a log have seen can have
// happened. A test records what it did and what it got as a history, from many
// goroutines and over crashes; Check finds every promise of the log that the
// history breaks. It knows nothing of the log's code: only values, places, and
// who saw what in which order. It is for tests only.
//
//	h := logcheck.New()
//	life := h.Begin()
//	c := life.Append(true, "a", "b")      // before the call
//	at, err := topic.Append(ctx, records) // the log
//	c.OK(...), c.Fail() or c.Unknown()    // after it
//	h.Crash(func() { clone = fs.CrashClone(...) })
//	life = h.Begin()                      // the store is opened again
//	...
//	require.Empty(t, logcheck.Check(h.Ops()))
//
// The idea is that of Jepsen's workload for Kafka. The code and the rules are our own, because
// our promises are stricter: offsets are dense, an append is stored as a whole, and a Sync
// record is read only when it is on disk.
//
// # Rules of recording
//
//   - Every value is appended once at most, in all lives together.
//   - An append is recorded before it is called, and its outcome after it has
//     returned. One without an outcome is as good as Unknown.
//   - What is read is recorded after it was read, a member's polls in order.
//   - A life ends with Crash or Close. Whatever is recorded of it later did not
//     happen as far as the next life is concerned, and is dropped.
//   - ReadAll is recorded of a log at rest: nothing is under way.
//   - Group.Seek is recorded before it is called; a commit before the call with
//     its outcome after it, as with appends.
package logcheck
