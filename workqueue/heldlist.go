package workqueue

import "iter"

// heldList is what a receiver has and has not settled, in the order in which it came. Its zero value
// is empty.
type heldList struct {
	first, last *Delivery
	n           int
}

// heldLink is the place of a delivery in a heldList.
type heldLink struct {
	in         *heldList
	prev, next *Delivery
}

// add puts a delivery at its place: at the end, but for one that was settled a moment ago, which has
// a lower number.
func (h *heldList) add(d *Delivery) {
	if d.link.in == h {
		return
	}
	prev := h.last
	if prev != nil && prev.number > d.number && d.number > 0 {
		prev = h.before(d.number)
	}
	h.insert(d, prev)
}

// before returns the last delivery with a lower number, or nil. It is most often among the first.
func (h *heldList) before(number uint64) (prev *Delivery) {
	for d := h.first; d != nil && d.number < number; d = d.link.next {
		prev = d
	}
	return prev
}

// insert puts a delivery behind another one, or at the front.
func (h *heldList) insert(d, prev *Delivery) {
	next := h.first
	if prev != nil {
		next = prev.link.next
	}
	d.link = heldLink{h, prev, next}
	h.n++
	if prev == nil {
		h.first = d
	} else {
		prev.link.next = d
	}
	if next == nil {
		h.last = d
	} else {
		next.link.prev = d
	}
}

func (h *heldList) remove(d *Delivery) {
	l := d.link
	if l.in != h {
		return
	}
	d.link = heldLink{}
	h.n--
	if l.prev == nil {
		h.first = l.next
	} else {
		l.prev.link.next = l.next
	}
	if l.next == nil {
		h.last = l.prev
	} else {
		l.next.link.prev = l.prev
	}
}

// all goes through the list. The delivery at hand may be removed.
func (h *heldList) all() iter.Seq[*Delivery] {
	return func(yield func(*Delivery) bool) {
		for d := h.first; d != nil; {
			next := d.link.next
			if !yield(d) {
				return
			}
			d = next
		}
	}
}
