package admin

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
)

// A struct of parameters has fields with the tags
//
//	in:"name"       the name of the parameter
//	about:"text"    what it is
//	enum:"a b c"    the values that it may have, besides none
//
// A parameter that is in the path of the route comes from there. The others come from the query of a
// GET, and from the form or the JSON object of a POST. All are strings in a form and in a query:
// times in RFC 3339, durations such as 1m30s. An unknown parameter is an error.

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{pebblemq.ErrInvalid}, args...)...)
}

// fieldsOf calls f for each parameter of a struct, those of embedded structs included.
func fieldsOf(t reflect.Type, f func(field reflect.StructField)) {
	for _, field := range reflect.VisibleFields(t) {
		if field.Tag.Get("in") != "" {
			f(field)
		}
	}
}

// readInput returns the parameters of a request as the struct of its route.
func readInput(r *http.Request, rt route) (any, error) {
	given, err := parameters(r, rt)
	if err != nil {
		return nil, err
	}
	in := reflect.New(rt.in).Elem()
	fieldsOf(rt.in, func(field reflect.StructField) {
		name := field.Tag.Get("in")
		text, ok := given[name]
		delete(given, name)
		if !ok || text == "" || err != nil {
			return
		}
		if allowed := strings.Fields(field.Tag.Get("enum")); len(allowed) > 0 && !slices.Contains(allowed, text) {
			err = invalid("%s is %.40q, and not one of %s", name, text, strings.Join(allowed, ", "))
			return
		}
		if bad := set(in.FieldByIndex(field.Index), text); bad != nil {
			err = invalid("%s is %.40q: %v", name, text, bad)
		}
	})
	if err != nil {
		return nil, err
	}
	for name := range given {
		return nil, invalid("unknown parameter %.40q", name)
	}
	return in.Interface(), nil
}

// parameters returns what a request has given, as texts.
func parameters(r *http.Request, rt route) (map[string]string, error) {
	given, err := bodyParameters(r, rt)
	if err != nil {
		return nil, err
	}
	if rt.method == http.MethodGet {
		for name, values := range r.URL.Query() {
			given[name] = strings.Join(values, ",")
		}
	}
	for _, name := range pathParameters(rt.path) {
		given[name] = r.PathValue(name)
	}
	return given, nil
}

func bodyParameters(r *http.Request, rt route) (map[string]string, error) {
	given := make(map[string]string)
	if rt.method == http.MethodGet {
		return given, nil
	}
	if isForm(r) {
		if err := r.ParseForm(); err != nil {
			return nil, invalidBody(err)
		}
		readForm(r.PostForm, given)
		return given, nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, refusal{http.StatusUnsupportedMediaType, "the Content-Type of a change is application/json"}
	}
	var object map[string]any
	d := json.NewDecoder(r.Body)
	d.UseNumber()
	if err := d.Decode(&object); err != nil && !errors.Is(err, io.EOF) { // no body is no parameter
		return nil, invalidBody(err)
	}
	for name, value := range object {
		switch v := value.(type) {
		case string:
			given[name] = v
		case map[string]any:
			given[name] = lines(v)
		default:
			given[name] = fmt.Sprint(v)
		}
	}
	return given, nil
}

func invalidBody(err error) error {
	if errors.As(err, new(*http.MaxBytesError)) {
		return err
	}
	return invalid("body of the request: %v", err)
}

func readForm(form url.Values, given map[string]string) {
	for name, values := range form {
		if name != tokenField && name != confirmField {
			given[name] = strings.Join(values, ",")
		}
	}
}

// lines is the form that headers have in a text area.
func lines(headers map[string]any) string {
	var b strings.Builder
	for name, value := range headers {
		fmt.Fprintf(&b, "%s: %v\n", name, value)
	}
	return b.String()
}

// set gives a field the value that a text stands for.
func set(field reflect.Value, text string) (err error) {
	switch p := field.Addr().Interface().(type) {
	case *string:
		*p = text
	case *bool:
		*p, err = strconv.ParseBool(text)
	case *int:
		*p, err = strconv.Atoi(text)
	case *int64:
		*p, err = strconv.ParseInt(text, 10, 64)
	case *float64:
		*p, err = strconv.ParseFloat(text, 64)
	case *time.Duration:
		*p, err = time.ParseDuration(text)
	case *time.Time:
		*p, err = parseTime(text)
	case *map[string]string:
		*p, err = parseHeaders(text)
	default:
		err = fmt.Errorf("no parameter is a %v", field.Type())
	}
	var syntax *strconv.NumError
	if errors.As(err, &syntax) {
		err = syntax.Err
	}
	return err
}

// parseTime also takes what the date field of a browser sends, as a time in UTC.
func parseTime(text string) (t time.Time, err error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04", "2006-01-02T15:04:05", time.DateOnly} {
		if t, err = time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return t, errors.New("not a time such as 2006-01-02T15:04:05Z")
}

func parseHeaders(text string) (map[string]string, error) {
	headers := make(map[string]string)
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("line %.40q is not a name, a colon and a value", line)
		}
		headers[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return headers, nil
}

// decodeBody returns the bytes of a body that was given as text or in base64.
func decodeBody(text string, inBase64 bool) ([]byte, error) {
	if !inBase64 {
		return []byte(text), nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, invalid("body: %v", err)
	}
	return b, nil
}
