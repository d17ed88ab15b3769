// Package log is a durable, partitioned log modelled on Kafka. Producers append records to
// topics, readers read them in order as often as they like, and the members of a consumer
// group share the partitions of a topic.
//
//	orders, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 4})
//	at, err := orders.Append(ctx, log.Record{Key: id, Value: event})
//
//	billing, err := orders.OpenGroup(ctx, "billing", nil)
//	err = billing.Run(ctx, func(ctx context.Context, r log.Record) error { ... }, nil)
//
// If the name collides with the standard library's log, import this package as plog.
//
// # Guarantees
//
//   - The records of a partition are in one total order. Offsets begin at 0, are
//     assigned without gaps and continue after a reopening, a crash or a trim.
//   - All records of an Append are stored, or none. An Append in an Update
//     is part of its commit.
//   - A Sync record is on disk before any reader sees it.
//   - A partition has at most one owner in a group at any time. Records that
//     an owner had not committed are delivered again to the next owner. A commit
//     by a former owner is refused, and so is a transaction that contains it.
//   - A position that does not exist, or not any more, is an OffsetError. The
//     package never skips records or resets a position silently.
//   - Records that cannot be read are a DamageError. A reader or group stays before them
//     until it is moved; the other partitions continue. Compact and retention pass over
//     them, and Topic.Damage lists them. If the end of a partition is damaged, appends to it
//     are refused.
//
// # Words
//
//	topic       a named log, divided into partitions
//	partition   an ordered sequence of records
//	offset      the number of a record in its partition
//	batch       records that are stored under one key
//	group       a named set of positions, one for each partition
//	member      a consumer that reads a share of the partitions for a group
//	epoch       a number that rises each time a partition changes its owner
//	committed   the offset at which the next owner of a partition begins
//	tombstone   a record with a nil value; compaction removes its key
//
// # Repeated and conditional appends
//
// If the answer of an append was lost, the producer repeats it with AppendWith. A number that
// the producer counts (Producer) or an id for each call (ID) identifies the repetition, which
// returns the original offsets. A producer that restarts calls OpenProducer, which fences the
// handle before, and goes on at Producer.Next. With ExpectOffset or ExpectLast an append succeeds only if
// the partition, or the key, has nothing newer than the caller has read.
//
// # States of a record
//
//	Append ──▶ accepted ──group sealed──▶ stored batch ──▶ visible ──TrimTo──▶ gone
//	            (offset)                                    (readers stop here)
//
// # States of a partition in a group
//
//	         Join, Leave              Commit
//	unowned ─────────────▶ owned ─────────────┐
//	   ▲                   │ ▲ ▲ epoch stays  │
//	   │ last member leaves│ │ └──────────────┘
//	   └───────────────────┘ │ another member, or Seek: epoch + 1,
//	                         └ begins at the committed offset
//
// If the owner is a Run with handlers under way, the next member waits as the heir. It
// becomes the owner when these handlers have returned or the DrainTimeout is over.
//
// # Storage and keys
//
// The log stores record batches. Records that concurrent appends bring to a
// partition within one group commit become one key of up to 128 KiB, under the
// offset of the last record. One seek therefore finds the batch that holds an offset.
// The header of a batch has the running maximum of timestamps and the running
// number of bytes. A lookup by time is a search over headers, which aims
// at the time, and needs no index. The keys are in keys.go.
//
// A topic may compress its batches (TopicConfig.Compression). Large appends are compressed
// on the caller's goroutine, batches of small appends when the group is sealed.
// A reader decompresses one batch at a time.
//
// # Memory
//
// A record that was read shares a buffer of up to about 128 KiB with its neighbours. The
// buffer is never written again, so a record stays valid for ever. A record that you
// keep keeps its whole buffer. An idle partition takes a few hundred bytes.
//
// # Departures from Kafka
//
//   - There are no replicas, and no settings for acknowledgements beyond Sync and NoSync.
//   - A group belongs to one topic. Subscribe reads several topics as one member, and
//     a Run has Topics.
//   - There is no automatic commit. Run commits what its handler has processed.
//   - A commit below the committed offset returns ErrBackwards; Group.Seek moves back.
//   - An out-of-range position is an error unless From.Or says where to continue.
//   - Ack acknowledges records in any order, and Nack gives one back, now or later.
//   - A partition is handed over when the former owner's handlers have returned.
//   - A producer is identified by a name of its own, not by an id of the broker. The last
//     five appends to each partition can be repeated. A repetition with other records is an error.
//   - Appends of a transaction become visible together; there is no read-uncommitted mode.
//   - Compression is Snappy or Zstd. There is no gzip and no LZ4.
//
// The examples beside the code show each verb. The program examples/quickstart uses the log
// together with the queues.
package log
