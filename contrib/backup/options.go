package backup

import (
	"fmt"
	"log/slog"

	"github.com/pebblemq/pebblemq"
)

// Options are choices of Run and Take. Nil is the default.
type Options struct {
	// TempDir is where the checkpoint is made that is copied then. On the file system of the store it
	// takes up nearly no space, because tables are shared by hard links. Default: that of the system.
	TempDir string

	// Keep is how many generations are kept; the oldest ones go. Default: all.
	Keep int

	// Logger gets a line at Info for each generation of Run, and at Error for one that failed.
	// Default: slog.Default.
	Logger *slog.Logger
}

func (o *Options) withDefaults() (Options, error) {
	full := Options{}
	if o != nil {
		full = *o
	}
	if full.Keep < 0 {
		return full, invalid("Keep %d is negative", full.Keep)
	}
	if full.Logger == nil {
		full.Logger = slog.Default()
	}
	return full, nil
}

func invalid(format string, values ...any) error {
	return fmt.Errorf("%w: backup: "+format, append([]any{pebblemq.ErrInvalid}, values...)...)
}
