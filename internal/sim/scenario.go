package main

import (
	"fmt"
	"strings"
)

// scenario is what happens in a world. Its file begins with the seed, and with the name of the
// fault if it is known and expected:
//
//	world 42
//	fails V2
//	open visibility queue v1 fifo
//	send 5000 messages to v1 group a
type scenario struct {
	seed  uint64
	fails string
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

// head is the lines before the steps.
func (s scenario) head() string {
	head := fmt.Sprintf("world %d\n", s.seed)
	if s.fails != "" {
		head += "fails " + s.fails + "\n"
	}
	return head
}

func (s scenario) String() string { return s.head() + s.text() }

// parseFile reads a scenario.
func parseFile(text string) (s scenario, err error) {
	head, rest, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if _, err := fmt.Sscanf(head, "world %d", &s.seed); err != nil {
		return s, fmt.Errorf("the first line is not \"world SEED\": %q", head)
	}
	if name, more, _ := strings.Cut(rest, "\n"); strings.HasPrefix(name, "fails ") {
		s.fails, rest = strings.TrimSpace(strings.TrimPrefix(name, "fails ")), more
	}
	s.steps, err = parseScenario(newWorld(s.seed).verbs, rest)
	return s, err
}

// chances is how often a scenario is played whose fault is expected, because a seed does not
// determine who comes first at one moment.
const chances = 60

// check plays a scenario and compares its end with what is expected.
func (s scenario) check(p playOptions) (result, error) {
	if s.fails != "" {
		p.counts = s.fails
	}
	r := replay(s, p)
	for n := 1; n < chances && s.fails != "" && r.fault == ""; n++ {
		r = replay(s, p)
	}
	r.fails = s.fails
	switch _, fault, _ := strings.Cut(r.fault, "): "); {
	case s.fails == "" && r.fault != "":
		return r, fmt.Errorf("%s", r.fault)
	case s.fails != "" && r.fault == "":
		return r, fmt.Errorf("%s is expected and does not show: is it mended?", s.fails)
	case !strings.HasPrefix(fault, s.fails):
		return r, fmt.Errorf("%s is expected, not %s", s.fails, r.fault)
	}
	return r, nil
}
