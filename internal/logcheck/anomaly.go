package logcheck

import "fmt"

// Kind is a promise that was broken.
type Kind string

// The kinds of anomaly.
const (
	// LostWrite: an acknowledged record that no crash may take is missing from a full read. Or
	// another value is in its place in a later life. Or a member was led past its place and it
	// was never read.
	LostWrite Kind = "lost write"

	// AbortedRead: a value was read whose append was refused, or that was never appended.
	AbortedRead Kind = "aborted read"

	// InconsistentOffset: two values were acknowledged or read at one offset
	// within a life of the store.
	InconsistentOffset Kind = "inconsistent offset"

	// Duplicate: a value that was appended once is in two places.
	Duplicate Kind = "duplicate"

	// NonMonotonicPoll: within one assignment a member was given a record that is
	// not behind the one before, or before the place where it began.
	NonMonotonicPoll Kind = "non-monotonic poll"

	// SkippedPoll: within one assignment a member was led past a record that was
	// there, or past an offset without a record: offsets are dense.
	SkippedPoll Kind = "skipped poll"

	// PrecommittedRead: a record of a Sync append, not acknowledged yet, was read
	// and then lost in a crash: it was shown before it was on disk.
	PrecommittedRead Kind = "precommitted read"

	// TornAppend: of an append that is stored as a whole or not at all, one
	// record is there and another is not.
	TornAppend Kind = "torn append"

	// WrongResume: an assignment began neither at the committed offset nor at one
	// that the group was moved to.
	WrongResume Kind = "wrong resume"
)

// Anomaly is one breach of a promise.
type Anomaly struct {
	Kind      Kind
	Topic     string
	Partition int
	Offset    int64
	Values    []string // what it is about: what should be there first
	Note      string   // how it shows
}

func (a Anomaly) String() string {
	return fmt.Sprintf("%s: topic %q, partition %d, offset %d, values %q: %s",
		a.Kind, a.Topic, a.Partition, a.Offset, a.Values, a.Note)
}
