package store

import (
	"strconv"
	"strings"
)

// A marker is an empty file of the engine, whose name says which MANIFEST is the current
// one, or of which format the files are. The marker with the highest version counts.
//
//	marker.manifest.000003.MANIFEST-000137
//	marker.format-version.000008.021
type marker struct {
	file    string
	what    string
	version uint64
	value   string
}

const (
	markerPrefix   = "marker."
	manifestMarker = "manifest"
	formatMarker   = "format-version"
)

// markerFiles says which files mark something.
func markerFiles(what string) string { return markerPrefix + what + ".*" }

func isMarker(name string) bool { return strings.HasPrefix(name, markerPrefix) }

// parseMarker reads the name of a file. It reports false if that is no marker, or a
// damaged one.
func parseMarker(name string) (m marker, ok bool) {
	what, ok := strings.CutPrefix(name, markerPrefix)
	if !ok {
		return m, false
	}
	what, rest, _ := strings.Cut(what, ".")
	version, value, ok := strings.Cut(rest, ".")
	if !ok {
		return m, false
	}
	v, err := strconv.ParseUint(version, 10, 64)
	return marker{name, what, v, value}, err == nil
}

// currentMarker returns the marker among the files of a directory that counts. It reports
// false if there is none.
func currentMarker(names []string, what string) (newest marker, ok bool) {
	for _, name := range names {
		if m, is := parseMarker(name); is && m.what == what && (!ok || m.version >= newest.version) {
			newest, ok = m, true
		}
	}
	return newest, ok
}
