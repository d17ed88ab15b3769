package store

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// formatMajor is the engine's on-disk format. It is set by hand: left alone
// the engine takes its oldest, and a newer one is for a new FormatVersion.
const formatMajor = pebble.FormatTableFormatV6

// filterBits is how many bits each key adds to its table's filter. The filter answers most
// lookups of absent keys, such as new idempotency keys, without a read: only one in a hundred
// reads in vain.
const filterBits = 10

// lowerTableSize is that of tables in the first level below the flushed ones; each
// further level doubles it.
const lowerTableSize = 4 << 20

// memTables is how many memtables there are before writes wait for a flush.
const memTables = 4

// manifestSize is the size at which the engine begins a new MANIFEST. It keeps the one
// before, too.
const manifestSize = 256 << 10

func memTableSize(o Options) int64 { return o.MemoryBytes / 4 }

// engineOptions turns the memory budget into what the engine understands.
// Memtables reserve their memory from the block cache, so it must hold both.
func (s *Store) engineOptions() *pebble.Options {
	opts := &pebble.Options{
		CacheSize:                   s.opts.MemoryBytes,
		FS:                          s.guard,
		FormatMajorVersion:          formatMajor,
		Logger:                      engineLogger{s},
		MemTableSize:                uint64(memTableSize(s.opts)),
		MemTableStopWritesThreshold: memTables,
		CompactionConcurrencyRange:  s.compactions.concurrency,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       l0Stop,
		MaxOpenFiles:                200,
		MaxManifestFileSize:         manifestSize,
	}
	// A flushed memtable is one table for each kind, not several: every table costs
	// an fsync or two that those of the WAL wait behind. Lower levels keep theirs.
	opts.TargetFileSizes[0], opts.TargetFileSizes[1] = memTableSize(s.opts), lowerTableSize
	opts.Experimental.FileCacheShards = 1
	opts.Experimental.CompactionScheduler = s.compactions
	opts.Experimental.EnableDeleteOnlyCompactionExcises = func() bool { return true }
	opts.Experimental.SpanPolicyFunc = s.bridges.cuts.policy
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(filterBits)
	}
	opts.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	opts.EventListener = &pebble.EventListener{
		BackgroundError: s.backgroundError,
		FlushBegin:      func(pebble.FlushInfo) { s.gap.flushBegins() },
		FlushEnd: func(i pebble.FlushInfo) {
			s.guard.tablesWritten(i.Err)
			s.bridges.tables(len(i.Output), 0)
			s.layersChanged()
		},
		CompactionEnd: func(i pebble.CompactionInfo) {
			s.guard.tablesWritten(i.Err)
			s.compactions.ended(i.Err)
			s.bridges.compacted(i)
			s.layersChanged()
		},
		DataCorruption: s.corrupted,
		WALCreated:     func(pebble.WALCreateInfo) { s.gap.walRotated() },
	}
	return opts
}

// engineLogger passes the engine's words on. The engine calls Fatalf when it
// cannot go on, and goes on wrongly if that returns.
type engineLogger struct{ s *Store }

func (l engineLogger) Infof(format string, args ...any) {
	if l.s.log.Enabled(context.Background(), slog.LevelDebug) {
		l.s.log.Debug("engine: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

func (l engineLogger) Errorf(format string, args ...any) {
	l.s.log.Error("engine: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (l engineLogger) Fatalf(format string, args ...any) {
	l.s.poison(fmt.Errorf("engine: "+strings.TrimSpace(format), args...))
	l.s.guard.park()
}
