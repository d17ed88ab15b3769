package worker

import "sync"

// lane is the tasks of one key in their order. A task without a key has a lane of its own.
//
// Invariant: a lane with a key is in lanes if and only if it has tasks, or a worker has
// some of them. It is ready, paused or with a worker, never two of these.
type lane[M any] struct {
	key   string
	tasks []*task[M]
	more  chan<- struct{} // hears of further tasks while a batch is filled
}

// lanes are those with a key.
type lanes[M any] struct {
	mu    sync.Mutex
	byKey map[string]*lane[M]
}

// put adds a task. It returns its lane if that is new: the others are scheduled already.
func (s *lanes[M]) put(t *task[M]) *lane[M] {
	if t.key == "" {
		t.self[0] = t
		t.own.tasks = t.self[:]
		return &t.own
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.byKey[t.key]; l != nil {
		l.tasks = append(l.tasks, t)
		if l.more != nil {
			select {
			case l.more <- struct{}{}:
			default: // it will look anyway
			}
		}
		return nil
	}
	l := &lane[M]{key: t.key, tasks: []*task[M]{t}}
	s.byKey[t.key] = l
	return l
}

// take moves up to n tasks from the front of a lane to the end of a list. It leaves those that
// are not ready.
func (s *lanes[M]) take(list []*task[M], l *lane[M], n int, ready func(*task[M]) bool) []*task[M] {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.more = nil
	for i := 0; len(l.tasks) > 0 && i < n && (i == 0 || ready(l.tasks[0])); i++ {
		list = append(list, l.tasks[0])
		l.tasks[0] = nil
		l.tasks = l.tasks[1:]
	}
	return list
}

// count returns how many tasks some lanes have. From then on, until take, more hears of
// further ones.
func (s *lanes[M]) count(list []*lane[M], more chan<- struct{}) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range list {
		l.more = more
		n += len(l.tasks)
	}
	return n
}

// putBack returns tasks to the front of their lane, which a worker has done with. It reports
// whether the caller must schedule the lane again.
func (s *lanes[M]) putBack(l *lane[M], again []*task[M]) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(again) > 0 {
		l.tasks = append(again, l.tasks...)
	}
	if len(l.tasks) == 0 && l.key != "" {
		delete(s.byKey, l.key)
	}
	return len(l.tasks) > 0
}

// first returns the task at the front.
func (s *lanes[M]) first(l *lane[M]) *task[M] {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.tasks[0]
}
