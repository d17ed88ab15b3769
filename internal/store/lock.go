package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// dirLock makes one open store the owner of a directory, among all processes of
// the machine.
//
// Invariant: while the store is open, nothing that any process does to the
// directory frees it. The owner itself may read LOCK, copy, link or rename the
// directory, or delete LOCK.
//
// The naive way is the engine's: a lock of fcntl(2) on LOCK. Such a lock belongs
// to the process. The system drops it when the process closes any descriptor of
// the file, so a backup that reads LOCK ends it. It also belongs to the file LOCK
// alone, and a name protects the directory from the own process.
//
// Therefore the lock is one of flock(2) where the system has it, which belongs to
// the open file. It is taken twice: on the directory itself, which keeps its lock
// when it is renamed or LOCK is deleted, and on LOCK, which a tree of hard links
// shares.
type dirLock struct {
	dir  string
	home os.FileInfo // of the directory; nil if the operating system does not hold it
	tree *os.File    // the locked directory; nil where it cannot be locked
	file *os.File    // the locked LOCK
	own  io.Closer   // the lock of a file system that is not the operating system's
}

// lockDir takes the lock of a directory, or returns ErrLocked.
func lockDir(fs vfs.FS, dir string) (*dirLock, error) {
	l := &dirLock{dir: dir}
	if !onSystem(fs) {
		var err error
		l.own, err = fs.Lock(fs.PathJoin(dir, lockName))
		if err == nil {
			return l, nil
		}
		if path := (*os.PathError)(nil); errors.As(err, &path) {
			return nil, fmt.Errorf("pebblemq: open %s: %w", dir, err)
		}
		return nil, fmt.Errorf("%w: %s: %w", ErrLocked, dir, err)
	}
	err := l.acquire()
	switch {
	case err == nil:
		l.sign()
		return l, nil
	case isHeld(err):
		return nil, errors.Join(fmt.Errorf("%w: %s is open in %s", ErrLocked, dir, readOwner(dir)), l.release())
	}
	return nil, errors.Join(fmt.Errorf("pebblemq: open %s: %w", dir, err), l.release())
}

// onSystem reports whether fs leads to the files of the operating system.
func onSystem(fs vfs.FS) bool { return vfs.Root(fs) == vfs.Default }

func (l *dirLock) acquire() (err error) {
	if l.home, err = os.Stat(l.dir); err != nil {
		return err
	}
	if l.tree, err = lockTree(l.dir); err != nil {
		return err
	}
	l.file, err = lockFile(filepath.Join(l.dir, lockName))
	return err
}

// release frees what acquire took.
func (l *dirLock) release() error {
	var errs []error
	for _, f := range []*os.File{l.file, l.tree} {
		if f != nil {
			errs = append(errs, unlock(f))
		}
	}
	return errors.Join(errs...)
}

// Close gives the directory up.
func (l *dirLock) Close() error {
	if l.own != nil {
		return l.own.Close()
	}
	_ = l.file.Truncate(0) // the name of the owner is only a hint
	return l.release()
}

// inPlace returns an error if the path of the directory leads elsewhere by now.
// The engine makes and deletes files by path. If another store has taken the
// place of a directory that was moved away, they would be that store's files.
func (l *dirLock) inPlace() error {
	if l.home == nil {
		return nil
	}
	now, err := os.Stat(l.dir)
	if err == nil && !os.SameFile(l.home, now) {
		err = errors.New("it was moved away and replaced")
	}
	if err != nil {
		return fmt.Errorf("%s is not the directory that was opened: %w", l.dir, err)
	}
	return nil
}

const ownerLayout = "process %d on %s\n"

func ownName() string {
	host, err := os.Hostname()
	if err != nil || strings.ContainsAny(host, " \n") {
		host = "?"
	}
	return fmt.Sprintf(ownerLayout, os.Getpid(), host)
}

// sign writes into LOCK which process holds it. A full disk may prevent it, and
// readers of the name are told less then.
func (l *dirLock) sign() {
	name := ownName()
	if n, err := l.file.WriteAt([]byte(name), 0); err == nil {
		_ = l.file.Truncate(int64(n))
	}
}

// readOwner returns the process that is named in LOCK.
func readOwner(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, lockName))
	if err != nil {
		return "this or another process"
	}
	if string(text) == ownName() {
		return "this process"
	}
	var pid int
	var host string
	if n, _ := fmt.Sscanf(string(text), ownerLayout, &pid, &host); n != 2 {
		return "this or another process"
	}
	return fmt.Sprintf("process %d on %s", pid, host)
}
