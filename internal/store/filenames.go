package store

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The engine names its files by a number. Its markers are in marker.go.
const (
	tableSuffix    = ".sst"
	blobSuffix     = ".blob"
	walSuffix      = ".log"
	manifestPrefix = "MANIFEST-"
)

// fileNumber returns the number in the name of one of the engine's files.
func fileNumber(name, prefix, suffix string) (n uint64, ok bool) {
	digits, isPrefix := strings.CutPrefix(name, prefix)
	digits, isSuffix := strings.CutSuffix(digits, suffix)
	if !isPrefix || !isSuffix {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

func tableNumber(name string) (uint64, bool)    { return fileNumber(name, "", tableSuffix) }
func walNumber(name string) (uint64, bool)      { return fileNumber(name, "", walSuffix) }
func manifestNumber(name string) (uint64, bool) { return fileNumber(name, manifestPrefix, "") }

func tableName(n uint64) string    { return fmt.Sprintf("%06d%s", n, tableSuffix) }
func walName(n uint64) string      { return fmt.Sprintf("%06d%s", n, walSuffix) }
func manifestName(n uint64) string { return fmt.Sprintf("%s%06d", manifestPrefix, n) }

// isTable reports whether a name or a path is that of a table.
func isTable(name string) bool {
	return strings.HasSuffix(name, tableSuffix) || strings.HasSuffix(name, blobSuffix)
}

func isWAL(name string) bool { _, ok := walNumber(name); return ok }

// filesOf returns the names that are of a kind, in order.
func filesOf(names []string, is func(name string) bool) []string {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !is(name) })
	slices.Sort(names)
	return names
}

// listFiles names the files of a directory that are of a kind, in order.
func listFiles(fs vfs.FS, dir string, is func(name string) bool) []string {
	names, err := fs.List(dir)
	if err != nil {
		return nil
	}
	return filesOf(names, is)
}
