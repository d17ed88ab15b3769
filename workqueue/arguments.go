package workqueue

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Limits of the arguments of a binding.
const (
	MaxArguments     = 64
	MaxArgumentBytes = 4 << 10 // names and values together
)

// Arguments qualify a binding; see Headers for what they mean there. To other
// kinds of exchange they mean nothing, but they are a part of the binding's
// identity, as in RabbitMQ. A value is a string or nil: the headers of a message
// are texts, so no other value could ever equal one, and it is refused.
type Arguments map[string]any

func (a Arguments) check() error {
	if len(a) > MaxArguments {
		return store.TooLarge("number of binding arguments", int64(len(a)), MaxArguments)
	}
	size := 0
	for name, value := range a {
		text, isText := value.(string)
		switch {
		case name == "":
			return store.Invalid("a binding argument has no name")
		case value != nil && !isText:
			return store.Invalid("binding argument %q is a %T, not a string or nil", name, value)
		case !utf8.ValidString(name):
			return store.Invalid("name %q of a binding argument is not UTF-8", name)
		}
		size += len(name) + len(text)
	}
	if size > MaxArgumentBytes {
		return store.TooLarge("binding arguments in bytes", int64(size), MaxArgumentBytes)
	}
	return nil
}

// argument is one of them. Nil says that the value was nil.
type argument struct {
	name, value string
	null        bool
}

// list returns the arguments in the order of their names.
func (a Arguments) list() []argument {
	list := make([]argument, 0, len(a))
	for name, value := range a {
		text, isText := value.(string)
		list = append(list, argument{name, text, !isText})
	}
	slices.SortFunc(list, func(x, y argument) int { return strings.Compare(x.name, y.name) })
	return list
}

const (
	argumentNull = 0
	argumentText = 1
)

// encodeArguments returns the canonical form, so that equal arguments are equal
// strings. It is empty if there are none.
func encodeArguments(list []argument) string {
	var b []byte
	for _, a := range list {
		b = appendText(b, a.name)
		if a.null {
			b = append(b, argumentNull)
			continue
		}
		b = appendText(append(b, argumentText), a.value)
	}
	return string(b)
}

// decodeArguments takes the canonical form only.
func decodeArguments(s string) ([]argument, error) {
	d := decoder{rest: []byte(s)}
	var list []argument
	for len(d.rest) > 0 {
		a := argument{name: d.text()}
		switch d.byte() {
		case argumentNull:
			a.null = true
		case argumentText:
			a.value = d.text()
		default:
			d.bad = true
		}
		if n := len(list); d.bad || n > 0 && list[n-1].name >= a.name {
			return nil, fmt.Errorf("%w: binding arguments %.64q", store.ErrCorrupt, s)
		}
		list = append(list, a)
	}
	if encodeArguments(list) != s {
		return nil, fmt.Errorf("%w: binding arguments %.64q", store.ErrCorrupt, s)
	}
	return list, nil
}

func publicArguments(list []argument) Arguments {
	if len(list) == 0 {
		return nil
	}
	a := make(Arguments, len(list))
	for _, x := range list {
		if a[x.name] = any(x.value); x.null {
			a[x.name] = nil
		}
	}
	return a
}
