package storetest

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// ErrorLog is a slog.Handler that keeps what is logged as an error.
type ErrorLog struct {
	mu    sync.Mutex
	lines []string
}

// Logger returns a logger that writes to it.
func (l *ErrorLog) Logger() *slog.Logger { return slog.New(l) }

// Lines returns the errors that contain all the given texts: message, then attributes.
func (l *ErrorLog) Lines(texts ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		all := true
		for _, text := range texts {
			all = all && strings.Contains(line, text)
		}
		if all {
			found = append(found, line)
		}
	}
	return found
}

// Enabled is for slog.
func (l *ErrorLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }

// Handle is for slog.
func (l *ErrorLog) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, b.String())
	return nil
}

// WithAttrs is for slog.
func (l *ErrorLog) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup is for slog.
func (l *ErrorLog) WithGroup(string) slog.Handler { return l }
