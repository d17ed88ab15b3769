package routing

import (
	"fmt"
	"strings"
)

// The words of a pattern that stand for others. They do only if they are the
// whole word.
const (
	star = "*" // exactly one word, which may be empty
	hash = "#" // any number of words, none too
)

// nextWord cuts the first word off a key or pattern. Callers see to it that
// there is one: the empty key has no words at all, not one empty word.
func nextWord(key string) (word, rest string, more bool) { return strings.Cut(key, ".") }

// trie holds the patterns of a topic exchange, word by word, so that a publish
// costs what its key makes of it and not what all patterns together do.
//
// The naive match of a pattern with several hashes tries every way to share the
// words out, which is exponential. Here the walk keeps the set of nodes where it
// may stand after each word of the key, each once, so that any number of hashes
// takes at most words times nodes. The sets are kept for the next publish:
// routing allocates nothing.
type trie struct {
	root        node
	step        uint64  // of all walks; marks the nodes of a set
	here, there []*node // sets
}

type node struct {
	next  map[string]*node // by word
	star  *node
	hash  *node
	loop  bool   // behind a hash, which may take more words
	leads places // of the bindings that end here
	stood uint64
}

// child returns the node behind a word of a pattern, and where it hangs.
func (n *node) child(word string) *node {
	switch word {
	case star:
		return n.star
	case hash:
		return n.hash
	}
	return n.next[word]
}

func (n *node) setChild(word string, to *node) {
	switch {
	case word == star:
		n.star = to
	case word == hash:
		n.hash = to
	case to == nil:
		delete(n.next, word)
	case n.next == nil:
		n.next = map[string]*node{word: to}
	default:
		n.next[word] = to
	}
}

func (n *node) empty() bool {
	return len(n.leads.list) == 0 && len(n.next) == 0 && n.star == nil && n.hash == nil
}

// check refuses a pattern with a wildcard inside a word, which would stand for itself and
// match nothing that anybody publishes.
func (t *trie) check(b Binding) error {
	for word := range strings.SplitSeq(b.Key, ".") {
		if word != star && word != hash && strings.ContainsAny(word, star+hash) {
			return fmt.Errorf("pattern %q: * and # stand for whole words only, and %q is neither", b.Key, word)
		}
	}
	return nil
}

func (t *trie) add(b Binding, to *Place, _ uint64) {
	n := &t.root
	word, rest, more := "", b.Key, b.Key != ""
	for more {
		word, rest, more = nextWord(rest)
		child := n.child(word)
		if child == nil {
			child = &node{loop: word == hash}
			n.setChild(strings.Clone(word), child)
		}
		n = child
	}
	n.leads.add(to)
}

func (t *trie) remove(b Binding, to *Place, _ uint64) { t.root.remove(b.Key, b.Key != "", to) }

// remove takes a binding out below n, and the nodes that only led to it.
func (n *node) remove(pattern string, more bool, to *Place) {
	if !more {
		n.leads.remove(to)
		return
	}
	word, rest, more := nextWord(pattern)
	child := n.child(word)
	if child == nil {
		return
	}
	if child.remove(rest, more, to); child.empty() {
		n.setChild(word, nil)
	}
}

func (t *trie) match(m *Message, r *Router) {
	t.matchKey(m.Key, r)
	for _, key := range m.More {
		t.matchKey(key, r)
	}
}

func (t *trie) matchKey(key string, r *Router) {
	t.there = t.there[:0]
	t.step++
	t.stand(&t.root)
	word, rest, more := "", key, key != ""
	for more && len(t.there) > 0 {
		word, rest, more = nextWord(rest)
		t.take(word)
	}
	for _, n := range t.there {
		r.reachAll(&n.leads)
	}
}

// take goes one word on, from all nodes of the set at hand.
func (t *trie) take(word string) {
	t.here, t.there = t.there, t.here[:0]
	t.step++
	for _, n := range t.here {
		if n.loop {
			t.stand(n)
		}
		if n.star != nil {
			t.stand(n.star)
		}
		if c := n.next[word]; c != nil {
			t.stand(c)
		}
	}
}

// stand adds a node to the set, and the one behind the hash after it, which may
// stand for no words.
func (t *trie) stand(n *node) {
	for n != nil && n.stood != t.step {
		n.stood = t.step
		t.there = append(t.there, n)
		n = n.hash
	}
}
