package store

import (
	"container/heap"
	"time"
)

// maxSleep bounds how long the scheduler sleeps while something is due later.
// Timers of the runtime do not see a jump of the wall clock; this does.
const maxSleep = time.Minute

// Timer calls a function, as an Op of its own, when its moment has come. A
// layer needs one for each queue and keeps its own order of what is due in
// it; the scheduler's memory is then bounded by objects, not messages.
type Timer struct {
	fire func(*Turn)
	at   time.Time
	slot int // in the heap, or -1
}

// NewTimer returns a timer that is not armed. fire runs under the baton, with
// NoSync.
func NewTimer(fire func(*Turn)) *Timer { return &Timer{fire: fire, slot: -1} }

// Arm makes tm fire at the given time, instead of any earlier arrangement.
func (t *Turn) Arm(tm *Timer, at time.Time) {
	s := t.s
	tm.at = at
	if tm.slot < 0 {
		heap.Push(&s.timers, tm)
	} else {
		heap.Fix(&s.timers, tm.slot)
	}
	if tm.slot == 0 {
		s.kickScheduler()
	}
}

// ArmBy makes tm fire at the given time at the latest. What it was armed for may be
// later even if it came first, because the clock may have been set back since.
func (t *Turn) ArmBy(tm *Timer, at time.Time) {
	if !tm.Armed() || at.Before(tm.at) {
		t.Arm(tm, at)
	}
}

// Armed reports whether the timer will fire. It is called under the baton.
func (tm *Timer) Armed() bool { return tm.slot >= 0 }

// Disarm makes tm not fire.
func (t *Turn) Disarm(tm *Timer) {
	if tm.slot >= 0 {
		heap.Remove(&t.s.timers, tm.slot)
	}
}

func (s *Store) kickScheduler() {
	select {
	case s.timerCh <- struct{}{}:
	default:
	}
}

// schedule is the one goroutine that waits for time to pass.
func (s *Store) schedule() {
	defer s.kernel.Done()
	sleep := time.NewTimer(maxSleep)
	defer sleep.Stop()
	for {
		wait, room := s.fireNext()
		if wait == 0 && room == nil {
			continue
		}
		if sleep.Stop(); wait > 0 {
			sleep.Reset(wait)
		}
		select {
		case <-sleep.C:
		case <-room:
		case <-s.timerCh:
		case <-s.stop:
			return
		case <-s.failed:
			return
		}
	}
}

// never is the sleep of a scheduler with nothing to wait for.
const never = -1

// fireNext fires one timer that is due and returns 0. If none is, it returns
// how long to sleep; if the open group is full, what tells of room in it. It
// lets the baton go after each, as a layer with a backlog arms its timer for
// now again and again.
func (s *Store) fireNext() (wait time.Duration, room <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.timers) == 0 || s.closing || s.failure.Load() != nil {
		return never, nil
	}
	tm := s.timers[0]
	if wait := tm.at.Sub(s.opts.Clock()); wait > 0 {
		return min(wait, maxSleep), nil
	}
	if s.full() {
		return never, s.room.C()
	}
	heap.Pop(&s.timers)
	_ = s.run(firing{tm}, NoSync, nil) // a firing is never refused
	s.kick()
	return 0, nil
}

// firing is the Op of a timer that is due.
type firing struct{ tm *Timer }

func (f firing) Run(t *Turn) error { f.tm.fire(t); return nil }
func (f firing) Undo()             {}
func (f firing) Visible(*Turn)     {}

// timerHeap orders timers by due time.
type timerHeap []*Timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i, j
}

func (h *timerHeap) Push(x any) {
	tm := x.(*Timer)
	tm.slot = len(*h)
	*h = append(*h, tm)
}

func (h *timerHeap) Pop() any {
	old := *h
	tm := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	tm.slot = -1
	return tm
}
