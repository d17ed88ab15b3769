package main

import (
	"sync/atomic"
	"time"
)

// setBack is how far the clock of the machine was set back.
var setBack atomic.Int64

// wall is what the clock of the machine shows. All that is stored or falls due goes by it; contexts
// and timers do not.
func wall() time.Time { return time.Now().Add(-time.Duration(setBack.Load())) }

// untouched is what the clock would show instead of t if nobody had set it back. Pauses in memory end by that.
func untouched(t time.Time) time.Time { return t.Add(time.Duration(setBack.Load())) }

// shown is the latest time that the clock has shown before it was set back, since the begin of time.
var shown atomic.Int64

// latest is the latest time that the clock has shown until it shows t.
func latest(t time.Time) time.Time { return later(t, time.Unix(0, shown.Load())) }

// earliest is no later than what the clock has shown since it showed t.
func earliest(t time.Time) time.Time { return t.Add(-time.Duration(setBack.Load())) }

func (d *disk) drawSetBack() args {
	if !d.w.likes("a clock that is set back") || d.w.busy > 0 {
		return nil
	}
	return args{"span": oneOf(d.w, "1ns", "10ms", "1001ms", "61s", "3601s")}
}

// setBack sets the clock back while nobody makes a call, so that the moments of each are in order.
// What is pending ends later, and so does what is known of it. What the disk did stays as long ago as it was.
func (d *disk) setBack(_ *client, a args) {
	w, span := d.w, a.span("span")
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy > 0 {
		return
	}
	shown.Store(max(shown.Load(), wall().UnixNano()))
	setBack.Add(int64(span))
	for _, t := range []*time.Time{&d.slowUntil, &d.fullUntil, &d.frozenAt, &d.wellSince} {
		*t = t.Add(-span)
	}
	for i := range w.unsynced {
		w.unsynced[i].time = w.unsynced[i].time.Add(-span)
	}
}

// windowsLag reports that windows for duplicates may be longer than they should be: how far one has
// come behind a clock that was set back is forgotten when the store is closed.
func (c *client) windowsLag() bool { return c.life > 0 && setBack.Load() > 0 }
