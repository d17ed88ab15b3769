package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"gocloud.dev/blob"

	"github.com/pebblemq/pebblemq"
)

// Restore makes a directory of the newest generation that was taken at a moment or before; the zero
// time is now. The directory must not exist. It appears when all files are in it, on disk and
// compared with what was stored; with an error there is none. If no generation is that old, it
// returns ErrNotFound. Open opens it as a store. What was delivered and not settled at that moment is
// delivered again, so consumers must be idempotent.
func Restore(ctx context.Context, from *blob.Bucket, at time.Time, dir string) (Generation, error) {
	return restore(ctx, cloud{from}, at, dir)
}

func restore(ctx context.Context, from bucket, at time.Time, dir string) (g Generation, err error) {
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		return g, errors.Join(invalid("restore to %s: it exists", dir), err)
	}
	m, err := latest(ctx, from, at)
	if err != nil {
		return g, err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".restore-")
	if err != nil {
		return g, fmt.Errorf("backup: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	whole := filepath.Join(temp, "store")
	if err := os.Mkdir(whole, 0o755); err != nil {
		return g, fmt.Errorf("backup: %w", err)
	}
	for _, f := range m.Files {
		if err := f.fetch(ctx, from, whole); err != nil {
			return g, fmt.Errorf("backup: restore %s of the generation of %s: %w", f.Name, m.Taken, err)
		}
	}
	if err := syncTree(whole); err != nil {
		return g, fmt.Errorf("backup: %w", err)
	}
	if err := os.Rename(whole, dir); err != nil {
		return g, fmt.Errorf("backup: %w", err)
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return g, fmt.Errorf("backup: %w", err)
	}
	return m.generation(), nil
}

// latest returns the newest generation of a moment or before.
func latest(ctx context.Context, from bucket, at time.Time) (*manifest, error) {
	all, err := manifests(ctx, from)
	if err != nil {
		return nil, err
	}
	for i := len(all) - 1; i >= 0; i-- {
		if at.IsZero() || !all[i].Taken.After(at) {
			return all[i], nil
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: backup: the bucket has no generation", pebblemq.ErrNotFound)
	}
	return nil, fmt.Errorf("%w: backup: no generation of %s or before; the oldest is of %s", pebblemq.ErrNotFound, at.UTC(), all[0].Taken)
}

// fetch writes a file to a directory.
func (f file) fetch(ctx context.Context, from bucket, dir string) (err error) {
	path := filepath.Join(dir, filepath.FromSlash(f.Name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	w, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	r, err := from.get(ctx, f.key())
	if err != nil {
		return err
	}
	found, err := hashOf(tee{io.TeeReader(r, w), r}, nil)
	if err != nil {
		return err
	}
	if found != f.Hash {
		return fmt.Errorf("%w: the SHA-256 is %s, not %s", pebblemq.ErrCorrupt, found, f.Hash)
	}
	return w.Sync()
}

// tee reads from one and closes the other.
type tee struct {
	io.Reader
	io.Closer
}

// syncTree has the names of all files on disk.
func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncDir(path)
	})
}

func syncDir(path string) (err error) {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return d.Sync()
}
