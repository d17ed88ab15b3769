package admin

import (
	"bytes"
	"cmp"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// view is what a template gets: the data of the page, and what is around it.
type view struct {
	Base     string // of all links
	Path     string // of the page, below Base
	Query    url.Values
	Section  string // of the navigation that the page belongs to
	Title    string
	Token    string
	ReadOnly bool
	Notice   string
	Live     bool
	Health   health
	Data     any
}

// parsePages returns a template for each page, with the layout around it. The templates are a part of
// the program, so one that does not parse is a bug that every test finds.
func parsePages() map[string]*template.Template {
	layout := template.Must(template.New("layout.html").Funcs(functions).ParseFS(web, "web/layout.html", "web/parts.html"))
	pages := make(map[string]*template.Template)
	files, _ := web.ReadDir("web")
	for _, f := range files {
		name, isPage := strings.CutSuffix(f.Name(), ".html")
		if isPage && name != "layout" && name != "parts" {
			pages[name] = template.Must(template.Must(layout.Clone()).ParseFS(web, "web/"+f.Name()))
		}
	}
	return pages
}

// show writes a page.
func (s *site) show(w http.ResponseWriter, r *http.Request, rt route, data any) {
	s.render(w, r, http.StatusOK, rt.page, rt.title(r), data)
}

func (s *site) render(w http.ResponseWriter, r *http.Request, status int, page, title string, data any) {
	v := view{
		Base: s.options.BasePath, Path: strings.TrimPrefix(r.URL.EscapedPath(), s.options.BasePath), Query: r.URL.Query(),
		Title: title, ReadOnly: s.options.ReadOnly, Live: status == http.StatusOK, Health: healthOf(s.db), Data: data,
	}
	v.Section = section(v.Path)
	if !v.ReadOnly {
		v.Token = s.token(w, r)
	}
	v.Notice = s.notice(w, r)
	var b bytes.Buffer
	if err := s.pages[page].Execute(&b, v); err != nil {
		s.options.Logger.ErrorContext(r.Context(), "admin page failed", "page", page, "error", err)
		http.Error(w, "admin: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client may have gone
}

// section returns which part of the navigation a path belongs to.
func section(path string) string {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if first == "visibility" || first == "brokers" && strings.Contains(rest, "/") {
		return "queues"
	}
	return first
}

// title is the last name in the path, or that of the page.
func (rt route) title(r *http.Request) string {
	names := pathParameters(rt.path)
	if len(names) > 0 {
		return r.PathValue(names[len(names)-1])
	}
	return strings.ToUpper(rt.page[:1]) + rt.page[1:]
}

// With returns the address of the page with other parameters: a name and a value each.
func (v view) With(pairs ...any) (string, error) {
	q := make(url.Values)
	for name, values := range v.Query {
		q[name] = values
	}
	for n := 0; n+1 < len(pairs); n += 2 {
		name, value := fmt.Sprint(pairs[n]), fmt.Sprint(pairs[n+1])
		if q.Set(name, value); value == "" {
			q.Del(name)
		}
	}
	if len(q) == 0 {
		return v.Base + v.Path, nil
	}
	return v.Base + v.Path + "?" + q.Encode(), nil
}

// SortBy returns the address that sorts by a column: downwards first if it holds numbers, and the
// other way round if it is sorted by that already.
func (v view) SortBy(column, sort string, number bool) (string, error) {
	first, second := column, "-"+column
	if number {
		first, second = second, first
	}
	if sort == first {
		first = second
	}
	return v.With("sort", first, "page", "")
}

// Arrow shows how a column is sorted.
func (v view) Arrow(column, sort string) string {
	switch sort {
	case column:
		return "▲"
	case "-" + column:
		return "▼"
	}
	return ""
}

// Of gives a part of a page its own data within the view.
func (v view) Of(data any) view {
	v.Data = data
	return v
}

var functions = template.FuncMap{
	"count": count10, "bytes": formatBytes, "amount": amount, "ago": ago, "when": when, "seconds": formatSeconds,
	"curve": curve, "topology": drawTopology, "settings": settings, "escape": url.PathEscape,
	"topicPath": topicPath, "groupPath": groupPath, "brokerPath": brokerPath, "queuePath": queuePath, "namespacePath": namespacePath,
	"add": func(a, b int) int { return a + b }, "neg": func(n int64) int64 { return -n }, "list": func(all ...any) []any { return all },
	"join": strings.Join, "cut": cut, "lower": strings.ToLower,
}

// count10 writes a whole number with a thin space between thousands.
func count10(n any) string {
	digits := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "−", digits[1:]
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteRune('\u202f')
		}
		b.WriteRune(d)
	}
	return sign + b.String()
}

func formatBytes(n any) string {
	x, _ := strconv.ParseFloat(fmt.Sprint(n), 64)
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if x < 1024 {
			return short(x) + " " + unit
		}
		x /= 1024
	}
	return short(x) + " TiB"
}

// short writes a number with three digits.
func short(x float64) string {
	switch {
	case x >= 100 || x == math.Trunc(x):
		return count10(int64(math.Round(x)))
	case x >= 10:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}

func amount(x float64, unit string) string {
	switch unit {
	case "bytes":
		return formatBytes(x)
	case "s":
		return formatSeconds(x)
	case "/s":
		return short(x) + " /s"
	}
	return count10(int64(x))
}

func formatSeconds(x float64) string {
	switch d := time.Duration(x * float64(time.Second)); {
	case d == 0:
		return "0"
	case d < time.Millisecond:
		return short(x*1e6) + " µs"
	case d < time.Second:
		return short(x*1e3) + " ms"
	case d < time.Minute:
		return short(x) + " s"
	case d < time.Hour:
		return twoUnits(int(d.Minutes()), "min", int(d.Seconds())%60, "s")
	case d < 48*time.Hour:
		return twoUnits(int(d.Hours()), "h", int(d.Minutes())%60, "min")
	default:
		return fmt.Sprintf("%d days", int(d.Hours())/24)
	}
}

func twoUnits(n int, unit string, rest int, restUnit string) string {
	if rest == 0 {
		return fmt.Sprintf("%d %s", n, unit)
	}
	return fmt.Sprintf("%d %s %d %s", n, unit, rest, restUnit)
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05.000")
}

// ago is how long a time is past or to come.
func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := time.Since(t)
	if d < 0 {
		return "in " + formatSeconds(float64(int64(-d.Seconds())))
	}
	return formatSeconds(float64(int64(d.Seconds()))) + " ago"
}

// setting is a field of a configuration.
type setting struct{ Name, Value string }

// settings lists the fields of a configuration that are not zero.
func settings(config any) (list []setting) {
	v := reflect.Indirect(reflect.ValueOf(config))
	for n := range v.NumField() {
		field, x := v.Type().Field(n), v.Field(n)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" || x.IsZero() {
			continue
		}
		text := fmt.Sprint(reflect.Indirect(x).Interface())
		if d, ok := x.Interface().(time.Duration); ok && d > 0 {
			text = formatSeconds(d.Seconds())
		}
		if reflect.Indirect(x).Kind() == reflect.Struct {
			text = strings.Trim(fmt.Sprintf("%+v", reflect.Indirect(x).Interface()), "{}")
		}
		list = append(list, setting{cmp.Or(name, field.Name), text})
	}
	return list
}
