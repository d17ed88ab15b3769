package log

import (
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/codec"
	"github.com/pebblemq/pebblemq/internal/store"
)

// TopicConfig is stored with a topic. A zero field stands for its default. EnsureTopic and
// Topic.Alter change all that is not said to stay as it is.
type TopicConfig struct {
	// Partitions is the number of independent sequences that the topic is made
	// of; equal keys go to the same one. Default 1, at most MaxPartitions. It may
	// grow and never shrinks.
	Partitions int `json:"partitions" alter:"grow"`

	// Compression of the stored batches. Default NoCompression.
	Compression Compression `json:"compression,omitempty"`
	// MaxRecordBytes is the most that the key, value and headers of a record
	// may take. Default DefaultRecordBytes (1 MiB, as in Kafka), at most the
	// constant MaxRecordBytes (32 MiB). A record above MaxBatchBytes (16 MiB)
	// must be the only one of its Append.
	MaxRecordBytes int `json:"maxRecordBytes"`
	// TimestampType is whose time the records have. Default CreateTime.
	TimestampType TimestampType `json:"timestampType,omitempty"`

	// DedupeWindow is how long an append is known again by its ID, see AppendOptions. Default: not
	// at all. It cannot be altered.
	DedupeWindow time.Duration `json:"dedupeWindow,omitempty" alter:"no"`

	// IndexKeys keeps an index of the newest record of each key, for Latest and ExpectLast. It
	// costs an index entry for each record that has a key. It cannot be altered.
	IndexKeys bool `json:"indexKeys,omitempty" alter:"no"`

	// RetentionTime is how long records are kept at least, by their timestamps;
	// one from the future counts as of its append. Default: for ever.
	RetentionTime time.Duration `json:"retentionTime,omitempty"`
	// RetentionBytes is how many bytes of records, as they are stored, are kept at
	// least in each partition. Default: all.
	RetentionBytes int64 `json:"retentionBytes,omitempty"`

	// OffsetRetention is how long a group without members keeps its place. After
	// that its offsets are gone, which it is told (ErrOffsetsExpired), unless its
	// GroupConfig says where to begin anew. Default: for ever.
	OffsetRetention time.Duration `json:"offsetRetention,omitempty"`

	// Compact keeps only the newest record of each key, which every record must
	// have. One with a nil Value, a tombstone, deletes its key. Offsets and order
	// stay as they are, with gaps. It goes together with the retentions above.
	Compact bool `json:"compact,omitempty"`
	// MinCompactionLag is how long a record is left alone. Default: none.
	MinCompactionLag time.Duration `json:"minCompactionLag,omitempty"`
	// TombstoneRetention is how long a tombstone is kept after the records that
	// it deletes are gone, for readers to see it. These go within a 48th of that time, also
	// if nothing is appended, and the tombstone is as late at most. Default 24 h.
	TombstoneRetention time.Duration `json:"tombstoneRetention,omitempty"`
}

// MinRetentionTime is the shortest RetentionTime.
const MinRetentionTime = time.Second

func (c *TopicConfig) normalize() (TopicConfig, error) {
	var n TopicConfig
	if c != nil {
		n = *c
	}
	switch {
	case n.Partitions < 0:
		return n, store.Invalid("Partitions %d is negative", n.Partitions)
	case n.Partitions > MaxPartitions:
		return n, store.TooLarge("Partitions", int64(n.Partitions), MaxPartitions)
	case n.Partitions == 0:
		n.Partitions = 1
	}
	switch {
	case n.OffsetRetention < 0:
		return n, store.Invalid("OffsetRetention %v is negative", n.OffsetRetention)
	case n.DedupeWindow < 0:
		return n, store.Invalid("DedupeWindow %v is negative", n.DedupeWindow)
	case n.RetentionTime != 0 && n.RetentionTime < MinRetentionTime:
		return n, store.Invalid("RetentionTime %v is below %v", n.RetentionTime, MinRetentionTime)
	case n.RetentionBytes < 0:
		return n, store.Invalid("RetentionBytes %d is negative", n.RetentionBytes)
	case n.MaxRecordBytes < 0:
		return n, store.Invalid("MaxRecordBytes %d is negative", n.MaxRecordBytes)
	case n.MaxRecordBytes > MaxRecordBytes:
		return n, store.TooLarge("MaxRecordBytes", int64(n.MaxRecordBytes), MaxRecordBytes)
	case n.MaxRecordBytes == 0:
		n.MaxRecordBytes = DefaultRecordBytes
	}
	return n, errors.Join(n.Compression.check(), n.TimestampType.check(), n.normalizeCompaction())
}

func (c *TopicConfig) normalizeCompaction() error {
	switch {
	case !c.Compact && (c.MinCompactionLag != 0 || c.TombstoneRetention != 0):
		return store.Invalid("MinCompactionLag and TombstoneRetention are for topics with Compact")
	case c.MinCompactionLag < 0:
		return store.Invalid("MinCompactionLag %v is negative", c.MinCompactionLag)
	case c.TombstoneRetention < 0:
		return store.Invalid("TombstoneRetention %v is negative", c.TombstoneRetention)
	}
	if c.Compact && c.TombstoneRetention == 0 {
		c.TombstoneRetention = DefaultTombstoneRetention
	}
	return nil
}

// stored is what the catalog says of a topic.
type stored = codec.Stored[TopicConfig, codec.None]

func decodeConfig(o *store.Object) (stored, error) {
	is, err := codec.Decode[TopicConfig, codec.None](named(o.Name), o.Config)
	c := is.Config
	switch {
	case err != nil:
		return is, err
	case c.Partitions < 1 || c.Partitions > MaxPartitions:
		return is, corrupt("config of topic %q has %d partitions", o.Name, c.Partitions)
	case c.MaxRecordBytes < 1 || c.MaxRecordBytes > MaxRecordBytes:
		return is, corrupt("config of topic %q has records of %d bytes", o.Name, c.MaxRecordBytes)
	case c.Compression > lastCompression:
		return is, fmt.Errorf("%w: log: topic %q has compression %d", store.ErrFormat, o.Name, uint8(c.Compression))
	case c.TimestampType > lastTimestampType:
		return is, fmt.Errorf("%w: log: topic %q has timestamp type %d", store.ErrFormat, o.Name, uint8(c.TimestampType))
	}
	return is, nil
}
