package cron

import "time"

// Rule says what becomes of the times that a change of clocks skips, as in spring, or repeats, as
// in autumn. The examples are of 02:30 in Berlin, where 02:00 to 03:00 is skipped and repeated.
type Rule int

const (
	// Usual is Elapsed if the hour of the expression is a star, also with a step, and Once
	// otherwise. It is the default, and what cron does.
	Usual Rule = iota
	// Once lets each time come once on each of its days. Those that are skipped come together
	// at the moment of the change, at 03:00. One that is repeated comes the first time only.
	Once
	// Shifted is Once, but a time that is skipped comes later by as much as the clocks go
	// forward, at 03:30.
	Shifted
	// Skipped is Once, but a time that is skipped does not come that day.
	Skipped
	// Elapsed goes by the time that passes: a time that is skipped does not come, and one that
	// is repeated comes twice. So what comes each hour comes after each hour.
	Elapsed
)

// String returns the name of the rule, in lower case.
func (r Rule) String() string {
	return [...]string{"usual", "once", "shifted", "skipped", "elapsed"}[r]
}

// stretch is a time between two changes of clocks.
type stretch struct {
	start, end     time.Time     // zero if there is no change
	before, offset time.Duration // from UTC: before the start, and from then on
}

// stretchAt returns the stretch that holds t, which is in the location.
func stretchAt(t time.Time) (s stretch) {
	s.offset = offsetAt(t)
	s.start, s.end = t.ZoneBounds()
	if s.before = s.offset; !s.start.IsZero() {
		s.before = offsetAt(s.start.Add(-1))
	}
	return s
}

func offsetAt(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}

// A clock's face is kept as a time in UTC that shows the same.
func face(t time.Time, offset time.Duration) time.Time { return t.Add(offset).UTC() }

// within returns the first time after t in a stretch, zero if there is none.
func (s *Schedule) within(n stretch, t time.Time) (next time.Time) {
	after, shift := t, n.offset-n.before
	if !n.start.IsZero() {
		after = later(after, n.start.Add(-1))
		if shift < 0 && s.rule != Elapsed { // the clocks repeat themselves first
			after = later(after, n.start.Add(-shift-1))
		}
	}
	if w := s.schedule.Next(face(after, n.offset)); !w.IsZero() {
		next = w.Add(-n.offset)
	}
	if !n.end.IsZero() && !next.Before(n.end) {
		next = time.Time{}
	}
	if shift > 0 {
		if m := s.missed(n, t); !m.IsZero() && (next.IsZero() || m.Before(next)) {
			next = m
		}
	}
	return next
}

// missed returns when the first of the times comes after t that the clocks have skipped at the
// start of a stretch, zero if none comes.
func (s *Schedule) missed(n stretch, t time.Time) time.Time {
	after := n.start.Add(-1)
	switch s.rule {
	case Once:
		if !n.start.After(t) {
			return time.Time{}
		}
	case Shifted:
		after = later(after, t)
	default:
		return time.Time{}
	}
	w := s.schedule.Next(face(after, n.before))
	switch {
	case w.IsZero() || !w.Before(face(n.start, n.offset)):
		return time.Time{}
	case s.rule == Once:
		return n.start
	}
	return w.Add(-n.before)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
