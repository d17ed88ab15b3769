package prometheus

import (
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
)

// Options configure a Collector. The zero value and nil are the defaults.
type Options struct {
	// MaxObjects is how many objects of each kind get series of their own. Default: 100, at
	// least 1. See the package comment for the others.
	MaxObjects int

	// Timeout ends a collection that takes longer, for example because the disk hangs. The
	// metrics of the store itself are exported all the same. Default: 5 s.
	Timeout time.Duration

	// Labels are on all metrics. They tell several stores of a process apart. Default: none.
	Labels map[string]string
}

// Defaults of Options.
const (
	DefaultMaxObjects = 100
	DefaultTimeout    = 5 * time.Second
)

func (o *Options) withDefaults() (Options, error) {
	if o == nil {
		o = &Options{}
	}
	with := *o
	if with.MaxObjects == 0 {
		with.MaxObjects = DefaultMaxObjects
	}
	if with.Timeout == 0 {
		with.Timeout = DefaultTimeout
	}
	switch {
	case with.MaxObjects < 0:
		return with, fmt.Errorf("%w: prometheus: MaxObjects %d is negative", pebblemq.ErrInvalid, o.MaxObjects)
	case with.Timeout < 0:
		return with, fmt.Errorf("%w: prometheus: Timeout %v is negative", pebblemq.ErrInvalid, o.Timeout)
	}
	return with, nil
}
