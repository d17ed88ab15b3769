package main

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// printRows prints structs as a table, or as JSON with one object per line. The heads of the
// columns are the JSON names. Long values are cut in the table.
func printRows[T any](out io.Writer, asJSON bool, rows []T) error {
	if asJSON {
		lines := jsonLines(out)
		for _, r := range rows {
			if err := lines.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(heads(reflect.TypeFor[T]()), "\t"))
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(cells(reflect.ValueOf(r)), "\t"))
	}
	return w.Flush()
}

// printOne prints a struct as lines of name and value, or as a JSON object.
func printOne(out io.Writer, asJSON bool, row any) error {
	if asJSON {
		return jsonLines(out).Encode(row)
	}
	v := reflect.ValueOf(row)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	texts := cells(v)
	for i, head := range heads(v.Type()) {
		fmt.Fprintf(w, "%s\t%s\n", head, texts[i])
	}
	return w.Flush()
}

func jsonLines(out io.Writer) *json.Encoder {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return e
}

func heads(t reflect.Type) (list []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		list = append(list, columnHead(name))
	}
	return list
}

// columnHead turns inFlight into IN-FLIGHT.
func columnHead(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) && !unicode.IsUpper(rune(name[i-1])) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}

const cellWidth = 60

func cells(row reflect.Value) (list []string) {
	for i := range row.NumField() {
		list = append(list, cell(row.Field(i).Interface()))
	}
	return list
}

func cell(v any) string {
	switch x := v.(type) {
	case time.Time:
		if x.IsZero() {
			return "-"
		}
		return x.Local().Format(time.RFC3339)
	case []string:
		return strings.Join(x, ",")
	}
	text := strings.Map(printable, fmt.Sprint(v))
	if runes := []rune(text); len(runes) > cellWidth {
		text = string(runes[:cellWidth-1]) + "…"
	}
	if text == "" {
		return "-"
	}
	return text
}

// printable keeps what a payload holds from controlling the terminal.
func printable(r rune) rune {
	if r < ' ' || r >= 0x7f && r < 0xa0 {
		return '·'
	}
	return r
}
