package pebblemq

import (
	"fmt"
	"time"
)

// Health is what keeps a store from its work, or soon may. The zero value is a store that
// is well.
type Health struct {
	// Err is why the store takes no changes, see DB.Err.
	Err error

	// Behind is the age of the oldest change that is not on disk, if it is more than a
	// second above Options.SyncInterval: the disk does not keep up, or does not answer. A
	// crash of the process may take changes of that age that were made with NoSync.
	Behind time.Duration

	// Damaged are the files in which a read met damage. What does not need them goes on.
	Damaged []DamagedFile
}

// OK reports whether nothing is wrong. A load balancer should send no requests to a process
// whose store has an Err; the other two are for people to look at.
func (h Health) OK() bool { return h.Err == nil && h.Behind == 0 && len(h.Damaged) == 0 }

// String says in a line what is worst, "ok" if nothing is wrong.
func (h Health) String() string {
	switch {
	case h.Err != nil:
		return h.Err.Error()
	case h.Behind > 0:
		return fmt.Sprintf("fsyncs are %v behind", h.Behind)
	case len(h.Damaged) > 0:
		return fmt.Sprintf("%d damaged files; the first: %v", len(h.Damaged), h.Damaged[0].Err)
	}
	return "ok"
}

// Health looks at the store. It asks neither the disk nor the engine, takes microseconds
// and never waits.
func (db *DB) Health() Health {
	h := db.s.Health()
	return Health{Err: h.Err, Behind: h.Lag, Damaged: damagedFiles(h.Damaged)}
}

// Err returns nil while the store takes changes. Otherwise it is ErrFailed with the first error
// of the disk, ErrClosed, ErrDiskFull with the name of the shortage, or ErrCorrupt. ErrCorrupt
// names the damaged files that keep the engine from compacting.
func (db *DB) Err() error { return db.s.Err() }
