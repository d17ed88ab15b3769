package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pebblemq/pebblemq"
)

// pipe runs a command in this process and returns what it prints.
func pipe(t *testing.T, in io.Reader, args ...string) string {
	t.Helper()
	var out, notes bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(&out)
	root.SetErr(&notes)
	require.NoError(t, root.ExecuteContext(t.Context()))
	return out.String()
}

func TestLoadMakesTheStoreThatWasDumped(t *testing.T) {
	defer goleak.VerifyNone(t)
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	fill(t, from)
	dump := pipe(t, nil, "dump", from)
	pipe(t, strings.NewReader(dump), "load", to)

	assert.Equal(t, lines(t, dump), lines(t, pipe(t, nil, "dump", to)))
	assert.Equal(t, objects(t, from), objects(t, to))
	assert.Contains(t, pipe(t, nil, "verify", to), "FINDINGS  0")
}

// lines returns the lines of a dump without what is not carried. Ends of delays are to the minute,
// offsets count from 0.
func lines(t *testing.T, dump string) (list []line) {
	next := make(map[[2]any]int64)
	for text := range strings.Lines(dump) {
		var l line
		require.NoError(t, json.Unmarshal([]byte(text), &l))
		switch {
		case l.Record != nil:
			p := [2]any{l.Record.Topic, l.Record.Partition}
			l.Record.Offset = next[p]
			next[p]++
		case l.Group != nil:
			for n := range l.Group.Positions {
				l.Group.Positions[n].Next = 0
			}
		case l.VisibilityMessage != nil:
			m := l.VisibilityMessage
			m.Sent, m.Due = time.Time{}, m.Due.Round(time.Minute)
		case l.Key != nil:
			l.Key.Expires = time.Time{}
		case l.Message != nil:
			m := l.Message
			m.Due, m.Expires, m.Deaths = m.Due.Round(time.Minute), m.Expires.Round(time.Minute), nil
		}
		list = append(list, l)
	}
	return list
}

// objects returns what Describe says of a store, without times, IDs and offsets.
func objects(t *testing.T, dir string) map[string]map[string]float64 {
	all := make(map[string]map[string]float64)
	require.NoError(t, withStore(dir, func(db *pebblemq.DB) error {
		d, err := describe(context.Background(), db)
		for _, o := range d.Objects {
			figures := make(map[string]float64)
			for _, n := range o.Numbers() {
				figures[n.Name] = n.Value
			}
			for _, name := range []string{"appended", "bytes", "oldest_age_seconds"} { // trimmed records; deaths
				delete(figures, name)
			}
			all[title(o)] = figures
		}
		return err
	}))
	return all
}

func TestLoadRefusesADumpThatWasCutShort(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	fill(t, from)
	dump := pipe(t, nil, "dump", from)
	cut := dump[:strings.LastIndex(strings.TrimSpace(dump), "\n")+1]
	root := newRoot()
	root.SetArgs([]string{"load", to})
	root.SetIn(strings.NewReader(cut))
	err := root.ExecuteContext(t.Context())
	require.ErrorContains(t, err, "cut short")
	assert.Equal(t, exitUsage, exitCode(err))
	assert.NoDirExists(t, to)
}
