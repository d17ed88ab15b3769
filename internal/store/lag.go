package store

import "time"

// lag knows the age of the oldest accepted change that is not on disk yet, and tells
// when it is too high. A crash of the process takes no older change.
//
// The naive way is a ticker, which would wake an idle store, or a list of the times of
// all changes. One fsync covers all groups before it. So one time is enough for all
// changes since the last group that was sealed for an fsync, and one for each such
// group that is under way. The alarm is set by the first change, not by each, and an
// idle store lets it run out.
//
// All fields are guarded by the baton.
type lag struct {
	limit   time.Duration // of the age; it is told if the age is higher
	since   time.Time     // of the first change after those of syncing; zero if there is none
	syncing []time.Time   // of the first change in each group whose fsync is under way

	alarm *time.Timer
	armed bool
	told  bool
}

// lagMargin is how far beyond the sync interval the age may go untold.
const lagMargin = time.Second

func newLag(s *Store) lag {
	l := lag{limit: s.opts.SyncInterval + lagMargin}
	l.alarm = time.AfterFunc(time.Hour, s.checkLag)
	l.alarm.Stop()
	return l
}

// accepted notes that a change was accepted.
func (l *lag) accepted() {
	if !l.since.IsZero() {
		return
	}
	l.since = time.Now()
	l.arm(l.limit)
}

func (l *lag) arm(d time.Duration) {
	if !l.armed {
		l.armed = true
		l.alarm.Reset(d)
	}
}

// sealed notes that the next fsync covers everything that was accepted.
func (l *lag) sealed() {
	l.syncing = append(l.syncing, l.since)
	l.since = time.Time{}
}

// synced notes the end of the oldest fsync under way. It reports whether the store has
// caught up after its lag was told.
func (l *lag) synced() bool {
	l.syncing = append(l.syncing[:0], l.syncing[1:]...)
	if !l.told || l.age() > l.limit {
		return false
	}
	l.told = false
	l.arm(l.limit)
	return true
}

// age is that of the oldest change that is not on disk, 0 if there is none.
func (l *lag) age() time.Duration {
	oldest := l.since
	for _, t := range l.syncing {
		if !t.IsZero() {
			oldest = t
			break
		}
	}
	if oldest.IsZero() {
		return 0
	}
	return time.Since(oldest)
}

// checkLag is called by the alarm.
func (s *Store) checkLag() {
	if age := s.overdue(); age > 0 {
		s.log.Warn("fsyncs fall behind: a crash of the process would take the newest NoSync changes",
			"dir", s.opts.Dir, "unsynced", age)
	}
}

// overdue returns the age if it is to be told, and sets the next alarm. It needs the mutex
// alone: a disk that does not answer a read is to be told of most of all.
func (s *Store) overdue() (age time.Duration) {
	s.mu.Peek(func() { age = s.lag.overdue(s.failure.Load() != nil) })
	return age
}

func (l *lag) overdue(failed bool) time.Duration {
	l.armed = false
	age := l.age()
	switch {
	case age == 0 || l.told || failed:
		return 0
	case age <= l.limit:
		l.arm(l.limit - age + time.Nanosecond)
		return 0
	}
	l.told = true
	return age
}
