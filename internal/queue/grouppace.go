package queue

import (
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// The pace at which a backlog of blocked groups is passed. That has to go on, because
// something of another group may stand behind it; but most often the groups themselves
// go on in a moment, and then it was spilled for nothing. So when memory is full some
// are spilled, and then there is a pause; and more of them each time, as long as nothing
// is taken.
const (
	paceMessages = 1024
	pacePause    = 20 * time.Millisecond
)

type pace struct {
	timer *store.Timer // of a pause
	pause bool
	left  int // that may be spilled before the next
	step  int // after which there was the last
	took  bool
}

// holdsBack reports that m, at the front of the window and blocked, is not to be spilled
// yet.
func (g *groups) holdsBack(t *store.Turn, m *Message) bool {
	if g.fair || !g.crowded(g.find(m), m) {
		return false
	}
	p := &g.pace
	if p.left > 0 {
		p.left--
		return false
	}
	if !p.pause {
		p.pause = true
		t.Arm(p.timer, t.Now().Add(pacePause))
	}
	return true
}

// goOn is what the timer calls.
func (g *groups) goOn(t *store.Turn) {
	p := &g.pace
	if p.step *= 2; p.took || p.step > paceMessages<<10 {
		p.step = g.room.spill
	}
	p.pause, p.took, p.left = false, false, p.step
	g.walker.goOn(t)
	g.q.ready(t)
}
