package queue

import "fmt"

// sound is that of one lane.
func sound(q *Lane) error {
	if q.closed {
		return nil
	}
	c := census{q: q}
	for _, s := range q.order.inOrder() {
		if err := c.segment(s); err != nil {
			return fmt.Errorf("segment %d to %d: %w", s.first, s.last, err)
		}
	}
	return c.compare()
}

// census counts the messages that are in memory.
type census struct {
	q         *Lane
	at        [gone + 1]int
	out       tally
	lineBytes int
	parked    int // their bytes
}

func (c *census) segment(s *segment) error {
	o := &c.q.order
	switch {
	case s.dropped && o.reads():
		return nil
	case s.dropped:
		return fmt.Errorf("it is deleted, and known without need")
	case s.sealed && o.known.at(s.last) != s:
		return fmt.Errorf("it is not known by its last number")
	}
	live, inMemory := 0, 0
	for i := range s.members {
		if s.sealed && s.settled.has(i) {
			continue
		}
		here, err := c.member(s, i)
		if err != nil {
			return err
		}
		inMemory += here
	}
	if s.sealed {
		live = s.left()
	} else {
		for _, m := range s.members {
			if m.at != gone {
				live++
			}
		}
	}
	switch {
	case live != s.live:
		return fmt.Errorf("it has %d live messages, not %d", live, s.live)
	case inMemory != s.inMemory:
		return fmt.Errorf("it has %d messages in memory, not %d", inMemory, s.inMemory)
	case s.sealed && inMemory == 0 && !s.changed && !s.late && !o.reads():
		return fmt.Errorf("it is known without need")
	}
	return nil
}

// member counts a member of a segment, if it is in memory.
func (c *census) member(s *segment, i int) (here int, err error) {
	m := s.members[i]
	if m == nil || !s.sealed && !m.here() {
		return 0, nil
	}
	if m.segment != s || m.Seq != s.first+uint64(i) || !m.here() {
		return 0, fmt.Errorf("message %d, at place %d, is its member %d", m.Seq, m.at, i)
	}
	if _, marked := s.absent.find(m.Seq); marked {
		return 0, fmt.Errorf("message %d is in memory, and has a mark as if it were not", m.Seq)
	}
	c.at[m.at]++
	if !c.stands(m) {
		return 0, fmt.Errorf("message %d is not at place %d, where it says it is", m.Seq, m.at)
	}
	switch m.at {
	case out:
		c.out.more(tally{1, m.size()})
	case inWindow:
		c.lineBytes += len(m.Data)
	case parked:
		c.parked += len(m.Data)
	}
	return 1, nil
}

// stands reports that a message is where it says it is, as far as one can see quickly.
func (c *census) stands(m *Message) bool {
	q := c.q
	in := func(h seqHeap) bool { return int(m.slot) < len(h) && h[m.slot] == m }
	switch m.at {
	case unshown:
		return m.Seq >= q.shown
	case returned:
		return in(q.line.returned)
	case tried:
		return in(q.crash.primes)
	case parked:
		return m.group != nil && in(m.group.parked)
	case offered:
		return in(q.groups.passing.ahead)
	}
	return m.Seq < q.shown
}

// compare compares the counters with what was counted.
func (c *census) compare() error {
	q, groups := c.q, &groups{}
	if q.groups != nil {
		groups = q.groups
	}
	for _, n := range []struct {
		what      string
		has, want int
	}{
		{"messages out", int(q.out.messages), c.at[out]},
		{"bytes out", int(q.out.bytes), int(c.out.bytes)},
		{"messages returning", q.returning, c.at[returning]},
		{"messages in line", q.line.window.n, c.at[inWindow]},
		{"bytes in line", q.line.window.bytes, c.lineBytes},
		{"messages ahead", len(q.line.ahead), c.at[ahead]},
		{"messages returned", len(q.line.returned), c.at[returned]},
		{"messages on trial", len(q.crash.primes), c.at[tried]},
		{"messages parked", groups.parked, c.at[parked]},
		{"bytes parked", groups.bytes, c.parked},
		{"messages offered", len(groups.passing.ahead), c.at[offered]},
	} {
		if n.has != n.want {
			return fmt.Errorf("%d %s, and not %d", n.has, n.what, n.want)
		}
	}
	return nil
}
