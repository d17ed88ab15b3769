package log

import (
	"errors"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Errors of the log. Match them with errors.Is. The returned errors say more. Errors of package
// pebblemq (ErrInvalid, ErrTooLarge, ErrConfigMismatch, ErrClosed and so on) are returned as
// they are.
var (
	// ErrUnknownTopic is returned for the name of a topic that does not exist.
	// It is pebblemq.ErrNotFound too.
	ErrUnknownTopic error

	// ErrUnknownPartition is returned for a partition that the topic does not
	// have.
	// It is pebblemq.ErrNotFound too.
	ErrUnknownPartition error

	// ErrTopicDeleted is returned by every use of a topic that has been deleted.
	// It is pebblemq.ErrDeleted too.
	ErrTopicDeleted error

	// ErrGroupDeleted is returned by every use of a group that has been deleted.
	// It is pebblemq.ErrDeleted too.
	ErrGroupDeleted error

	// ErrUnknownGroup is returned for the name of a group that does not exist.
	// It is pebblemq.ErrNotFound too.
	ErrUnknownGroup error

	// ErrOffsetOutOfRange is what an OffsetError is.
	ErrOffsetOutOfRange = errors.New("log: offset out of range")

	// ErrFenced is what a FencedError is.
	// It is pebblemq.ErrLost too.
	ErrFenced error

	// ErrSettled refuses a transaction that acknowledges a record which is acknowledged
	// already: what the transaction does beside it would happen twice.
	ErrSettled = errors.New("log: record is acknowledged already")

	// ErrBackwards is returned by a commit below the committed offset. Going
	// back is a decision: see Group.Seek.
	ErrBackwards = errors.New("log: commit below the committed offset")

	// ErrConflict is what a ConflictError is.
	ErrConflict = errors.New("log: another append came first")

	// ErrSequence is what a SequenceError is, and a NumberReusedError too.
	ErrSequence = errors.New("log: records of a producer are out of sequence")

	// ErrNumberReused is what a NumberReusedError is.
	ErrNumberReused = errors.New("log: number of a producer was used for other records")

	// ErrProducerFenced is what a ProducerFencedError is.
	// It is pebblemq.ErrLost too.
	ErrProducerFenced error

	// ErrLeft is returned by Poll and Records of a Member that has left its group. Its later
	// commits and acknowledgements return ErrFenced.
	ErrLeft = errors.New("log: member has left the group")

	// ErrPending is returned by Placement.Positions while the append has not
	// happened: before the commit of its transaction, or for ever if that was
	// refused.
	ErrPending = errors.New("log: append has not happened")
)

// These errors are assigned here, so that go doc shows no internal name.
func init() {
	ErrUnknownTopic = store.CaseOf(store.ErrNotFound, "log: unknown topic")
	ErrUnknownPartition = store.CaseOf(store.ErrNotFound, "log: unknown partition")
	ErrTopicDeleted = store.CaseOf(store.ErrDeleted, "log: topic was deleted")
	ErrGroupDeleted = store.CaseOf(store.ErrDeleted, "log: group was deleted")
	ErrUnknownGroup = store.CaseOf(store.ErrNotFound, "log: unknown group")
	ErrFenced = store.CaseOf(store.ErrLost, "log: assignment lost")
	ErrProducerFenced = store.CaseOf(store.ErrLost, "log: producer was taken over")
}

// OffsetError reports a position outside of what a partition holds: below its
// start, because that was trimmed, or beyond its end. Being at the end is not an
// error. It is ErrOffsetOutOfRange.
type OffsetError struct {
	Topic     string
	Partition int
	Offset    int64 // asked for
	Start     int64 // of the oldest record that is left
	End       int64 // of the next record to come
}

// Lost returns how many records between the position and the start are gone.
func (e *OffsetError) Lost() int64 { return max(0, e.Start-e.Offset) }

func (e *OffsetError) Error() string {
	return fmt.Sprintf("%v: topic %q, partition %d: %d is not between start %d and end %d",
		ErrOffsetOutOfRange, e.Topic, e.Partition, e.Offset, e.Start, e.End)
}

// Is makes errors.Is(e, ErrOffsetOutOfRange) true.
func (e *OffsetError) Is(target error) bool { return target == ErrOffsetOutOfRange }

// DamageError reports records that cannot be read. The reader stays where it is; a
// reader or group that is moved to To goes on behind them. It is ErrCorrupt if the disk
// is damaged, and ErrUnreadable if a read failed that may succeed later.
type DamageError struct {
	Topic     string
	Partition int
	From      int64 // of the first record that cannot be read
	To        int64 // of the next one that can be read, or is still to come
	Err       error // names the file
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("log: topic %q, partition %d, offsets %d to %d cannot be read: %v", e.Topic, e.Partition, e.From, e.To-1, e.Err)
}

// Unwrap returns the reason.
func (e *DamageError) Unwrap() error { return e.Err }

// FencedError refuses a commit for a partition that its Member does not own any
// more: it went to another one, or the group was moved by Seek. The commit and
// the transaction it was part of had no effect; the records are delivered again
// to whoever owns the partition now. It is ErrFenced and pebblemq.ErrLost.
type FencedError struct {
	Topic     string
	Group     string
	Partition int
	Epoch     uint64 // of the assignment that the commit was made under, 0 if there was none
	Current   uint64 // of the newest assignment
}

func (e *FencedError) Error() string {
	if e.Epoch == e.Current {
		return fmt.Sprintf("%v: group %q of topic %q, partition %d: the member has left", ErrFenced, e.Group, e.Topic, e.Partition)
	}
	return fmt.Sprintf("%v: group %q of topic %q, partition %d went to another member, or Seek moved it: epoch %d, now %d",
		ErrFenced, e.Group, e.Topic, e.Partition, e.Epoch, e.Current)
}

// Is makes errors.Is(e, ErrFenced) and errors.Is(e, pebblemq.ErrLost) true.
func (e *FencedError) Is(target error) bool { return errors.Is(ErrFenced, target) }

// ConflictError refuses an append whose ExpectOffset does not hold. Nothing was
// appended. It is ErrConflict.
type ConflictError struct {
	Topic     string
	Partition int
	Expected  int64
	Actual    int64 // the next offset; records just below it may not be readable yet
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%v: topic %q, partition %d: the next offset is %d, not %d", ErrConflict, e.Topic, e.Partition, e.Actual, e.Expected)
}

// Is makes errors.Is(e, ErrConflict) true.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// KeyConflictError refuses an append whose ExpectLast does not hold. Nothing was
// appended. It is ErrConflict.
type KeyConflictError struct {
	Topic    string
	Key      []byte
	Expected Position
	Actual   Position // of the newest record, which may not be readable yet
}

func (e *KeyConflictError) Error() string {
	return fmt.Sprintf("%v: topic %q, key %q: the newest record is at %v, not %v", ErrConflict, e.Topic, e.Key, e.Actual, e.Expected)
}

// Is makes errors.Is(e, ErrConflict) true.
func (e *KeyConflictError) Is(target error) bool { return target == ErrConflict }

// SequenceError refuses an append of a Producer that leaves a gap, or repeats what is not
// remembered. Nothing was appended. Producer.Next tells where to go on. It is ErrSequence.
type SequenceError struct {
	Topic     string
	Partition int
	Producer  string
	Expected  int64 // the number of the producer's next record
	Given     int64
}

func (e *SequenceError) Error() string {
	return fmt.Sprintf("%v: topic %q, partition %d, producer %q: number %d is given, %d is next",
		ErrSequence, e.Topic, e.Partition, e.Producer, e.Given, e.Expected)
}

// Is makes errors.Is(e, ErrSequence) true.
func (e *SequenceError) Is(target error) bool { return target == ErrSequence }

// NumberReusedError refuses an append of a Producer under a number that it has used for other
// records. Nothing was appended. Producer.Next tells where to go on. It is ErrNumberReused and
// ErrSequence.
type NumberReusedError struct {
	Topic     string
	Partition int
	Producer  string
	Expected  int64 // the number of the producer's next record
	Given     int64
	Offset    int64 // of the record that has the number
}

func (e *NumberReusedError) Error() string {
	return fmt.Sprintf("%v: topic %q, partition %d, producer %q: number %d was appended at offset %d with other content, %d is next",
		ErrNumberReused, e.Topic, e.Partition, e.Producer, e.Given, e.Offset, e.Expected)
}

// Is makes errors.Is(e, ErrNumberReused) and errors.Is(e, ErrSequence) true.
func (e *NumberReusedError) Is(target error) bool {
	return target == ErrNumberReused || target == ErrSequence
}

// ProducerFencedError refuses the use of a Producer whose name was opened again, or forgotten.
// Nothing was appended, and the transaction it was part of had no effect. It is
// ErrProducerFenced and pebblemq.ErrLost.
type ProducerFencedError struct {
	Topic    string
	Producer string
	Epoch    int64 // of the handle
	Current  int64 // of the handle that took over, 0 if the producer was forgotten
}

func (e *ProducerFencedError) Error() string {
	if e.Current == 0 {
		return fmt.Sprintf("%v: topic %q, producer %q was forgotten: epoch %d", ErrProducerFenced, e.Topic, e.Producer, e.Epoch)
	}
	return fmt.Sprintf("%v: topic %q, producer %q was opened again: epoch %d, now %d", ErrProducerFenced, e.Topic, e.Producer, e.Epoch, e.Current)
}

// Is makes errors.Is(e, ErrProducerFenced) and errors.Is(e, pebblemq.ErrLost) true.
func (e *ProducerFencedError) Is(target error) bool { return errors.Is(ErrProducerFenced, target) }

// RecordError names the record for which a whole Append was refused; it wraps
// the reason.
type RecordError struct {
	Index int // in the arguments of Append
	Err   error
}

func (e *RecordError) Error() string { return fmt.Sprintf("log: record %d: %v", e.Index, e.Err) }

// Unwrap returns the reason.
func (e *RecordError) Unwrap() error { return e.Err }

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: log: %s", store.ErrCorrupt, fmt.Sprintf(format, args...))
}
