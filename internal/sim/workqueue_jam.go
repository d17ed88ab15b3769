package main

import "time"

// A queue that has as many dead letters without a place as this delivers nothing more.
const (
	jamCount = 16384
	jamBytes = 16 << 20
)

// unjamming is how long a queue may take to see that there is a place again.
const unjamming = time.Minute

// encoding is more than a message takes beside its body.
const encoding = 2 << 10

// jam notes that a queue may hold too many dead letters that have no place to go.
func (p *workqueuePart) jam(q *wqueue, now time.Time) {
	count, bytes := 0, 0
	for _, x := range q.copies {
		if x.mayBeHere {
			count, bytes = count+1, bytes+len(x.m.message.Body)+encoding
		}
	}
	if count < jamCount && bytes < jamBytes {
		return
	}
	count, bytes = 0, 0
	for _, x := range q.copies {
		if x.mayBeHere && x.mayDie(now) && p.mayStay(x, now) {
			count, bytes = count+1, bytes+len(x.m.message.Body)+encoding
		}
	}
	if count >= jamCount || bytes >= jamBytes {
		q.jammed = now
	}
}

// mayBeJammed reports that a queue may deliver nothing since some time.
func (q *wqueue) mayBeJammed(since time.Time) bool {
	return !q.jammed.IsZero() && !since.After(q.jammed.Add(unjamming))
}

// mayStay reports that a copy that is dead may have no place to go.
func (p *workqueuePart) mayStay(x *wcopy, now time.Time) bool {
	for _, reason := range reasons {
		if x.mayDieOf(reason, now) && p.destinyOf(x, reason).stays {
			return true
		}
	}
	return false
}
