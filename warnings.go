package pebblemq

import (
	"context"
	"log/slog"
)

// warnings is the handler of a store without a Logger. It gives the records from warnings
// up to slog.Default, as that is at the moment.
type warnings struct{ to func() slog.Handler }

func newWarnings() warnings { return warnings{func() slog.Handler { return slog.Default().Handler() }} }

// Enabled implements slog.Handler.
func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.to().Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (w warnings) Handle(ctx context.Context, r slog.Record) error { return w.to().Handle(ctx, r) }

// WithAttrs implements slog.Handler.
func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{func() slog.Handler { return w.to().WithAttrs(attrs) }}
}

// WithGroup implements slog.Handler.
func (w warnings) WithGroup(name string) slog.Handler {
	return warnings{func() slog.Handler { return w.to().WithGroup(name) }}
}
