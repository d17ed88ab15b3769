package store

import "sync"

// late is what is sealed in the next group that is synced.
type late struct {
	sealers []Sealer // under the baton

	mu    sync.Mutex
	asked []Sealer // by those who do not have it
}

// waits reports that somebody has asked and was not heard.
func (l *late) waits() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.asked) > 0
}

// hear takes over what was asked.
func (l *late) hear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.asked {
		l.add(d)
	}
	clear(l.asked)
	l.asked = l.asked[:0]
}

func (l *late) add(d Sealer) {
	if m := d.mark(); !m.late {
		m.late = true
		l.sealers = append(l.sealers, d)
	}
}

// seal writes everything. A sealer may touch others, which come in the same group.
func (l *late) seal(t *Turn) {
	l.hear()
	for i := 0; i < len(l.sealers); i++ {
		d := l.sealers[i]
		d.mark().late = false
		d.Seal(t)
	}
	clear(l.sealers)
	l.sealers = l.sealers[:0]
}
