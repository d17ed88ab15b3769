package workqueue

import "strings"

// words splits a routing key or pattern. The empty key has no words at all,
// not one empty word.
func words(key string) []string {
	if key == "" {
		return nil
	}
	return strings.Split(key, ".")
}

// trie holds the patterns of a topic exchange, word by word, so that a publish
// costs what its key makes of it and not what all patterns together do.
//
// A star matches one word, a hash any number. Wildcards count only as whole
// words. The walk keeps a set of nodes for each word of the key, so that any
// number of hashes takes time in words times nodes, never exponential.
type trie struct {
	root node
}

type node struct {
	next  map[string]*node // star and hash among them
	leads ends             // of the bindings that end here
}

// check takes every pattern: a wildcard within a word is a letter.
func (t *trie) check(binding) error { return nil }

func (t *trie) add(b binding, to *end, _ uint64) {
	n := &t.root
	for _, w := range words(b.key) {
		if n.next == nil {
			n.next = make(map[string]*node)
		}
		if n.next[w] == nil {
			n.next[w] = new(node)
		}
		n = n.next[w]
	}
	n.leads.add(to)
}

func (t *trie) remove(b binding, to *end, _ uint64) { t.root.remove(words(b.key), to) }

// remove takes a binding out below n and reports whether n is empty now.
func (n *node) remove(rest []string, to *end) bool {
	if len(rest) == 0 {
		n.leads.remove(to)
	} else if child := n.next[rest[0]]; child != nil && child.remove(rest[1:], to) {
		delete(n.next, rest[0])
	}
	return len(n.leads.list) == 0 && len(n.next) == 0
}

func (t *trie) match(a *address, w *walk) {
	t.matchKey(a.key, w)
	for _, key := range a.more {
		t.matchKey(key, w)
	}
}

func (t *trie) matchKey(key string, found *walk) {
	at := newNodeSet(&t.root)
	for _, w := range words(key) {
		next := nodeSet{}
		for _, n := range at.list {
			if n.hash {
				next.add(n.node, true) // a hash goes on
			}
			next.step(n.node, w)
		}
		if at = next; len(at.list) == 0 {
			return
		}
	}
	for _, n := range at.list {
		found.reachAll(&n.node.leads)
	}
}

// nodeSet is where a walk may stand.
type nodeSet struct {
	list []standing
	seen map[*node]bool
}

type standing struct {
	node *node
	hash bool // reached by a hash, which may take more words
}

func newNodeSet(root *node) nodeSet {
	var s nodeSet
	s.add(root, false)
	return s
}

// add stands on n, and behind the hash after it, which may match nothing.
func (s *nodeSet) add(n *node, hash bool) {
	if s.seen[n] {
		return
	}
	if s.seen == nil {
		s.seen = make(map[*node]bool)
	}
	s.seen[n] = true
	s.list = append(s.list, standing{n, hash})
	if h := n.next["#"]; h != nil {
		s.add(h, true)
	}
}

// step takes one word from n.
func (s *nodeSet) step(n *node, w string) {
	if c := n.next[w]; c != nil && w != "#" && w != "*" {
		s.add(c, false)
	}
	if c := n.next["*"]; c != nil {
		s.add(c, false)
	}
}
