package routing

import "strconv"

// Binding is what an exchange compares messages with.
type Binding struct {
	Key       string
	Arguments []Argument // in the order of their names
}

// Argument qualifies a binding of a Headers exchange. Null asks for the header to be there, with
// whatever value.
type Argument struct {
	Name, Value string
	Null        bool
}

// identity is the same for the same arguments only.
func (b Binding) identity() string {
	var text []byte
	for _, a := range b.Arguments {
		text = strconv.AppendQuote(text, a.Name)
		if !a.Null {
			text = strconv.AppendQuote(text, a.Value)
		}
		text = append(text, ',')
	}
	return string(text)
}
