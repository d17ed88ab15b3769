package admin

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
)

// The file openapi.json is made from the routes. The tests hold it against them, and the answers of a
// store against the file.

var update = flag.Bool("update", false, "write openapi.json anew")

type object = map[string]any

// describeAPI returns the description of the routes.
func describeAPI(routes []route) object {
	d := &describer{schemas: object{}}
	paths := object{}
	for _, rt := range routes {
		at := rt.path
		if rt.stream == nil {
			at = api + at
		}
		operations, ok := paths[at].(object)
		if !ok {
			operations = object{}
			paths[at] = operations
		}
		operations[strings.ToLower(rt.method)] = d.route(rt)
	}
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "pebblemq admin", "version": "1",
			"description": "Look at an open store and mend it. Paths are below the place that the handler is mounted at. " +
				"A change takes a JSON object. Durations in parameters are texts such as 1m30s; those of configurations are nanoseconds.",
		},
		"paths":      paths,
		"components": object{"schemas": d.schemas},
	}
}

// describer gathers the schemas of all structs.
type describer struct{ schemas object }

func (d *describer) route(rt route) object {
	o := object{"operationId": rt.name, "summary": rt.about}
	var parameters []any
	properties := object{}
	inPath := pathParameters(rt.path)
	fieldsOf(rt.in, func(f reflect.StructField) {
		name := f.Tag.Get("in")
		switch schema := d.field(f); {
		case slices.Contains(inPath, name):
			parameters = append(parameters, object{"name": name, "in": "path", "required": true, "description": f.Tag.Get("about"), "schema": schema})
		case strings.Contains(name, "broker") && strings.HasPrefix(rt.path, "/visibility/"):
		case rt.change:
			schema["description"] = f.Tag.Get("about")
			properties[name] = schema
		default:
			parameters = append(parameters, object{"name": name, "in": "query", "description": f.Tag.Get("about"), "schema": schema})
		}
	})
	if parameters != nil {
		o["parameters"] = parameters
	}
	if rt.change {
		body := object{"type": "object", "properties": properties, "additionalProperties": false}
		o["requestBody"] = object{"content": object{"application/json": object{"schema": body}}}
	}
	answers := object{"default": object{"description": "An error.", "content": d.content(reflect.TypeFor[failure]())}}
	switch {
	case rt.out != nil:
		answers["200"] = object{"description": "The answer.", "content": d.content(rt.out)}
	case rt.name == "health":
		answers["200"] = object{"description": "The store does its work.", "content": d.content(reflect.TypeFor[health]())}
		answers["503"] = object{"description": "It does not.", "content": d.content(reflect.TypeFor[health]())}
	default:
		answers["200"] = object{"description": "The answer.", "content": object{rt.media: object{}}}
	}
	o["responses"] = answers
	return o
}

func (d *describer) content(t reflect.Type) object {
	return object{"application/json": object{"schema": d.of(t)}}
}

// field is the schema of a parameter.
func (d *describer) field(f reflect.StructField) object {
	schema := d.of(f.Type)
	if f.Type == reflect.TypeFor[time.Duration]() {
		schema = object{"type": "string"}
	}
	if allowed := strings.Fields(f.Tag.Get("enum")); allowed != nil {
		schema["enum"] = allowed
	}
	return schema
}

// of is the schema of what encoding/json makes of a type.
func (d *describer) of(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[[]byte]():
		return object{"type": "string", "contentEncoding": "base64"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.of(t.Elem())
	case reflect.Struct:
		return d.structure(t)
	case reflect.Slice:
		return object{"type": "array", "items": d.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.of(t.Elem())}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Interface:
		return object{}
	}
	return object{"type": "integer"}
}

