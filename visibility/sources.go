package visibility

import (
	"bytes"
	"fmt"
	"iter"
	"slices"

	"github.com/pebblemq/pebblemq/internal/store"
)

// A queue says which others may have it as their dead-letter queue, as a
// RedriveAllowPolicy of SQS does.
//
// Invariant: who has a dead-letter queue may have it, and is of the same kind.

// checkSources checks what a queue says of others.
func (c QueueConfig) checkSources(name string) error {
	switch n := len(c.DeadLettersFrom); {
	case n > MaxDeadLetterSources:
		return store.TooLarge("number of DeadLettersFrom", int64(n), MaxDeadLetterSources)
	case n > 0 && c.RefuseDeadLetters:
		return store.Invalid("queue %q names DeadLettersFrom and has RefuseDeadLetters", name)
	}
	for i, source := range c.DeadLettersFrom {
		switch {
		case source == name:
			return store.Invalid("queue %q is its own dead-letter queue", name)
		case i > 0 && source == c.DeadLettersFrom[i-1]: // they are sorted
			return store.Invalid("queue %q names %q twice in DeadLettersFrom", name, source)
		}
		if err := store.CheckName("source of dead letters", source); err != nil {
			return err
		}
	}
	return nil
}

// takes reports whether a queue may send its dead letters here.
func (c QueueConfig) takes(source string) bool {
	return !c.RefuseDeadLetters && (len(c.DeadLettersFrom) == 0 || slices.Contains(c.DeadLettersFrom, source))
}

// checkDead refuses a dead-letter queue that is not there, of another kind or not
// for this queue.
func (c QueueConfig) checkDead(t *store.Turn, name string) error {
	if c.DeadLetterQueue == "" {
		return nil
	}
	o, ok := t.Lookup(store.ClassVisQueue, c.DeadLetterQueue)
	if !ok {
		return fmt.Errorf("%w: dead-letter queue %q of %q", ErrNoQueue, c.DeadLetterQueue, name)
	}
	dead, _, err := decodeConfig(o.Name, o.Config)
	switch {
	case err != nil:
		return err
	case dead.FIFO != c.FIFO:
		return store.Invalid("dead-letter queue %q and queue %q are not of one kind: both are FIFO, or none is", o.Name, name)
	case !dead.takes(name):
		return store.Invalid("dead-letter queue %q does not take what comes from queue %q: see DeadLettersFrom", o.Name, name)
	}
	return nil
}

// checkSourcesOf refuses a configuration that would take its dead-letter queue away
// from another.
func (c QueueConfig) checkSourcesOf(t *store.Turn, name string) error {
	if len(c.DeadLettersFrom) == 0 && !c.RefuseDeadLetters {
		return nil
	}
	for source, err := range sourcesOf(t, name) {
		switch {
		case err != nil:
			return err
		case !c.takes(source):
			return store.Invalid("queue %q is the dead-letter queue of %q", name, source)
		}
	}
	return nil
}

// isNobodysDeadLetterQueue refuses if it is.
func isNobodysDeadLetterQueue(t *store.Turn, name string) error {
	for source, err := range sourcesOf(t, name) {
		if err != nil {
			return err
		}
		return store.Invalid("queue %q is the dead-letter queue of %q", name, source)
	}
	return nil
}

// sourcesOf iterates over the queues that have a dead-letter queue.
func sourcesOf(t *store.Turn, name string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, o := range t.List(store.ClassVisQueue, "") {
			if !bytes.Contains(o.Config, []byte("deadLetterQueue")) {
				continue // decoding takes longer than this
			}
			c, _, err := decodeConfig(o.Name, o.Config)
			if err == nil && c.DeadLetterQueue != name {
				continue
			}
			if !yield(o.Name, err) || err != nil {
				return
			}
		}
	}
}
