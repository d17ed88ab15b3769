package main

import "time"

// fate is what is known of whether a thing is there.
type fate struct{ mayBeHere, mayBeGone bool }

var (
	here    = fate{mayBeHere: true}
	gone    = fate{mayBeGone: true}
	unknown = fate{mayBeHere: true, mayBeGone: true}
)

// counted is what is known of a count.
type counted struct{ least, most int }

func (c *counted) set(n int) { c.least, c.most = n, n }

func (c counted) holds(n int) bool { return c.least <= n && n <= c.most }

// moment is what is known of a point in time.
type moment struct{ first, last time.Time }

// in is a moment that comes d after this one.
func (m moment) in(d time.Duration) moment { return moment{m.first.Add(d), m.last.Add(d)} }

// surely reports that it is over at t; maybe, that it can be, because the clock may have shown it before.
func (m moment) surely(t time.Time) bool { return !t.Before(m.last) }
func (m moment) maybe(t time.Time) bool  { return !latest(t).Before(m.first) }

func at(t time.Time) moment { return moment{t, t} }

// later is the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// earlier is the earlier of two times.
func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// someday is the last moment of what nobody has seen happen yet.
var someday = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
