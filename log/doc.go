// Package log is a durable, partitioned log: producers append records to
// topics, readers read them in order as often as they like, and consumer
// groups share a topic among their members. It is modelled on Kafka's log, in
// one process, on the store of package pebblemq.
//
//	orders, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 4})
//	at, err := orders.Append(ctx, log.Record{Key: id, Value: event})
//
//	billing, err := orders.OpenGroup(ctx, "billing", nil)
//	err = billing.Run(ctx, func(ctx context.Context, r log.Record) error { ... }, nil)
//
// The name is the field's; where it collides with the standard library, import
// it as plog.
//
// # What it guarantees
//
//   - The records of a partition are in one total order. Offsets are dense,
//     begin at 0 and go on after a reopening, a crash or a trim.
//   - All records of an Append are stored, or none. An Append in an Update
//     happens together with the rest of it, or not at all.
//   - Nobody reads a Sync record before it is on disk.
//   - No partition has two owners in a group at any instant. What an owner had
//     not committed is delivered again to the next; a commit by a former owner
//     is refused, and a transaction that contains it with it.
//   - A position that no longer exists, or does not exist yet, is an error
//     (OffsetError). Nothing is ever skipped or reset silently.
//   - Records that cannot be read are a DamageError. A reader or group stays before them
//     until it is moved, and the other partitions go on. Compact and retention pass over
//     them; Topic.Damage lists them. If the end of a partition is damaged, appends to it
//     are refused.
//
// # Producers that repeat themselves, or meet others
//
// An append whose answer was lost is repeated. AppendOnce and AppendUnique know it
// again and return the original offsets: the one by a number that the producer
// counts, for ever, the other by an id, for a time. AppendAt and AppendAfter append
// only if the partition, or the key, has got nothing newer than the caller has read.
//
// # A record's life
//
//	Append ──▶ accepted ──group sealed──▶ stored batch ──▶ visible ──TrimTo──▶ gone
//	            (offset)                                    (readers stop here)
//
// # A partition's life in a group
//
//	         Join, Leave              Commit
//	unowned ─────────────▶ owned ─────────────┐
//	   ▲                   │ ▲ ▲ epoch stays  │
//	   │ last member leaves│ │ └──────────────┘
//	   └───────────────────┘ │ another member, or Seek: epoch + 1,
//	                         └ begins at the committed offset
//
// If the owner is a Run with handlers under way, another member becomes the heir. It is the
// owner when they have returned, or the DrainTimeout is over.
//
// # Storage
//
// The log stores record batches: whatever concurrent appends bring to a
// partition within a group commit becomes one key, up to 128 KiB, under the
// offset of its last record. So one seek finds the batch that holds an offset.
// A batch's header carries the running maximum of timestamps and the running
// number of bytes, so looking up a time is a binary search, and no further
// index is kept. The keys are in keys.go.
//
// A topic may have its batches compressed (TopicConfig.Compression). What a call
// brings in bulk is compressed by its goroutine, what is gathered from small calls
// when the group is sealed. A reader decompresses one batch at a time.
//
// # Memory
//
// A record that was read shares one buffer with its neighbours of at most some
// 128 KiB. The buffer belongs to them alone and is never written again: a record
// stays valid for ever, and keeping one keeps its buffer. An idle partition
// takes a few hundred bytes.
//
// The examples beside the code show each verb; examples/quickstart shows the log
// at work with the queues.
package log
