//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package store

import (
	"errors"
	"os"
	"syscall"
)

// lockTree locks the directory itself. Some network file systems cannot; LOCK
// alone decides there.
func lockTree(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if !isHeld(err) {
		err = nil
	}
	return nil, errors.Join(err, f.Close())
}

// lockFile locks a file, which it creates if need be. It does not change what
// another process has written there.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	if err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// unlock frees f before it closes it. A process that is being started holds a
// copy of every descriptor for a moment, and with it the lock.
func unlock(f *os.File) error {
	return errors.Join(flock(f, syscall.LOCK_UN), f.Close())
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if err == nil {
			return nil
		}
		if err != syscall.EINTR {
			return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	}
}

func isHeld(err error) bool { return errors.Is(err, syscall.EWOULDBLOCK) }
