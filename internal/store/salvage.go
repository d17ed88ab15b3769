package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// SalvageOptions configure Salvage.
type SalvageOptions struct {
	FS          vfs.FS // nil: the operating system's
	MemoryBytes int64  // of the new store while it is made; 0 is the default
	Logger      *slog.Logger
	Progress    func(SalvageProgress)
}

// SalvageProgress is how far a Salvage has come.
type SalvageProgress struct {
	BytesRead int64
	Keys      int64 // written
	Bytes     int64 // written, keys and values
}

// SalvageReport is what became of a store.
type SalvageReport struct {
	Tables    int   // that were read
	WALs      int   // that were read
	BytesRead int64 // of all files
	Keys      int64 // that the new store was given, before it was made consistent
	Bytes     int64 // of these keys and their values

	Damages      []Damage // what could not be read
	MoreDamages  int      // beyond those listed
	Lost         []LostObject
	Repaired     []Contradiction // what did not agree any more, and was made to
	MoreRepaired int             // beyond those listed
	Unrepaired   []Contradiction // what still does not; empty unless there is a bug

	// Operations from LostFrom to LostTo were acknowledged, and are gone with the end of
	// the WAL; both are 0 if none are.
	LostFrom, LostTo uint64

	Took time.Duration
}

// Err returns an error that wraps ErrCorrupt if anything was lost or repaired, and nil if
// the new store has all that the old one had.
func (r *SalvageReport) Err() error {
	damages := len(r.Damages) + r.MoreDamages
	repaired := len(r.Repaired) + r.MoreRepaired
	if damages+repaired+len(r.Lost)+len(r.Unrepaired) == 0 && r.LostTo == 0 {
		return nil
	}
	err := fmt.Errorf("%w: %d parts of files could not be read, %d objects are lost, %d records were repaired, %d could not be",
		ErrCorrupt, damages, len(r.Lost), repaired, len(r.Unrepaired))
	if r.LostTo > 0 {
		err = fmt.Errorf("%w; operations %d to %d are gone", err, r.LostFrom, r.LostTo)
	}
	return err
}

// salvage is a Salvage under way.
type salvage struct {
	o      SalvageOptions
	fs     vfs.FS
	src    string
	dst    string
	pace   *pace
	report *SalvageReport

	damages damageList
	tables  []liveTable
	wal     walChanges
	deleted []tombstone // of the tables
	torn    []Damage    // in WALs; these count only if something is missing
	clean   bool        // the clean mark is there
	newest  uint64      // operation

	s       *Store // the new one
	created bool   // dst did not exist before
}

// Salvage writes what can be read of the store in src to a new store in dst, which must
// not exist or be empty. It locks src and changes nothing in it.
//
// Every block of the tables and every record of the WALs whose checksum is right is read,
// whatever is wrong with others. The layers then make the new store consistent: see Check.
// The format file is written last, so a dst that was cut short does not open. On an error
// dst is removed again.
func Salvage(ctx context.Context, src, dst string, o SalvageOptions) (*SalvageReport, error) {
	if err := CheckContext(ctx); err != nil {
		return nil, err
	}
	begun := time.Now()
	if o.FS == nil {
		o.FS = vfs.Default
	}
	v := &salvage{o: o, fs: o.FS, report: &SalvageReport{}}
	v.pace = &pace{ctx: ctx, moved: v.moved}
	lock, err := v.lockSource(src)
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.Close() }() // nothing was written under it
	if err := v.makeDestination(dst); err != nil {
		return nil, err
	}
	if err := v.run(); err != nil {
		return nil, errors.Join(fmt.Errorf("pebblemq: salvage %s to %s: %w", v.src, v.dst, err), v.discard())
	}
	r := v.report
	r.Damages, r.MoreDamages, r.BytesRead, r.Took = v.damages.list, v.damages.more, v.pace.bytes, time.Since(begun)
	return r, nil
}

// lockSource takes the lock of the store in src. On a read-only file system there is none
// to take, and no process has the store open.
func (v *salvage) lockSource(src string) (io.Closer, error) {
	if info, err := v.fs.Stat(src); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%w: salvage %s: not a directory: %w", ErrNotStore, src, err)
	}
	dir, err := canonical(v.fs, src)
	if err != nil {
		return nil, err
	}
	v.src = dir
	lock, err := lockDir(v.fs, dir)
	if errors.Is(err, syscall.EROFS) {
		return noLock{}, nil
	}
	return lock, err
}

// makeDestination makes sure that dst is an empty directory outside of the source.
func (v *salvage) makeDestination(dst string) error {
	if dst == "" {
		return Invalid("directory name is empty")
	}
	_, err := v.fs.Stat(dst)
	v.created = errors.Is(err, os.ErrNotExist)
	dir, err := canonical(v.fs, dst)
	if err != nil {
		return err
	}
	for up := dir; ; up = v.fs.PathDir(up) {
		if up == v.src {
			return errors.Join(Invalid("salvage to %s, which lies in the store %s", dir, v.src), v.undo(dir))
		}
		if up == v.fs.PathDir(up) {
			break
		}
	}
	names, err := v.fs.List(dir)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("pebblemq: salvage to %s: %w: it holds %s", dir, os.ErrExist, names[0])
	}
	v.dst = dir
	return nil
}

func (v *salvage) undo(dir string) error {
	if !v.created {
		return nil
	}
	return v.fs.RemoveAll(dir)
}

func (v *salvage) run() error {
	if err := v.readSource(); err != nil {
		return err
	}
	if err := v.openDestination(); err != nil {
		return err
	}
	if err := v.copy(); err != nil {
		return err
	}
	return v.finish()
}

// discard removes what was written.
func (v *salvage) discard() error {
	var err error
	if v.s != nil {
		err = v.s.Close()
	}
	if v.created {
		return errors.Join(err, v.fs.RemoveAll(v.dst))
	}
	names, listErr := v.fs.List(v.dst)
	err = errors.Join(err, listErr)
	for _, name := range names {
		err = errors.Join(err, v.fs.RemoveAll(v.fs.PathJoin(v.dst, name)))
	}
	return err
}

func (v *salvage) moved() {
	if v.o.Progress != nil {
		v.o.Progress(SalvageProgress{BytesRead: v.pace.bytes, Keys: v.report.Keys, Bytes: v.report.Bytes})
	}
}
