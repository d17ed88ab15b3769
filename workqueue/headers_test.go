package workqueue_test

import (
	"fmt"
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestHeadersExchange(t *testing.T) {
	type args = workqueue.Arguments
	type headers = map[string]string
	for _, c := range []struct {
		name    string
		args    args
		headers headers
		match   bool
	}{
		{"all is the default", args{"a": "1", "b": "2"}, headers{"a": "1", "b": "2", "c": "3"}, true},
		{"all: one is missing", args{"a": "1", "b": "2"}, headers{"a": "1"}, false},
		{"all: one is different", args{"x-match": "all", "a": "1", "b": "2"}, headers{"a": "1", "b": "3"}, false},
		{"any: one is enough", args{"x-match": "any", "a": "1", "b": "2"}, headers{"a": "0", "b": "2"}, true},
		{"any: none", args{"x-match": "any", "a": "1", "b": "2"}, headers{"a": "2", "b": "1"}, false},
		{"all: x- names are skipped", args{"a": "1", "x-b": "2"}, headers{"a": "1"}, true},
		{"any: x- names are skipped", args{"x-match": "any", "a": "1", "x-b": "2"}, headers{"x-b": "2"}, false},
		{"all-with-x", args{"x-match": "all-with-x", "a": "1", "x-b": "2"}, headers{"a": "1"}, false},
		{"all-with-x, there", args{"x-match": "all-with-x", "a": "1", "x-b": "2"}, headers{"a": "1", "x-b": "2"}, true},
		{"any-with-x", args{"x-match": "any-with-x", "a": "1", "x-b": "2"}, headers{"x-b": "2"}, true},
		{"nil: present", args{"a": nil}, headers{"a": "whatever"}, true},
		{"nil: absent", args{"a": nil}, headers{"b": "whatever"}, false},
		{"any, nil: present", args{"x-match": "any", "a": nil, "b": "2"}, headers{"a": ""}, true},
		{"nil and a value", args{"a": nil, "b": "2"}, headers{"a": "", "b": "2"}, true},
		{"nil is not empty", args{"a": ""}, headers{"a": "1"}, false},
		{"empty is a value", args{"a": ""}, headers{"a": ""}, true},
		{"no arguments: everything", nil, headers{"a": "1"}, true},
		{"no arguments: everything, no headers", nil, nil, true},
		{"all, no others", args{"x-match": "all"}, nil, true},
		{"all, only x-", args{"x-b": "1"}, nil, true},
		{"any, no others: nothing", args{"x-match": "any"}, headers{"a": "1"}, false},
		{"any, only x-: nothing", args{"x-match": "any", "x-b": "1"}, headers{"x-b": "1"}, false},
		{"exact", args{"a": "1"}, headers{"a": "1.0"}, false},
		{"case counts", args{"a": "v"}, headers{"A": "v"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, b := open(t)
			exchange(t, b, workqueue.Headers, "x")
			declare(t, b, "q")
			to := workqueue.Binding{Exchange: "x", Queue: "q", Key: "does not matter", Arguments: c.args}
			bind(t, b, to)
			m := workqueue.Message{Headers: c.headers, Mandatory: true}
			err := b.Publish(bg, "x", "k", m)
			if !c.match {
				require.ErrorIs(t, err, workqueue.ErrUnroutable)
				return
			}
			require.NoError(t, err)
			require.NoError(t, b.Unbind(bg, to))
			require.ErrorIs(t, b.Publish(bg, "x", "k", m), workqueue.ErrUnroutable)
		})
	}
}

func TestABadMatchModeIsRefused(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Headers, "x")
	declare(t, b, "q")
	for _, mode := range []any{"some", "", "ALL", nil} {
		err := b.Bind(bg, workqueue.Binding{Exchange: "x", Queue: "q", Arguments: workqueue.Arguments{"x-match": mode}})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		require.ErrorContains(t, err, "x-match")
	}
	require.Empty(t, bindings(t, b))
}

// holds is the definition of a headers exchange, one binding at a time.
func holds(args workqueue.Arguments, headers map[string]string) bool {
	mode, _ := args["x-match"].(string)
	any, asked, met := mode == "any" || mode == "any-with-x", 0, 0
	for name, value := range args {
		if name == "x-match" || len(mode) < len("all-with-x") && name[:min(2, len(name))] == "x-" {
			continue
		}
		asked++
		if got, there := headers[name]; there && (value == nil || value == got) {
			met++
		}
	}
	if any {
		return met > 0
	}
	return met == asked
}

func TestHeadersExchangesBehaveLikeTheirModel(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Headers, "x")
	var queues []string
	for i := range 8 {
		queues = append(queues, fmt.Sprint("q", i))
	}
	declare(t, b, queues...)
	relaxed := pebblemq.WithDurability(bg, pebblemq.NoSync)
	names := rapid.SampledFrom([]string{"a", "b", "c", "x-d"})
	values := rapid.SampledFrom([]string{"1", "2", ""})
	rapid.Check(t, func(t *rapid.T) {
		for _, to := range bindings(t, b) {
			require.NoError(t, b.Unbind(relaxed, to))
		}
		bound := make(map[string][]workqueue.Arguments)
		for i := range rapid.IntRange(0, 30).Draw(t, "bindings") {
			args := workqueue.Arguments{}
			for name, value := range rapid.MapOfN(names, values, 0, 3).Draw(t, "arguments") {
				if args[name] = value; rapid.IntRange(0, 3).Draw(t, "nil") == 0 {
					args[name] = nil
				}
			}
			if mode := rapid.SampledFrom([]string{"", "all", "any", "all-with-x", "any-with-x"}).Draw(t, "mode"); mode != "" {
				args["x-match"] = mode
			}
			q := rapid.SampledFrom(queues).Draw(t, "queue")
			to := workqueue.Binding{Exchange: "x", Queue: q, Key: fmt.Sprint(i), Arguments: args}
			require.NoError(t, b.Bind(relaxed, to))
			if rapid.IntRange(0, 3).Draw(t, "unbind") == 0 {
				require.NoError(t, b.Unbind(relaxed, to))
				continue
			}
			bound[q] = append(bound[q], args)
		}
		m := workqueue.Message{Headers: rapid.MapOf(names, values).Draw(t, "headers")}
		require.NoError(t, b.Publish(relaxed, "x", "", m))
		for _, q := range queues {
			want := 0
			for _, args := range bound[q] {
				if holds(args, m.Headers) {
					want = 1
				}
			}
			n, err := queueOf(t, b, q).Purge(relaxed)
			require.NoError(t, err)
			require.Equal(t, want, n, "%s: %v on %v", q, bound[q], m.Headers)
		}
	})
}
