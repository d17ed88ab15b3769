// Package pebblemqtest helps to test programs that use pebblemq. It opens stores in memory,
// waits until all work is done, and asserts which messages were published, sent or appended. Its
// disk crashes, fills, fails, slows down and freezes on command.
//
//	func TestAnOrderSendsAReceipt(t *testing.T) {
//		db := pebblemqtest.Open(t, nil)
//		app := start(t, db) // declares its queues and runs its handlers until t.Context() ends
//		app.Order("42")
//		pebblemqtest.WaitIdle(t, db)
//		pebblemqtest.RequireSent(t, app.mail, pebblemqtest.SentLike(visibility.Message{Group: "42"}))
//	}
//
// # Guarantees
//
//   - A store of Open runs the code of a store on disk.
//   - Everything works in a bubble of testing/synctest, where time passes at once: delays,
//     timeouts, backoffs and schedules need no real time. Make the store, and its Disk, inside
//     the bubble.
//   - Assertions look at messages and take none.
//   - After Disk.Crash, the next Open finds what was synced and nothing more.
//   - WaitIdle waits for changes of the store, not for a length of time.
//
// # A test with a crash
//
//	disk := pebblemqtest.NewDisk()
//	db := pebblemqtest.Open(t, &pebblemqtest.Options{Disk: disk})
//	// …
//	disk.Crash()                                                    // db returns pebblemq.ErrClosed
//	db = pebblemqtest.Open(t, &pebblemqtest.Options{Disk: disk}) // what a loss of power leaves
//
// # Words
//
//	idle     no message is ready, in flight, due or being handled; see WaitIdle
//	disk     the files of a store; it outlives the store
//	crash    a loss of power: unsynced changes are gone
//	match    a function that reports whether a message is the expected one
package pebblemqtest
