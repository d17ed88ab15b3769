package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pebblemq/pebblemq"
	"github.com/spf13/cobra"
)

type copied struct {
	From string `json:"from"`
	To   string `json:"to"`
}

func checkpointCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use: "checkpoint DIR TO", Short: "Write a copy of the store to a directory that does not exist", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return withStore(args[0], func(db *pebblemq.DB) error {
				if err := db.Checkpoint(c.Context(), args[1]); err != nil {
					return err
				}
				return printOne(c.OutOrStdout(), f.json, copied{args[0], args[1]})
			})
		},
	}
}

func restoreCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use: "restore CHECKPOINT DIR", Short: "Copy a checkpoint to a directory, in the place of a store that is there", Args: cobra.ExactArgs(2),
		Long: "Copy a checkpoint, which stays as it is, to DIR. The copy is opened once to see that it is a store,\n" +
			"before it takes the place of what is in DIR. Use verify on it to compare all checksums.",
		RunE: func(c *cobra.Command, args []string) error {
			from := args[0]
			to, err := resolve(args[1])
			if err != nil {
				return err
			}
			if there, err := isStore(from); err != nil || !there {
				return errors.Join(fmt.Errorf("%w: %s", pebblemq.ErrNotStore, from), err)
			}
			replaces, err := isStore(to)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if replaces {
				if err := replaceable(to); err != nil {
					return err
				}
				if err := f.confirm(c, filepath.Base(to), "restore replaces the store in "+args[1]); err != nil {
					return err
				}
			}
			if err := restore(from, to); err != nil {
				return err
			}
			return printOne(c.OutOrStdout(), f.json, copied{from, args[1]})
		},
	}
}

// resolve returns the path of a directory that can be renamed, whether or not it exists.
func resolve(dir string) (string, error) {
	target, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, os.ErrNotExist) {
		target, err = dir, nil
	}
	if err != nil {
		return "", err
	}
	return filepath.Abs(target)
}

// replaceable returns why the store in a directory cannot be replaced. A damaged one can.
func replaceable(dir string) error {
	err := openStore(dir, func(*pebblemq.DB) error { return nil })
	if errors.Is(err, pebblemq.ErrLocked) || errors.Is(err, pebblemq.ErrNotStore) {
		return err
	}
	return nil
}

// restore puts a copy of the files next to the directory, and renames it when it is complete and
// opens.
func restore(from, to string) (err error) {
	fresh, old := to+".restoring", to+".replaced"
	for _, name := range []string{fresh, old} {
		if _, err := os.Stat(name); err == nil {
			return fmt.Errorf("%s is left from a restore that was cut short; look at it and remove it", name)
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(fresh))
		}
	}()
	if err := copyFiles(from, fresh); err != nil {
		return err
	}
	if err := openStore(fresh, func(*pebblemq.DB) error { return nil }); err != nil {
		return fmt.Errorf("%s does not open: %w", from, err)
	}
	if err := os.Rename(to, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(fresh, to); err != nil {
		return errors.Join(err, putBack(old, to))
	}
	if err := syncDir(filepath.Dir(to)); err != nil {
		return err
	}
	return os.RemoveAll(old)
}

// putBack ends a restore that has failed. There may have been nothing to replace.
func putBack(old, to string) error {
	if err := os.Rename(old, to); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// copyFiles copies a directory durably.
func copyFiles(from, to string) error {
	return filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		target := filepath.Join(to, below)
		switch {
		case e.IsDir():
			return os.MkdirAll(target, 0o755)
		case !e.Type().IsRegular():
			return fmt.Errorf("%w: %s is no regular file", pebblemq.ErrNotStore, name)
		}
		return copyFile(name, target)
	})
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
