//go:build race

package store_test

// underRace thins out the exhaustive tests: the race detector switches on the
// engine's own checks too, and all of it takes ten times as long.
const underRace = true
