// Package backup copies an open store to a directory or a bucket, again and again, and restores it
// to a moment. The store goes on meanwhile.
//
// A copy is a generation. Tables of the engine never change, so a table that an earlier generation
// has does not travel again: what travels is about what was written since, and the tables that
// compactions have made of it.
//
//	files/ab/ab12…            a file, named by the SHA-256 of its contents
//	generations/2026-….json   a generation: the names of its files, their sizes and contents
//
// # Guarantees
//
//   - A generation is listed when all of its files are in the bucket and were read back. A process
//     that dies before leaves the generations before it as they were.
//   - A generation is the store at one moment, as Checkpoint makes it. What was acknowledged after the
//     newest one is lost with the disk: so the interval is the most that you lose.
//   - Restore compares every byte with what was stored, and makes the directory whole or not at all.
//   - A file goes from the bucket when no generation that is kept needs it.
//
// One process writes to a bucket at a time. Use blob.PrefixedBucket for several stores in one.
package backup
