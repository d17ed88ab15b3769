package queue

// watch follows what is delayed in a lane while a Browse reads it, in the order of the
// due times. Messages become due in that order as well, and are put at the end of what
// waits then. So whatever becomes due between two reads are first those that were read,
// and behind the first that was not there is none that was. One span of sequence
// numbers for each read is enough to find the others again.
type watch struct {
	next Position // where what has not been read begins
	due  Position // of the last that became due
	late []span   // hold what became due unread, and nothing that was read
	open bool     // the last of them has no end yet
}

// span is sequence numbers, half open.
type span struct{ from, to uint64 }

// becameDue notes that a message became due and got a sequence number.
func (w *watch) becameDue(was Position, seq uint64) {
	w.due = was
	if !w.open && was.compare(w.next) >= 0 {
		w.late, w.open = append(w.late, span{from: seq}), true
	}
}

// still reports whether a message that was read is delayed yet.
func (w *watch) still(at Position) bool { return at.compare(w.due) > 0 }

// advance notes that the delayed messages up to next were read. The next message to be
// put gets the sequence number end.
func (w *watch) advance(next Position, end uint64) {
	if w.next = next; w.open {
		w.late[len(w.late)-1].to, w.open = end, false
	}
}
