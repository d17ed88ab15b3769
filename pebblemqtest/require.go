package pebblemqtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// RequirePublished returns the first message of a work queue that matches, in the order of
// Queue.Browse: ready and unacknowledged ones, then delayed ones. It takes nothing. If none
// matches, it ends the test with a list of the messages that are there. A nil match takes any
// message. Messages that were acknowledged are gone: look before a consumer runs, or bind a
// second queue.
func RequirePublished(t testing.TB, q *workqueue.Queue, match func(*workqueue.Browsed) bool) *workqueue.Browsed {
	t.Helper()
	return require(t, inQueue(t, q), match)
}

// RequireNotPublished ends the test if a message of a work queue matches, with that message. A
// nil match matches any message.
func RequireNotPublished(t testing.TB, q *workqueue.Queue, match func(*workqueue.Browsed) bool) {
	t.Helper()
	refuse(t, inQueue(t, q), match)
}

// RequireSent returns the first message of a visibility queue that matches, in the order of
// Queue.Browse: visible ones and those in flight, then delayed ones. It receives nothing. If none
// matches, it ends the test with a list of the messages that are there. A nil match takes any
// message.
func RequireSent(t testing.TB, q *visibility.Queue, match func(*visibility.Browsed) bool) *visibility.Browsed {
	t.Helper()
	return require(t, inVisibility(t, q), match)
}

// RequireNotSent ends the test if a message of a visibility queue matches, with that message. A
// nil match matches any message.
func RequireNotSent(t testing.TB, q *visibility.Queue, match func(*visibility.Browsed) bool) {
	t.Helper()
	refuse(t, inVisibility(t, q), match)
}

// RequireAppended returns a copy of the first record of a topic that matches, partition by
// partition. No group notices. If none matches, it ends the test with a list of the records
// that are there. A nil match takes any record.
func RequireAppended(t testing.TB, topic *log.Topic, match func(log.Record) bool) log.Record {
	t.Helper()
	return require(t, inTopic(t, topic), match).Clone()
}

// RequireNotAppended ends the test if a record of a topic matches, with that record. A nil match
// matches any record.
func RequireNotAppended(t testing.TB, topic *log.Topic, match func(log.Record) bool) {
	t.Helper()
	refuse(t, inTopic(t, topic), match)
}

// place is what is looked through.
type place[M any] struct {
	name string // `queue "q"`
	noun string // of what is in it
	all  iter.Seq2[M, error]
	text func(M) string
}

func inQueue(t testing.TB, q *workqueue.Queue) place[*workqueue.Browsed] {
	return place[*workqueue.Browsed]{fmt.Sprintf("queue %q", q.Name()), "messages", q.Browse(lasting(t), nil), textOfPublished}
}

func inVisibility(t testing.TB, q *visibility.Queue) place[*visibility.Browsed] {
	return place[*visibility.Browsed]{fmt.Sprintf("queue %q", q.Name()), "messages", q.Browse(lasting(t), nil), textOfSent}
}

func inTopic(t testing.TB, topic *log.Topic) place[log.Record] {
	return place[log.Record]{fmt.Sprintf("topic %q", topic.Name()), "records", recordsOf(lasting(t), topic), textOfRecord}
}

// lasting is the context of a test that has not ended in its cleanup functions.
func lasting(t testing.TB) context.Context { return context.WithoutCancel(t.Context()) }

// require returns the first that matches.
func require[M any](t testing.TB, p place[M], match func(M) bool) (found M) {
	t.Helper()
	found, ok, others, err := p.find(match)
	switch {
	case err != nil:
		t.Fatalf("pebblemqtest: look through %s: %v", p.name, err)
	case !ok && others.n == 0:
		t.Fatalf("pebblemqtest: there are no %s in %s", p.noun, p.name)
	case !ok:
		t.Fatalf("pebblemqtest: none of the %d %s in %s matches:%s", others.n, p.noun, p.name, others)
	}
	return found
}

// refuse fails if any matches.
func refuse[M any](t testing.TB, p place[M], match func(M) bool) {
	t.Helper()
	found, ok, _, err := p.find(match)
	switch {
	case err != nil:
		t.Fatalf("pebblemqtest: look through %s: %v", p.name, err)
	case ok:
		t.Fatalf("pebblemqtest: %s has one of the %s that must not be there:\n\t%s", p.name, p.noun, p.text(found))
	}
}

// find returns the first that matches, or else the others.
func (p place[M]) find(match func(M) bool) (found M, ok bool, others texts, err error) {
	for m, err := range p.all {
		switch {
		case errors.Is(err, pebblemq.ErrCorrupt):
			others.add(err.Error)
		case err != nil:
			return found, false, others, err
		case match == nil || match(m):
			return m, true, others, nil
		default:
			others.add(func() string { return p.text(m) })
		}
	}
	return found, false, others, nil
}

// texts are messages in words, the first of them.
type texts struct {
	n     int
	first []string
}

const mostListed = 20

func (l *texts) add(text func() string) {
	if l.n++; l.n <= mostListed {
		l.first = append(l.first, text())
	}
}

func (l texts) String() string {
	list := "\n\t" + strings.Join(l.first, "\n\t")
	if more := l.n - len(l.first); more > 0 {
		list += fmt.Sprintf("\n\tand %d more", more)
	}
	return list
}

// recordsOf returns the records that are in a topic now.
func recordsOf(ctx context.Context, topic *log.Topic) iter.Seq2[log.Record, error] {
	return func(yield func(log.Record, error) bool) {
		for partition := range topic.Partitions() {
			r, err := topic.NewReader(partition, log.Start())
			if err == nil {
				err = r.Until(log.End())
			}
			if err != nil {
				yield(log.Record{}, err)
				return
			}
			for record, err := range r.Records(ctx) {
				if !yield(record, err) {
					return
				}
			}
		}
	}
}
