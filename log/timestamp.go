package log

import (
	"encoding/binary"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// TimestampType says whose time the records of a topic have.
type TimestampType uint8

// The numbers are stored.
const (
	// CreateTime is what the caller says, by default the time of the Append.
	CreateTime TimestampType = 0
	// AppendTime is set by the store when it accepts the record, whatever the
	// caller says, as with Kafka's LogAppendTime. Records that are stored in
	// one batch have the time of the last of them, and along a partition it
	// never decreases, even if the clock does.
	AppendTime TimestampType = 1

	lastTimestampType = AppendTime
)

// String returns "create time" or "append time".
func (t TimestampType) String() string {
	switch t {
	case CreateTime:
		return "create time"
	case AppendTime:
		return "append time"
	}
	return fmt.Sprintf("TimestampType(%d)", uint8(t))
}

func (t TimestampType) check() error {
	if t > lastTimestampType {
		return store.Invalid("TimestampType %d is unknown", uint8(t))
	}
	return nil
}

// stamp replaces the time in an encoded body. A batch of append time has its
// records' time once, in the header: it is not known yet when they are encoded.
func stamp(body []byte, nanos int64) { binary.BigEndian.PutUint64(body, uint64(nanos)) }
