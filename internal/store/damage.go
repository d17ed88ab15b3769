package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// DamagedFile is a file in which a read met damage. What the file does not hold is
// served as before.
type DamagedFile struct {
	Path     string
	Err      error // the first one
	Holds    string
	SetAside bool // it is not compacted any more
}

// damages are the damaged files that reads or compactions have met.
//
// A damaged file blocks compactions, and each flush adds to the first level meanwhile.
// The engine merges tables within that level as long as it can. When too many layers
// of them are left, all writes would hang in the engine, so the store refuses them before.
type damages struct {
	refusing atomic.Bool // the first level is nearly full
	changed  atomic.Bool // and is to be looked at again
	looking  atomic.Bool // which is under way
	named    atomic.Bool // the catalog is loaded, and says what a file holds

	mu    sync.Mutex
	files []*damage
}

type damage struct {
	DamagedFile
	lo, hi []byte // its keys; hi is nil if they are unknown
}

// maxLayers is how many layers of tables the first level may have while compactions
// are set aside. The engine stops at l0Stop; the memtables that are full by then
// add some more.
const (
	l0Stop    = 24
	maxLayers = l0Stop - 2*memTables
)

// corrupted is called by the engine, on the goroutine that met the damage and before it
// acts on it. The baton and other locks may be held.
func (s *Store) corrupted(i pebble.DataCorruptionInfo) {
	purpose := readsFor()
	if errors.Is(i.Details, ErrUnreadable) && purpose != forElision {
		return // the disk may be able to read it later
	}
	compacting := purpose >= forCompaction
	d := damage{DamagedFile: DamagedFile{Path: i.Path, Err: i.Details, SetAside: compacting}}
	if hi := i.Bounds.End.Key; hi != nil {
		d.lo, d.hi = slices.Clone(i.Bounds.Start), append(slices.Clone(hi), 0)
	}
	if s.damages.note(d) {
		s.report(d)
	}
	if compacting {
		s.damages.changed.Store(true)
		s.kick()
		s.compactions.park()
	}
}

// statisticsPause is how long the engine waits before it looks again at a table that
// its statistics miss. Left alone it does so at once.
const statisticsPause = time.Minute

// backgroundError is called by the engine. Its statistics hold no lock then that others
// wait for, as they do while they open a table.
func (s *Store) backgroundError(err error) {
	if readsFor() != forStatistics {
		s.log.Warn("engine background error", "error", err)
		return
	}
	s.guard.pause(statisticsPause)
	s.guard.check() // an engine that was given up would try again for ever
}

// note reports whether the damage says something new of its file.
func (m *damages) note(d damage) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, known := range m.files {
		if known.Path == d.Path {
			grave := d.SetAside && !known.SetAside
			known.SetAside = known.SetAside || d.SetAside
			return grave
		}
	}
	m.files = append(m.files, &d)
	return true
}

// report logs damage. It does so from a goroutine of its own, because what the file
// holds is known under the baton.
func (s *Store) report(d damage) {
	if s.readers.enter() != nil {
		return
	}
	go func() {
		defer s.readers.exit()
		attrs := []any{"path", d.Path, "holds", s.holds(&d), "error", d.Err}
		if d.SetAside {
			s.log.Error("damaged file, not compacted any more", attrs...)
			return
		}
		s.log.Error("damaged file", attrs...)
	}()
}

// holds names the objects whose keys can be in the file.
func (s *Store) holds(d *damage) string {
	if d.hi == nil || !s.damages.named.Load() { // the engine reads before the store has loaded anything
		return "unknown"
	}
	return s.Contents(d.lo, d.hi).String()
}

// damagedFiles lists those that were met since the store was opened.
func (s *Store) damagedFiles() []DamagedFile {
	s.damages.mu.Lock()
	met := slices.Clone(s.damages.files)
	list := make([]DamagedFile, len(met))
	for i, d := range met {
		list[i] = d.DamagedFile
	}
	s.damages.mu.Unlock()
	for i, d := range met {
		list[i].Holds = s.holds(d)
	}
	return list
}

// checkLayers looks whether the engine can take more, after a flush or a compaction
// of a store with compactions set aside. Only the committer calls it.
func (s *Store) checkLayers() {
	if !s.damages.changed.Load() || !s.damages.looking.CompareAndSwap(false, true) {
		return
	}
	s.Spawn(func(ctx context.Context) {
		for s.damages.changed.Swap(false) && s.readers.enter() == nil {
			_ = s.aside(ctx, s.countLayers, func() {}) // without an answer the last one holds
		}
		s.damages.looking.Store(false)
		s.kick() // changed may have been set in between
	})
}

func (s *Store) countLayers() {
	s.damages.refusing.Store(int(s.db.Metrics().Levels[0].Sublevels) >= maxLayers)
}

// layersChanged is called by the engine after each flush and compaction, while it
// holds its lock.
func (s *Store) layersChanged() {
	if s.compactions.setAside() > 0 {
		s.damages.changed.Store(true)
		s.kick()
	}
}

// refusal is the error of a write while compactions are blocked and the first level is
// nearly full; nil otherwise.
func (m *damages) refusal() error {
	if !m.refusing.Load() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var aside []string
	for _, d := range m.files {
		if d.SetAside {
			aside = append(aside, d.Path)
		}
	}
	return fmt.Errorf("%w: no more writes until the store is salvaged or restored: "+
		"%s cannot be compacted", ErrCorrupt, strings.Join(aside, ", "))
}

// damaged names the file in an error of the engine that reports damage, and makes it an
// ErrCorrupt. Other errors stay as they are.
func damaged(err error) error {
	if err == nil || errors.Is(err, ErrCorrupt) {
		return err
	}
	info := pebble.ExtractDataCorruptionInfo(err)
	if info != nil {
		err = damageText{err}
	}
	switch {
	case errors.Is(err, ErrUnreadable) || !pebble.IsCorruptionError(err):
		return err
	case info != nil:
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, info.Path, err)
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// damageText is an error of the engine without the line that it adds to the text of
// those that know their file.
type damageText struct{ error }

func (d damageText) Unwrap() error { return d.error }

func (d damageText) Error() string {
	text, _, _ := strings.Cut(d.error.Error(), "\n<corruption detail carrier>")
	return text
}