// structure refers to the schema of a struct.
func (d *describer) structure(t reflect.Type) object {
	name := schemaName(t)
	if d.schemas[name] == nil {
		d.schemas[name] = d.fields(t)
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// schemaName is log.TopicConfig, topicRow, or table.topicRow of a generic type.
func schemaName(t reflect.Type) string {
	name, of, generic := strings.Cut(strings.TrimSuffix(t.Name(), "]"), "[")
	if pkg := path.Base(t.PkgPath()); pkg != "admin" {
		name = pkg + "." + name
	}
	if generic {
		name += "." + of[strings.LastIndex(of, ".")+1:]
	}
	return name
}

func (d *describer) fields(t reflect.Type) object {
	properties, required := object{}, []string{}
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || f.Anonymous || !f.IsExported() || name == "" {
			continue
		}
		schema := d.of(f.Type)
		if about := f.Tag.Get("about"); about != "" {
			schema["description"] = about
		}
		properties[name] = schema
		if !strings.Contains(options, "omit") {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	return object{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

func TestTheDescriptionOfTheAPIIsThatOfTheRoutes(t *testing.T) {
	var want bytes.Buffer
	e := json.NewEncoder(&want)
	e.SetIndent("", " ")
	require.NoError(t, e.Encode(describeAPI(routes(ground{}, nil))))
	if *update {
		require.NoError(t, os.WriteFile("openapi.json", want.Bytes(), 0o644))
		return
	}
	require.Equal(t, want.String(), string(openapi), "run: go test ./admin -run Description -update")
}

func TestRoutesAreWhole(t *testing.T) {
	names := make(map[string]bool)
	for _, rt := range routes(ground{}, nil) {
		require.False(t, names[rt.name], "two routes are called %s", rt.name)
		names[rt.name] = true
		require.True(t, strings.HasSuffix(rt.about, "."), rt.name)
		require.Equal(t, rt.method != http.MethodGet, rt.change, rt.name)
		var fields []string
		fieldsOf(rt.in, func(f reflect.StructField) {
			fields = append(fields, f.Tag.Get("in"))
			require.NotEmpty(t, f.Tag.Get("about"), "%s: %s", rt.name, f.Name)
		})
		require.Subset(t, fields, pathParameters(rt.path), rt.name)
		if rt.method == http.MethodGet && rt.stream == nil {
			require.Contains(t, parsePages(), rt.page, rt.name)
		}
	}
}

// checker holds values against the schemas of the file.
type checker struct {
	t       *testing.T
	schemas object
}

func (c checker) check(where string, schema object, v any) {
	t := c.t
	t.Helper()
	if name, ok := schema["$ref"].(string); ok {
		schema, ok = c.schemas[path.Base(name)].(object)
		require.True(t, ok, name)
	}
	switch v := v.(type) {
	case nil:
		t.Errorf("%s is null", where)
	case map[string]any:
		require.Contains(t, []any{"object", nil}, schema["type"], where)
		c.object(where, schema, v)
	case []any:
		require.Equal(t, "array", schema["type"], where)
		for _, element := range v {
			c.check(where+"[]", schema["items"].(object), element)
		}
	case string:
		require.Contains(t, []any{"string", nil}, schema["type"], where)
	case bool:
		require.Contains(t, []any{"boolean", nil}, schema["type"], where)
	case float64:
		require.Contains(t, []any{"number", "integer", nil}, schema["type"], where)
		if schema["type"] == "integer" {
			require.Equal(t, float64(int64(v)), v, where)
		}
	}
}

func (c checker) object(where string, schema object, v object) {
	t := c.t
	t.Helper()
	properties, _ := schema["properties"].(object)
	more, _ := schema["additionalProperties"].(object)
	for name, value := range v {
		switch p, ok := properties[name].(object); {
		case ok:
			c.check(where+"."+name, p, value)
		case more != nil:
			c.check(where+"."+name, more, value)
		case schema["additionalProperties"] == false:
			t.Errorf("%s.%s is not described", where, name)
		}
	}
	required, _ := schema["required"].([]any)
	for _, name := range required {
		require.Contains(t, v, name, where)
	}
}

// CheckAnswer holds an answer against the file, for the tests of this package.
func CheckAnswer(t *testing.T, method, pattern, body string) {
	t.Helper()
	var file, answer object
	require.NoError(t, json.Unmarshal(openapi, &file))
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	operations, ok := file["paths"].(object)[pattern].(object)
	require.True(t, ok, pattern)
	answers := operations[strings.ToLower(method)].(object)["responses"].(object)
	schema := answers["200"].(object)["content"].(object)["application/json"].(object)["schema"].(object)
	checker{t, file["components"].(object)["schemas"].(object)}.check(pattern, schema, answer)
}

// Pattern is a route, for the tests of this package.
type Pattern struct{ Name, Method, Path string }

// Patterns returns all routes in both forms, those of the API as the file has them.
func Patterns() (list []Pattern) {
	for _, rt := range routes(ground{}, nil) {
		if rt.stream != nil {
			list = append(list, Pattern{rt.name, rt.method, rt.path})
			continue
		}
		list = append(list, Pattern{rt.name, rt.method, api + rt.path})
		if rt.page != "overview" {
			list = append(list, Pattern{rt.name, rt.method, rt.path})
		}
	}
	return list
}

func TestOptionsThatMakeNoSenseAreTheAnswer(t *testing.T) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for _, base := range []string{"admin", "/", "/admin/"} {
		w := httptest.NewRecorder()
		Handler(db, &Options{BasePath: base}).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		require.Equal(t, 500, w.Code)
		require.Contains(t, w.Body.String(), "BasePath "+base)
	}
}
