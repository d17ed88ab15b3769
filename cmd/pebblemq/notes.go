package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
)

// notes count what a dump or a load does not carry.
type notes map[string]int

func (n notes) add(what string) { n[what]++ }

func (n notes) print(out io.Writer) {
	for _, what := range slices.Sorted(maps.Keys(n)) {
		fmt.Fprintf(out, "pebblemq: not carried: %s (%d)\n", what, n[what])
	}
}
