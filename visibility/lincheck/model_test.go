package lincheck

import (
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"
)

// The operations.
type kind int

const (
	send kind = iota
	receive
	remove
	release
	extend
	drain // takes out everything, at the end
)

func (k kind) String() string {
	return [...]string{"send", "receive", "delete", "release", "extend", "drain"}[k]
}

type input struct {
	kind    kind
	id      string // of the message
	group   string // of what is sent
	receipt string
}

// The outcomes.
type outcome int

const (
	fine outcome = iota
	stale
	notInFlight
	unknown // a crash came first
)

type output struct {
	outcome
	id      string   // of what was received, empty if nothing was
	receipt string   // of it
	ids     []string // of what was drained, sorted
}

// message is one of the model's.
type message struct {
	id, group string
	inFlight  bool
	gone      bool
	receipt   string // the latest
}

// queue is a state of the model: all messages that were ever sent, in order.
type queue []message

// rules are what a history is held to.
type rules struct {
	fifo    bool
	crashes bool // then order may be left for what may have caused them
}

func (r rules) model() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init:              func() []any { return []any{queue{}} },
		Step:              func(state, in, out any) []any { return r.step(state.(queue), in.(input), out.(output)) },
		Equal:             func(a, b any) bool { return slices.Equal(a.(queue), b.(queue)) },
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
	}
	return m.ToModel()
}

// step returns the states that the queue may be in after an operation with that
// outcome, none if it cannot have had it.
func (r rules) step(q queue, in input, out output) []any {
	if out.outcome == unknown {
		return append(r.guesses(q, in), q) // it may not have happened
	}
	switch in.kind {
	case send:
		return states(append(slices.Clone(q), message{id: in.id, group: in.group}))
	case receive:
		return r.received(q, out)
	case drain:
		return drained(q, out)
	}
	return r.settled(q, in, out)
}

func states(q queue) []any { return []any{q} }

// with returns the queue with another message i.
func (q queue) with(i int, m message) queue {
	q = slices.Clone(q)
	q[i] = m
	return q
}

func (q queue) find(id string) int {
	return slices.IndexFunc(q, func(m message) bool { return m.id == id })
}

// available are the messages that a receive may return, in order.
func (r rules) available(q queue) (found []int) {
	blocked := map[string]bool{}
	for i, m := range q {
		if m.gone || r.fifo && blocked[m.group] {
			continue
		}
		if !m.inFlight {
			found = append(found, i)
		}
		blocked[m.group] = true
	}
	return found
}

func (r rules) received(q queue, out output) []any {
	available := r.available(q)
	if out.id == "" {
		if len(available) > 0 && !r.crashes {
			return nil
		}
		return states(q)
	}
	i := slices.IndexFunc(available, func(i int) bool { return q[i].id == out.id })
	if i < 0 || i > 0 && !r.crashes {
		return nil
	}
	m := q[available[i]]
	m.inFlight, m.receipt = true, out.receipt
	return states(q.with(available[i], m))
}

func (r rules) settled(q queue, in input, out output) []any {
	i := q.find(in.id)
	if i < 0 {
		return nil
	}
	m := q[i]
	if want := r.answer(m, in); out.outcome != want {
		return nil
	} else if want != fine {
		return states(q)
	}
	return states(q.with(i, m.after(in.kind)))
}

// answer is what the queue says to one who has a receipt.
func (r rules) answer(m message, in input) outcome {
	switch {
	case m.gone && in.kind == remove:
		return fine
	case m.gone:
		return notInFlight
	case m.receipt != in.receipt:
		return stale
	case !m.inFlight && (in.kind != remove || r.fifo):
		return notInFlight
	}
	return fine
}

func (m message) after(k kind) message {
	switch k {
	case remove:
		m.gone, m.inFlight = true, false
	case release:
		m.inFlight = false
	}
	return m
}

// drained checks that everything came out that is not gone.
func drained(q queue, out output) []any {
	var want []string
	for _, m := range q {
		if !m.gone {
			want = append(want, m.id)
		}
	}
	slices.Sort(want)
	if !slices.Equal(want, out.ids) {
		return nil
	}
	return states(q)
}

// lost stands for a receipt that no client has seen.
const lost = "lost"

// guesses are the states after an operation whose outcome is unknown, if it
// happened.
func (r rules) guesses(q queue, in input) (found []any) {
	switch in.kind {
	case send:
		return states(append(slices.Clone(q), message{id: in.id, group: in.group}))
	case receive:
		for _, i := range r.available(q) {
			m := q[i]
			m.inFlight, m.receipt = true, lost
			found = append(found, q.with(i, m))
		}
		return found
	}
	if i := q.find(in.id); i >= 0 && r.answer(q[i], in) == fine {
		return states(q.with(i, q[i].after(in.kind)))
	}
	return nil
}
