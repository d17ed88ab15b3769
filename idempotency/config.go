package idempotency

import (
	"time"

	"github.com/pebblemq/pebblemq/internal/codec"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Limits and defaults.
const (
	MaxKeyBytes           = 1024
	DefaultExpiry         = 24 * time.Hour
	MinExpiry             = time.Millisecond
	MaxExpiry             = 100 * 365 * 24 * time.Hour
	DefaultMaxResultBytes = 1 << 20
	MaxMaxResultBytes     = 32 << 20
	DefaultCacheBytes     = 1 << 20
)

// Config is stored with a namespace. All of it can be altered: Alter and EnsureNamespace
// say from when on a change counts.
type Config struct {
	// Expiry is how long a completed key is remembered, counted from its
	// completion. Default 24 h, 1 ms to 100 years.
	Expiry time.Duration `json:"expiry"`
	// Lease is how long a key stays taken after its process died in a Do, counted from the next
	// opening of the namespace. Requests of the dead process have this time to arrive. Default
	// 0: it is free at once. At most Expiry.
	Lease time.Duration `json:"lease,omitempty"`
	// MaxResultBytes is the largest result that is stored. Default 1 MiB, at
	// most 32 MiB.
	MaxResultBytes int `json:"maxResultBytes"`
	// CacheBytes bounds the memory that the outcomes stored or asked for last are
	// kept in, so that a key that comes again soon needs no look at the disk. It
	// fills as needed; an outcome of more than a quarter of it is left out. It is
	// not stored: the first Open in a process counts. Default 1 MiB, negative for
	// no cache.
	CacheBytes int `json:"-"`
}

func (c *Config) normalize() (Config, error) {
	var full Config
	if c != nil {
		full = *c
	}
	if full.Expiry == 0 {
		full.Expiry = DefaultExpiry
	}
	if full.MaxResultBytes == 0 {
		full.MaxResultBytes = DefaultMaxResultBytes
	}
	if full.CacheBytes == 0 {
		full.CacheBytes = DefaultCacheBytes
	}
	switch {
	case full.Expiry < MinExpiry || full.Expiry > MaxExpiry:
		return full, store.Invalid("Expiry %v is not between %v and %v", full.Expiry, MinExpiry, MaxExpiry)
	case full.Lease < 0 || full.Lease > full.Expiry:
		return full, store.Invalid("Lease %v is not between 0 and Expiry, %v", full.Lease, full.Expiry)
	case full.MaxResultBytes < 0 || full.MaxResultBytes > MaxMaxResultBytes:
		return full, store.Invalid("MaxResultBytes %d is not between 1 and %d", full.MaxResultBytes, MaxMaxResultBytes)
	}
	return full, nil
}

// stored is what the catalog says of a namespace.
type stored = codec.Stored[Config, codec.None]

func decodeConfig(o *store.Object) (stored, error) {
	return codec.Decode[Config, codec.None](named(o.Name), o.Config)
}
