package queue

import (
	"slices"
	"sort"
)

// stretch is a part of the queue that a load has passed over.
type stretch struct {
	span
	messages uint64 // about
	passing  bool   // could not be read, and may be read again
}

// stretches are in order, and apart from one another.
type stretches []stretch

// has reports whether a message lies in a stretch.
func (l stretches) has(seq uint64) bool {
	_, found := l.find(seq)
	return found
}

// find returns the stretch that a message lies in, or else the first one behind it.
func (l stretches) find(seq uint64) (at int, found bool) {
	at = sort.Search(len(l), func(i int) bool { return l[i].to > seq })
	return at, at < len(l) && l[at].from <= seq
}

// first returns the first number in a stretch, or none.
func (l stretches) first() uint64 {
	if len(l) == 0 {
		return none
	}
	return l[0].from
}

// add notes a stretch, apart from those that are known.
func (l *stretches) add(s stretch) {
	at, known := l.find(s.from)
	if known || s.from >= s.to {
		return
	}
	if at > 0 {
		if last := &(*l)[at-1]; last.to == s.from && last.passing == s.passing {
			last.to, last.messages = s.to, last.messages+s.messages
			return
		}
	}
	*l = slices.Insert(*l, at, s)
}

// cut takes a part out of the stretches.
func (l *stretches) cut(part span) {
	at, _ := l.find(part.from)
	if at == len(*l) || (*l)[at].from >= part.to {
		return
	}
	var left stretches
	to := at
	for ; to < len(*l) && (*l)[to].from < part.to; to++ {
		left = append(left, (*l)[to].without(part)...)
	}
	*l = slices.Replace(*l, at, to, left...)
}

// without returns what is left of a stretch before a part and behind it. The places of its messages
// are not known: the wider one gets them.
func (s stretch) without(part span) (left stretches) {
	before, after := s, s
	before.to, after.from = min(s.to, part.from), max(s.from, part.to)
	before.messages, after.messages = 0, 0
	wider := &before
	if before.to-before.from < after.to-after.from || before.to <= before.from {
		wider = &after
	}
	wider.messages = s.messages - min(s.messages, part.to-part.from)
	for _, rest := range []stretch{before, after} {
		if rest.from < rest.to {
			left = append(left, rest)
		}
	}
	return left
}
