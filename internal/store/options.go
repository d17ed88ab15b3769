package store

import (
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Durability says when a change is reported done.
type Durability uint8

const (
	// Default is the store's durability, or the verb's where it has its own.
	Default Durability = iota
	// Sync returns after the fsync that covers the change.
	Sync
	// NoSync returns as soon as the change is sequenced in memory. An fsync begins within the
	// sync interval, if the disk keeps up.
	NoSync
)

func (d Durability) check() error {
	if d > NoSync {
		return Invalid("Durability %d is neither Sync nor NoSync", uint8(d))
	}
	return nil
}

func (d Durability) String() string {
	switch d {
	case Sync:
		return "Sync"
	case NoSync:
		return "NoSync"
	}
	return "Default"
}

// Options configure a Store. Open fills in the defaults.
type Options struct {
	Dir          string
	FS           vfs.FS // nil: the operating system's
	InMemory     bool   // FS is volatile: small buffers, no disk checks
	Durability   Durability
	SyncInterval time.Duration
	MemoryBytes  int64
	Logger       *slog.Logger
	Clock        func() time.Time
	Tracer       Tracer // nil: none
	// NoCompactions is for tests of what reads do with damage. A compaction may meet it
	// before, and is parked then.
	NoCompactions bool
}

// Defaults and bounds of Options.
const (
	DefaultSyncInterval = 10 * time.Millisecond
	DefaultMemoryBytes  = 16 << 20
	DefaultMemoryInMem  = 4 << 20
	MinMemoryBytes      = 1 << 20
	MaxSyncInterval     = time.Minute
)

func (o *Options) normalize() error {
	switch {
	case o.SyncInterval < 0 || o.SyncInterval > MaxSyncInterval:
		return Invalid("SyncInterval %v is not between 0 and %v", o.SyncInterval, MaxSyncInterval)
	case o.MemoryBytes != 0 && o.MemoryBytes < MinMemoryBytes:
		return Invalid("MemoryBytes %d is below the minimum of %d", o.MemoryBytes, MinMemoryBytes)
	}
	if err := o.Durability.check(); err != nil {
		return err
	}
	if o.Durability == Default {
		o.Durability = Sync
	}
	if o.SyncInterval == 0 {
		o.SyncInterval = DefaultSyncInterval
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = DefaultMemoryBytes
		if o.InMemory {
			o.MemoryBytes = DefaultMemoryInMem
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	return nil
}
