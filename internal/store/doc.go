// Package store is the kernel: one Pebble store, one total order of changes,
// and the rules that every queue semantic above it relies on.
//
// # The path of a change
//
// A change is an [Op]. It takes the baton (the store's one mutex), validates against the memory
// of its layer, and writes its keys into the open group. That is a Pebble batch, which all
// operations of the moment share. Nothing is written to the disk under the baton, and while a
// holder reads, others wait with their own contexts (baton.go). So a stuck engine holds up no
// caller for longer than its context says.
//
//	caller ──▶ baton: Op.Run ──▶ open group
//	                                 │ committer: seal, ApplyNoSyncWait
//	                                 ▼
//	                             WAL buffer + memtable
//	                                 │ syncer: SyncWait
//	                                 ▼
//	                             on disk: watermark moves, Op.Visible runs,
//	                             Sync callers return
//
// While one group is being synced the next is being applied and a third one
// is being filled, so a thousand concurrent single appends share an fsync.
//
// # The watermark
//
// Every accepted Op has a sequence number. The watermark is the highest one
// such that no Sync Op at or below it is still waiting for its fsync. Visible
// runs, in order, as the watermark passes an Op; layers let readers and
// consumers see a change there and not before. A NoSync Op therefore becomes
// visible at once, unless a Sync Op ahead of it is on its way to the disk.
//
// Invariant: a result given to a Sync caller, a refusal included, never rests
// on a Sync change that a crash could still take back.
//
// # Failure
//
// The engine's file system is wrapped (guard.go). The first error on the WAL, the manifest or a
// directory poisons the store. The engine's goroutine is parked there for ever and writes return
// ErrFailed. Reads go on, Close returns, and the directory can be opened again. A full disk is
// refused early as ErrDiskFull and heals. So does a shortage of open files or memory
// (shortage.go).
//
// # Locks
//
// The baton (Store.mu) is the only lock taken while another may be held.
// Layers may take their own small locks below it, never the other way round.
package store
