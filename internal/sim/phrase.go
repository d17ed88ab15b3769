package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// phrase is the form of a step: words, places for values in braces, and clauses in brackets that
// may be missing. A clause begins with a word of its own.
//
//	send {n} messages to {queue} [group {group}] [delay {delay}]
type phrase struct {
	must []string
	may  [][]string
}

func parsePhrase(text string) phrase {
	head, rest, _ := strings.Cut(text, "[")
	p := phrase{must: strings.Fields(head)}
	for _, clause := range strings.Split(rest, "[") {
		if words := strings.Fields(strings.TrimRight(strings.TrimSpace(clause), "]")); len(words) > 0 {
			p.may = append(p.may, words)
		}
	}
	return p
}

// args are the values of a step by place. A clause without a place has its last word as key.
type args map[string]string

func (a args) has(place string) bool { _, ok := a[place]; return ok }

// int is the value of a place, 0 if it is missing.
func (a args) int(place string) int {
	n, _ := strconv.Atoi(a[place])
	return n
}

// span is a duration, 0 if it is missing.
func (a args) span(place string) time.Duration {
	d, _ := time.ParseDuration(a[place])
	return d
}

func isPlace(word string) bool { return strings.HasPrefix(word, "{") }

func placeOf(word string) string { return strings.Trim(word, "{}") }

// match reads the values of a text; ok is false if it has another form.
func (p phrase) match(words []string) (a args, ok bool) {
	a = make(args)
	n := take(a, p.must, words)
	if n == 0 {
		return nil, false
	}
	words = words[n:]
	for _, clause := range p.may {
		n := take(a, clause, words)
		if key := clauseKey(clause); n > 0 && !a.has(key) {
			a[key] = "yes"
		}
		words = words[n:]
	}
	return a, len(words) == 0
}

// take reads the values of some words of a phrase, and returns how many words of the text they
// are: none, if it has other words.
func take(a args, form, words []string) int {
	if len(words) < len(form) {
		return 0
	}
	for i, w := range form {
		if !isPlace(w) && w != words[i] {
			return 0
		}
	}
	for i, w := range form {
		if isPlace(w) {
			a[placeOf(w)] = words[i]
		}
	}
	return len(form)
}

// text is the step with these values.
func (p phrase) text(a args) string {
	words := fill(nil, p.must, a)
	for _, clause := range p.may {
		if a.has(clauseKey(clause)) {
			words = fill(words, clause, a)
		}
	}
	return strings.Join(words, " ")
}

// clauseKey is the value that says whether a clause is there.
func clauseKey(clause []string) string {
	if i := slices.IndexFunc(clause, isPlace); i >= 0 {
		return placeOf(clause[i])
	}
	return clause[len(clause)-1]
}

func fill(words, form []string, a args) []string {
	for _, w := range form {
		if isPlace(w) {
			w = a[placeOf(w)]
		}
		words = append(words, w)
	}
	return words
}

// step is one thing that happens.
type step struct {
	verb *verb
	args args
	// meanwhile says that the step does not wait for the one before it.
	meanwhile bool
}

const meanwhile = "meanwhile"

func (s step) String() string {
	if text := s.verb.phrase.text(s.args); !s.meanwhile {
		return text
	} else {
		return meanwhile + " " + text
	}
}

// parseScenario reads a step from each line. Empty lines and what follows a # are comments.
func parseScenario(verbs []*verb, text string) (steps []step, err error) {
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		s, ok := parseStep(verbs, words)
		if !ok {
			return nil, fmt.Errorf("line %d: no verb reads like %q", n+1, line)
		}
		steps = append(steps, s)
	}
	return steps, nil
}

func parseStep(verbs []*verb, words []string) (s step, ok bool) {
	if words[0] == meanwhile {
		s.meanwhile, words = true, words[1:]
	}
	for _, v := range verbs {
		if a, ok := v.phrase.match(words); ok {
			s.verb, s.args = v, a
			return s, true
		}
	}
	return s, false
}
