package workqueue

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/workqueue/internal/routing"
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
		case !utf8.ValidString(text):
			return store.Invalid("binding argument %q is not UTF-8", name)
		}
		size += len(name) + len(text)
	}
	if size > MaxArgumentBytes {
		return store.TooLarge("binding arguments in bytes", int64(size), MaxArgumentBytes)
	}
	return nil
}

// list returns the arguments in the order of their names.
func (a Arguments) list() []routing.Argument {
	list := make([]routing.Argument, 0, len(a))
	for name, value := range a {
		text, isText := value.(string)
		list = append(list, routing.Argument{Name: name, Value: text, Null: !isText})
	}
	slices.SortFunc(list, func(x, y routing.Argument) int { return strings.Compare(x.Name, y.Name) })
	return list
}

const (
	argumentNull = 0
	argumentText = 1
)

// encodeArguments returns the canonical form, so that equal arguments are equal
// strings. It is empty if there are none.
func encodeArguments(list []routing.Argument) string {
	var b []byte
	for _, a := range list {
		b = appendText(b, a.Name)
		if a.Null {
			b = append(b, argumentNull)
			continue
		}
		b = appendText(append(b, argumentText), a.Value)
	}
	return string(b)
}

// decodeArguments takes the canonical form only.
func decodeArguments(s string) ([]routing.Argument, error) {
	d := decoder{rest: []byte(s)}
	var list []routing.Argument
	for len(d.rest) > 0 {
		a := routing.Argument{Name: d.text()}
		switch d.byte() {
		case argumentNull:
			a.Null = true
		case argumentText:
			a.Value = d.text()
		default:
			d.bad = true
		}
		if n := len(list); d.bad || n > 0 && list[n-1].Name >= a.Name {
			return nil, fmt.Errorf("%w: binding arguments %.64q", store.ErrCorrupt, s)
		}
		list = append(list, a)
	}
	if encodeArguments(list) != s {
		return nil, fmt.Errorf("%w: binding arguments %.64q", store.ErrCorrupt, s)
	}
	return list, nil
}

func publicArguments(list []routing.Argument) Arguments {
	if len(list) == 0 {
		return nil
	}
	a := make(Arguments, len(list))
	for _, x := range list {
		if a[x.Name] = any(x.Value); x.Null {
			a[x.Name] = nil
		}
	}
	return a
}
