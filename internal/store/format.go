package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FormatVersion is what this release writes and the newest that it reads.
const FormatVersion = 1

// The format file is the first file that is written to a new directory and the first that is
// read from an old one. So the error about a newer store names its format, not a detail that
// confuses the engine.
const (
	formatName   = "FORMAT"
	formatTemp   = "FORMAT.tmp"
	formatLayout = "pebblemq store, format %d\n"
	lockName     = "LOCK"
)

// prepare makes sure that dir is a store of a format we read, or an empty
// directory that becomes one.
func prepare(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return fmt.Errorf("pebblemq: open %s: %w", dir, err)
	}
	for _, name := range names {
		if name == formatName {
			return checkFormat(fs, dir)
		}
	}
	if slices.Contains(names, recordName) {
		return fmt.Errorf("%w: %s has no file %s, which says that it is a store and of which format", ErrCorrupt, dir, formatName)
	}
	for _, name := range names {
		if name != lockName && name != formatTemp {
			return fmt.Errorf("%w: %s is not empty (%s) and has no %s file", ErrNotStore, dir, name, formatName)
		}
	}
	return writeFormat(fs, dir)
}

func checkFormat(fs vfs.FS, dir string) error {
	f, err := fs.Open(fs.PathJoin(dir, formatName))
	if err != nil {
		return fmt.Errorf("pebblemq: open %s: %w", dir, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 128))
	if err != nil {
		return fmt.Errorf("pebblemq: read %s of %s: %w", formatName, dir, err)
	}
	return parseFormat(dir, string(text))
}

func parseFormat(dir, text string) error {
	var v int
	if _, err := fmt.Sscanf(text, formatLayout, &v); err != nil || text != fmt.Sprintf(formatLayout, v) {
		return fmt.Errorf("%w: %s of %s reads %.40q", ErrCorrupt, formatName, dir, text)
	}
	if v != FormatVersion {
		return fmt.Errorf("%w: %s has format %d, this release reads %d", ErrFormat, dir, v, FormatVersion)
	}
	return nil
}

// writeFormat creates the file whole or not at all.
func writeFormat(fs vfs.FS, dir string) error {
	temp := fs.PathJoin(dir, formatTemp)
	err := writeSynced(fs, temp, fmt.Sprintf(formatLayout, FormatVersion))
	if err == nil {
		err = fs.Rename(temp, fs.PathJoin(dir, formatName))
	}
	if err == nil {
		err = syncDir(fs, dir)
	}
	if err != nil {
		return fmt.Errorf("pebblemq: create a store in %s: %w", dir, err)
	}
	return nil
}

func writeSynced(fs vfs.FS, name, text string) error {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(text))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeDir creates dir and, durably, the parents it lacks.
func makeDir(fs vfs.FS, dir string) error {
	if info, err := fs.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%w: %s is a file, not a directory", ErrNotStore, dir)
		}
		return nil
	} else if errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: %s lies below a file", ErrNotStore, dir)
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("pebblemq: open %s: %w", dir, err)
	}
	parent := fs.PathDir(dir)
	if parent != dir {
		if err := makeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("pebblemq: create %s: %w", dir, err)
	}
	if err := syncDir(fs, parent); err != nil {
		return fmt.Errorf("pebblemq: create %s: %w", dir, err)
	}
	return nil
}
