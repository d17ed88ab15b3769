package pebblemq

import (
	"context"
	"log/slog"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Durability says when a change is reported done. A store has one, a verb may
// have its own default, and WithDurability overrides both.
type Durability uint8

const (
	// Default stands for the durability of the verb or of the store.
	Default Durability = 0

	// Sync reports a change done after the fsync that covers it. It survives a crash of the
	// process and a loss of power. No other call sees it before.
	Sync Durability = 1

	// NoSync reports a change done as soon as it is sequenced in memory. Others see it at once,
	// or after the Sync changes before it that are on their way to the disk. An fsync begins
	// within Options.SyncInterval. A crash of the process and a loss of power both take the
	// changes that no fsync has covered by then: always the newest, never one from the middle.
	// An acknowledgement that is not part of a transaction is the exception (an Ack of a work
	// queue, a Delete of a visibility queue): a crash may take it and keep later changes, and
	// the message is delivered again.
	//
	// These are the changes of SyncInterval plus the duration of one fsync, while the disk
	// keeps up. If the disk stalls or is full, it is everything accepted since
	// then, without a limit. Stats.UnsyncedAge tells how much it would be now,
	// and the store logs a warning when it exceeds SyncInterval by a second.
	NoSync Durability = 2
)

// The numbers are those of the kernel. If two differ, an index is out of range.
var _ = [...]struct{}{
	[1]struct{}{}[Default-Durability(store.Default)],
	[1]struct{}{}[Sync-Durability(store.Sync)],
	[1]struct{}{}[NoSync-Durability(store.NoSync)],
}

// String returns the name of the constant.
func (d Durability) String() string { return store.Durability(d).String() }

// WithDurability returns a context that makes d the durability of every call
// that it is passed to, in all packages of this module:
//
//	topic.Append(pebblemq.WithDurability(ctx, pebblemq.NoSync), record)
//
// An unknown Durability or a nil ctx makes that call return ErrInvalid.
func WithDurability(ctx context.Context, d Durability) context.Context {
	return store.WithDurability(ctx, store.Durability(d))
}

// Options configure a store for this process; nothing of them is stored. The
// zero value and nil are the defaults.
type Options struct {
	// Durability of changes that do not choose their own. Default: Sync.
	Durability Durability

	// SyncInterval is the longest time between a NoSync change and the
	// beginning of the fsync that covers it. The fsync takes as long as the
	// disk takes. Default 10 ms, at most 1 minute.
	SyncInterval time.Duration

	// MemoryBytes is the budget for the engine's write buffers and block cache together. They
	// grow into it as needed. The layers' windows of waiting messages come on top, bounded by
	// each queue's settings. So do the filters of idempotency keys, up to a quarter of it, and
	// each namespace's cache of outcomes. Default 16 MiB, 4 MiB for OpenMemory; at least 1 MiB.
	MemoryBytes int64

	// Logger receives what happens in the background: failures of the disk as
	// errors, a full disk or another shortage as a warning, the engine's own
	// news as debug.
	// Default: slog.Default, from warnings up. Give a logger with slog.DiscardHandler to
	// keep the store quiet.
	Logger *slog.Logger

	// Clock replaces time.Now for everything that is stored or falls due. It
	// must be safe for concurrent use. A jump of the clock is noticed within
	// a minute: while anything is due later, the store wakes up that often. A
	// store with nothing due sleeps. Default: time.Now.
	Clock func() time.Time

	// Tracer follows messages. Default: none, which costs nothing.
	Tracer Tracer
}

func (o *Options) kernel() store.Options {
	if o == nil {
		o = &Options{}
	}
	logger := o.Logger
	if logger == nil {
		logger = slog.New(newWarnings())
	}
	ko := store.Options{
		Durability:   store.Durability(o.Durability),
		SyncInterval: o.SyncInterval,
		MemoryBytes:  o.MemoryBytes,
		Logger:       logger,
		Clock:        o.Clock,
	}
	if o.Tracer != nil {
		ko.Tracer = tracing{o.Tracer}
	}
	return ko
}
