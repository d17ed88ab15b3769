package main

import (
	"errors"
	"fmt"
	"strings"
)

// scenario is what happens in a world. Its file begins with the seed:
//
//	world 42
//	open visibility queue v1 fifo
//	send 5000 messages to v1 group a
type scenario struct {
	seed  uint64
	steps []step
}

// text is the steps, a line each.
func (s scenario) text() string {
	var b strings.Builder
	for _, step := range s.steps {
		fmt.Fprintln(&b, step)
	}
	return b.String()
}

// head is the line before the steps.
func (s scenario) head() string { return fmt.Sprintf("world %d\n", s.seed) }

func (s scenario) String() string { return s.head() + s.text() }

// parseFile reads a scenario.
func parseFile(text string) (s scenario, err error) {
	head, rest, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if _, err := fmt.Sscanf(head, "world %d", &s.seed); err != nil {
		return s, fmt.Errorf("the first line is not \"world SEED\": %q", head)
	}
	s.steps, err = parseScenario(newWorld(s.seed).verbs, rest)
	return s, err
}

// check plays a scenario.
func (s scenario) check(p playOptions) (result, error) {
	r := replay(s, p)
	if r.fault != "" {
		return r, errors.New(r.fault)
	}
	return r, nil
}
