//go:build race

package queue

import "flag"

// The race detector makes the model test many times slower: fewer checks do.
func init() { _ = flag.Set("rapid.checks", "30") }
