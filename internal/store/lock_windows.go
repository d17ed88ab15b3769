package store

import (
	"errors"
	"os"
	"syscall"
)

// lockTree does nothing: Windows does not rename a directory in which a file is
// open.
func lockTree(string) (*os.File, error) { return nil, nil }

// lockFile opens a file that others may read. They cannot write, rename or
// delete it, under any of its names, until it is closed.
func lockFile(name string) (*os.File, error) {
	path, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, &os.PathError{Op: "lock", Path: name, Err: err}
	}
	h, err := syscall.CreateFile(path, syscall.GENERIC_READ|syscall.GENERIC_WRITE, syscall.FILE_SHARE_READ,
		nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &os.PathError{Op: "lock", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), name), nil
}

func unlock(f *os.File) error { return f.Close() }

const errSharingViolation syscall.Errno = 32

func isHeld(err error) bool { return errors.Is(err, errSharingViolation) }
