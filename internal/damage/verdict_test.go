package damage

import (
	"fmt"
	"regexp"
	"strings"
)

// finding is what became of a case, the worst first.
type finding string

const (
	died       finding = "host died"
	hung       finding = "hang"
	wrongBytes finding = "wrong bytes"
	lostData   finding = "silent loss"
	misordered finding = "wrong order"
	untyped    finding = "untyped error"
	unnamed    finding = "error names no file"
	misnamed   finding = "error names another file"
	needless   finding = "needless error" // the damage concerns no data
	typed      finding = "typed error"    // right: it names the file
	allBack    finding = "all data back"  // right
)

var findings = []finding{died, hung, wrongBytes, lostData, misordered, untyped, unnamed, misnamed, needless, typed, allBack}

func (f finding) right() bool { return f == typed || f == allBack }

// verdict holds the findings of a case with an example of each.
type verdict struct {
	examples map[finding]string
	stacks   string // of a hang or a death
}

func (v verdict) worst() finding {
	for _, f := range findings {
		if _, found := v.examples[f]; found {
			return f
		}
	}
	return allBack
}

func (v verdict) String() string {
	var b strings.Builder
	for _, f := range findings {
		if example, found := v.examples[f]; found {
			fmt.Fprintf(&b, "%s: %s\n", strings.ToUpper(string(f)), example)
		}
	}
	return b.String()
}

func (v *verdict) add(f finding, format string, args ...any) {
	if v.examples == nil {
		v.examples = make(map[finding]string)
	}
	if v.examples[f] == "" {
		v.examples[f] = fmt.Sprintf(format, args...)
	}
}

// judge says what the lives of a case amount to. Nil harm is none.
func judge(h *harm, lives ...outcome) verdict {
	var v verdict
	for i, o := range lives {
		life := fmt.Sprintf("life %d, ", i+1)
		switch {
		case o.Hung:
			v.add(hung, "%sin %q", life, o.Last)
			v.stacks = o.Stderr
		case o.Exit != "" || !o.Ended:
			v.add(died, "%sin %q: %s\n%s", life, o.Last, o.Exit, cause(o.Stderr))
			v.stacks = o.Stderr
		}
		for _, r := range o.Reports {
			v.hear(h, life, r)
		}
	}
	return v
}

func (v *verdict) hear(h *harm, life string, r report) {
	text := fmt.Sprintf("%s%s: %s", life, r.What, firstLine(r.Text))
	switch r.Kind {
	case lost:
		v.add(lostData, "%s", text)
	case wrong:
		v.add(wrongBytes, "%s", text)
	case order:
		v.add(misordered, "%s", text)
	case failed:
		v.add(h.accepts(r), "%s", text)
	}
}

// accepts says what an error amounts to.
func (h *harm) accepts(r report) finding {
	if h == nil || h.harmless {
		return needless
	}
	if !h.typed(r.Is) {
		return untyped
	}
	for _, name := range h.names {
		if strings.Contains(r.Text, name) {
			return typed
		}
	}
	if fileName.MatchString(r.Text) {
		return misnamed
	}
	return unnamed
}

// typed reports whether an error is of a sort that damage may cause.
func (h *harm) typed(is []string) bool {
	for _, name := range is {
		switch name {
		case "ErrCorrupt", "ErrFailed":
			return true
		case "ErrUnreadable":
			return h.damage == unreadable
		case "ErrFormat":
			return h.kind == kindFormat || h.kind == kindMarker || h.kind == kindSynced
		}
	}
	return false
}

// fileName matches the names of the files in a store.
var fileName = regexp.MustCompile(`\d{6}\.(sst|log|blob)|MANIFEST-\d{6}|OPTIONS-\d{6}|marker\.|SYNCED|FORMAT`)

// cause returns the lines in which a process says why it dies.
func cause(stderr string) string {
	at := strings.Index(stderr, "panic: ")
	if f := strings.Index(stderr, "fatal error: "); at < 0 || f >= 0 && f < at {
		at = f
	}
	return firstLines(stderr[max(at, 0):], 30)
}

// firstLine shortens an error's text: the engine's may list all of its files.
func firstLine(s string) string {
	line, _, more := strings.Cut(s, "\n")
	if more || len(line) > 500 {
		return line[:min(len(line), 500)] + "..."
	}
	return line
}

func firstLines(s string, n int) string {
	lines := strings.SplitN(s, "\n", n+1)
	return strings.Join(lines[:min(n, len(lines))], "\n")
}
