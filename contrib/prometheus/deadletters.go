package prometheus

import (
	"strings"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// deadLetters is how many messages are in a place for dead letters.
type deadLetters struct {
	kind  string // of the place
	count float64
}

const deadLetterKind = "dead letters"

func (s schema) deadLetters() *family {
	labels := []string{"kind", "parent", "name"}
	return &family{
		kind: deadLetterKind, labels: labels,
		depth: func(info any) float64 { return info.(deadLetters).count },
		metrics: []metric{
			one(s.desc("dead_letters", "Messages in a dead-letter queue or topic.", labels...), gauge,
				func(d deadLetters) float64 { return d.count }),
		},
	}
}

// deadLettersOf returns the places for dead letters among objects: those that are named in a
// configuration, and NAME.dead, which a queue or a Run makes itself.
func deadLettersOf(objects []pebblemq.Object) (places []pebblemq.Object) {
	named := namedPlaces(objects)
	for _, o := range objects {
		if !strings.HasSuffix(o.Name, ".dead") && !named[place(o)] {
			continue
		}
		is := deadLetters{kind: o.Kind}
		switch info := o.Info.(type) {
		case log.TopicInfo:
			is.count = float64(info.Kept)
		case workqueue.QueueInfo:
			is.count = float64(info.Stats.Ready + info.Stats.Unacked + info.Stats.Delayed)
		case visibility.QueueInfo:
			is.count = float64(info.Stats.Visible + info.Stats.InFlight + info.Stats.Delayed)
		default:
			continue
		}
		places = append(places, pebblemq.Object{Kind: deadLetterKind, Parent: o.Parent, Name: o.Name, Info: is})
	}
	return places
}

// place identifies an object.
func place(o pebblemq.Object) pebblemq.Object {
	o.Info = nil
	return o
}

// namedPlaces are the queues that others name as the place of their dead letters.
func namedPlaces(objects []pebblemq.Object) map[pebblemq.Object]bool {
	named := make(map[pebblemq.Object]bool)
	for _, o := range objects {
		switch info := o.Info.(type) {
		case workqueue.QueueInfo:
			if d := info.Config.DeadLetter; d != nil && d.Exchange == "" {
				named[pebblemq.Object{Kind: o.Kind, Parent: o.Parent, Name: d.Key}] = true
			}
		case visibility.QueueInfo:
			if info.Config.DeadLetterQueue != "" {
				named[pebblemq.Object{Kind: o.Kind, Name: info.Config.DeadLetterQueue}] = true
			}
		}
	}
	return named
}
