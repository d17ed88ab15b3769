package routing

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// words splits a key or pattern; the empty one has none.
func words(key string) []string {
	if key == "" {
		return nil
	}
	return strings.Split(key, ".")
}

// matches is the definition of a topic pattern, as a recursion that takes
// exponential time.
func matches(pattern, key []string) bool {
	switch {
	case len(pattern) == 0:
		return len(key) == 0
	case pattern[0] == "#":
		return matches(pattern[1:], key) || len(key) > 0 && matches(pattern, key[1:])
	case len(key) == 0:
		return false
	}
	return (pattern[0] == "*" || pattern[0] == key[0]) && matches(pattern[1:], key[1:])
}

// patterns is a trie and the place of each of its patterns.
type patterns struct {
	trie
	router Router
	places map[string]*Place
}

func newPatterns(list ...string) *patterns {
	p := &patterns{places: make(map[string]*Place)}
	for _, pattern := range list {
		p.bind(pattern)
	}
	return p
}

func (p *patterns) bind(pattern string) {
	if p.places[pattern] == nil {
		p.places[pattern] = new(Place)
	}
	p.add(Binding{Key: pattern}, p.places[pattern], 0)
}

func (p *patterns) unbind(pattern string) {
	p.remove(Binding{Key: pattern}, p.places[pattern], 0)
	delete(p.places, pattern)
}

func (p *patterns) matching(key string) (found []string) {
	p.router.begin()
	p.match(&Message{Key: key}, &p.router)
	for pattern, to := range p.places {
		if slices.Contains(p.router.found, to) {
			found = append(found, pattern)
		}
	}
	slices.Sort(found)
	return found
}

func TestTopicPatterns(t *testing.T) {
	letters := "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z"
	stars := strings.TrimSuffix(strings.Repeat("*.", 26), ".")
	for _, c := range []struct{ key, matching, not string }{
		{"a.b.c", "#.c #.b.c #.*.#", "a.#.d"},
		{"a.d", "a.#.d a.d *.* # #.# #.*.# a.*", "a.*.d a a.d.*"},
		{"a.b.c.d", "a.#.d a.#.#.d", "a.*.d"},
		{"a", "a * # #.* *.# #.a #.a.#", "a. .a *.* b"},
		{".0.a.b.c", ".# .*.a.b.c", ".*"},
		{".", "*.* . # #.*.# #.*.* .* *.", "* .. a."},
		{"..", "*.*.* .. #.*.# .*.", ". *.*"},
		{"a.", "a. a.* a.# *.", "a *"},
		{"a.b", "#.# *.*", "a.b.*"},
		{"a#b", "*", "a.#.b a.*.b"},
		{"##", "* #", "b"},
		{"#", "* # #.*", "b"},
		{"*", "* #", "b"},
		{letters, stars + " " + stars + ".# #." + stars, stars + ".*"},
		{"a.b.a", "#.a.#.a.#", "#.a.#.a.#.a.#"},
	} {
		yes, no := strings.Fields(c.matching), strings.Fields(c.not)
		slices.Sort(yes)
		require.Equal(t, yes, newPatterns(append(no, yes...)...).matching(c.key), "key %q", c.key)
	}
	require.Equal(t, []string{"", "#", "#.#"}, newPatterns("", "#", "#.#", "*", "#.*.#", ".").matching(""), "the empty key has no words")
}

func TestAPatternWithAWildcardInsideAWordIsRefused(t *testing.T) {
	for pattern, word := range map[string]string{
		"order.pa*d": "pa*d", "a#b": "a#b", "a.##": "##", "**": "**", "*a.b": "*a", "#.b*": "b*",
	} {
		err := new(trie).check(Binding{Key: pattern})
		require.ErrorContains(t, err, fmt.Sprintf("%q", word))
		require.ErrorContains(t, err, "whole words")
	}
	for _, pattern := range []string{"", "*", "#", "a.*.#", ".", "a..b"} {
		require.NoError(t, new(trie).check(Binding{Key: pattern}), pattern)
	}
}

// The naive match would take longer than the age of the universe.
func TestManyHashesTakeBoundedTime(t *testing.T) {
	key := strings.TrimSuffix(strings.Repeat("a.", 127), ".")
	hashes := strings.Repeat("#.a.", 60)
	p := newPatterns(hashes+"#", hashes+"nope", strings.Repeat("#.", 120)+"a", strings.Repeat("#.*.", 60)+"z")
	require.Len(t, p.matching(key), 2)
	require.LessOrEqual(t, int(p.step), 128)
	require.LessOrEqual(t, cap(p.here), 1024, "each node stands in a set once")
}

func TestTheTrieBehavesLikeItsModel(t *testing.T) {
	word := rapid.SampledFrom([]string{"a", "b", "", "*", "#", "a#", "##", "*b"})
	key := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(word, 0, 6).Draw(t, "words"), ".")
	})
	rapid.Check(t, func(t *rapid.T) {
		p := newPatterns()
		t.Repeat(map[string]func(*rapid.T){
			"bind": func(t *rapid.T) {
				if pattern := key.Draw(t, "pattern"); p.places[pattern] == nil {
					p.bind(pattern)
				}
			},
			"unbind": func(t *rapid.T) {
				if pattern := key.Draw(t, "pattern"); p.places[pattern] != nil {
					p.unbind(pattern)
				}
			},
			"match": func(t *rapid.T) {
				k := key.Draw(t, "key")
				var want []string
				for pattern := range p.places {
					if matches(words(pattern), words(k)) {
						want = append(want, pattern)
					}
				}
				slices.Sort(want)
				require.Equal(t, want, p.matching(k), "key %q", k)
			},
		})
		for pattern := range p.places {
			p.unbind(pattern)
		}
		require.True(t, p.root.empty(), "nothing is left behind")
	})
}

func FuzzTopicMatching(f *testing.F) {
	f.Add("a.#.d", "a.b.c.d")
	f.Add("#.*.#", "")
	f.Add("..#", ".")
	f.Fuzz(func(t *testing.T, pattern, key string) {
		if strings.Count(pattern, ".") > 6 || strings.Count(key, ".") > 6 {
			return
		}
		p := newPatterns(pattern, "never.to.match.\xff")
		got := slices.Contains(p.matching(key), pattern)
		require.Equal(t, matches(words(pattern), words(key)), got, fmt.Sprintf("%q on %q", pattern, key))
		for pattern := range p.places {
			p.unbind(pattern)
		}
		require.True(t, p.root.empty())
	})
}

func TestRoutingAllocatesNothing(t *testing.T) {
	p := newPatterns("#", "*.shop.#", "region1.#.paid")
	m := &Message{Key: "region1.shop.order7.paid"}
	n := testing.AllocsPerRun(100, func() {
		p.router.begin()
		p.match(m, &p.router)
	})
	require.Len(t, p.router.found, 3)
	require.Zero(t, n)
}
