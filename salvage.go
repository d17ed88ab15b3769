package pebblemq

import (
	"context"
	"log/slog"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// SalvageOptions configure Salvage. Nil and the zero value are the defaults.
type SalvageOptions struct {
	// MemoryBytes is the budget for the engine of the new store, as in Options. The
	// write-ahead logs of the old store are held in memory on top of it; they take
	// about what its own MemoryBytes was at most.
	MemoryBytes int64

	// Logger is told what the engine of the new store does. Default: nothing is.
	Logger *slog.Logger

	// Progress, if set, is called before each read, on the goroutine of Salvage. It must
	// not block.
	Progress func(SalvageProgress)
}

// SalvageProgress is how far a Salvage has come.
type SalvageProgress struct {
	BytesRead int64 // of files; most are read once, their ends twice
	Keys      int64 // written
	Bytes     int64 // written, keys and values
}

// SalvageReport is the result of a Salvage.
type SalvageReport struct {
	Tables    int   // that were read
	WALs      int   // write-ahead logs that were read
	BytesRead int64 // of all files
	Keys      int64 // that were written
	Bytes     int64 // of these keys and their values

	// Damages are the parts of files that could not be read, and the records that may be
	// missing because of it, or be older ones. At most 1000 are listed, MoreDamages counts
	// the others.
	Damages     []Damage
	MoreDamages int

	// Lost are objects whose names and configurations were lost. The rest of their records
	// has no use without these, and is not in the new store.
	Lost []LostObject

	// Repaired are the records that did not agree with others any more, and were dropped
	// or written anew. At most 1000 are listed, MoreRepaired counts the others.
	Repaired     []Contradiction
	MoreRepaired int

	// Unrepaired are contradictions that are still there. It is empty unless this package
	// has a bug.
	Unrepaired []Contradiction

	// Operations from LostFrom to LostTo were acknowledged, and are gone with the end of
	// the write-ahead log. Both are 0 if none are.
	LostFrom, LostTo uint64

	Took time.Duration

	err error
}

// LostObject is what was left of an object without a name.
type LostObject struct {
	ID      uint32
	Records []string // the sorts of record: "messages", "message states"
	Keys    int      // that were dropped
	Bytes   int64    // of these keys and their values
}

// Err returns an error that wraps ErrCorrupt if anything was lost or repaired, and nil if
// the new store has all that the old one had.
func (r *SalvageReport) Err() error { return r.err }

// Salvage writes a new store to dst with all that can be read of the store in src, however
// damaged that is. Src must not be open, is locked in the meantime and is not changed; dst
// must not exist, or be an empty directory.
//
// It reads each block of the tables and each record of the write-ahead logs whose checksum
// is right. It then makes the new store consistent: counters are counted again, indexes
// written anew, and records dropped that mean nothing without a lost one. A partition of a
// topic keeps its offsets; readers pass those whose records are lost. The report lists what
// could not be read, which records that may concern, and what was repaired. Records in a
// damaged block are lost, or come back as they were before: a message may be delivered
// again that was acknowledged.
//
// The program must import all packages that the store has objects of, because these
// repair them; otherwise Salvage returns ErrInvalid. Src returns ErrNotStore if it has no
// files of a store, ErrLocked if it is open, and ErrFormat if a newer release wrote it. On
// any error, also that of ctx, dst is removed again. Dst becomes a store last of all, so
// one that was cut short by a crash does not open.
func Salvage(ctx context.Context, src, dst string, o *SalvageOptions) (*SalvageReport, error) {
	var k store.SalvageOptions
	if o != nil {
		k.MemoryBytes, k.Logger = o.MemoryBytes, o.Logger
		if o.Progress != nil {
			k.Progress = func(p store.SalvageProgress) { o.Progress(SalvageProgress(p)) }
		}
	}
	saved, err := store.Salvage(ctx, src, dst, k)
	if err != nil {
		return nil, err
	}
	r := &SalvageReport{
		Tables: saved.Tables, WALs: saved.WALs, BytesRead: saved.BytesRead, Keys: saved.Keys, Bytes: saved.Bytes,
		Damages: damagesOf(saved.Damages), MoreDamages: saved.MoreDamages,
		Repaired: contradictionsOf(saved.Repaired), MoreRepaired: saved.MoreRepaired,
		Unrepaired: contradictionsOf(saved.Unrepaired),
		LostFrom:   saved.LostFrom, LostTo: saved.LostTo, Took: saved.Took, err: saved.Err(),
	}
	for _, l := range saved.Lost {
		r.Lost = append(r.Lost, LostObject(l))
	}
	return r, nil
}
