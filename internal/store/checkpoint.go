package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// OpenMemory opens a new store that lives in memory only.
func OpenMemory(o Options) (*Store, error) {
	o.FS, o.Dir, o.InMemory = vfs.NewMem(), "mem", true
	return Open(o)
}

// Checkpoint writes a copy of the store, as of now, to a directory that does
// not exist yet. It shares the tables with the store by hard links where the
// file system can. The format file is written last: a copy that was cut short
// does not open.
func (s *Store) Checkpoint(ctx context.Context, dir string) error {
	if s.opts.InMemory {
		return Invalid("checkpoint of a store in memory")
	}
	if err := CheckContext(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	dir, err := s.checkpointDir(dir)
	if err != nil {
		return err
	}
	if err := s.Cause(); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	if err := s.readers.enter(); err != nil {
		return err
	}
	var failed error
	if err := s.aside(ctx, func() { failed = s.copyTo(dir) }, func() { s.discard(dir) }); err != nil {
		return err
	}
	return failed
}

// discard removes a copy whose caller has gone.
func (s *Store) discard(dir string) {
	if err := s.opts.FS.RemoveAll(dir); err != nil {
		s.log.Warn("remove an abandoned checkpoint", "dir", dir, "error", err)
	}
}

func (s *Store) checkpointDir(dir string) (string, error) {
	if dir == "" {
		return "", Invalid("checkpoint directory name is empty")
	}
	if onSystem(s.opts.FS) {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", fmt.Errorf("pebblemq: checkpoint to %s: %w", dir, err)
		}
		dir = abs
	}
	fs := s.opts.FS
	if _, err := fs.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("pebblemq: checkpoint to %s: %w", dir, os.ErrExist)
	}
	for up := fs.PathDir(dir); ; up = fs.PathDir(up) {
		if up == s.opts.Dir {
			return "", Invalid("checkpoint directory %s is inside the store %s", dir, s.opts.Dir)
		}
		if up == fs.PathDir(up) {
			return dir, nil
		}
	}
}

func (s *Store) copyTo(dir string) error {
	if err := makeDir(s.opts.FS, s.opts.FS.PathDir(dir)); err != nil {
		return err
	}
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return errors.Join(fmt.Errorf("pebblemq: checkpoint to %s: %w", dir, err), s.opts.FS.RemoveAll(dir))
	}
	return writeFormat(s.opts.FS, dir)
}
