package workqueue

import (
	"cmp"
	"container/list"
	"slices"
)

// turns are the consumers of a queue that have room for a delivery, in the order in which they get
// one. The others cost nothing, however many there are.
//
// Invariant: a consumer that has joined and has room has a place. One without room may have one
// still, and loses it when its turn comes.
type turns struct {
	levels []*level // that have consumers, the highest priority first
}

// level is the consumers of one priority.
type level struct {
	priority  int
	consumers int
	line      *list.List // of those with a place
}

// join lets a consumer take part.
func (t *turns) join(c *Consumer) {
	i, found := slices.BinarySearchFunc(t.levels, c.priority, func(l *level, priority int) int { return cmp.Compare(priority, l.priority) })
	if !found {
		t.levels = slices.Insert(t.levels, i, &level{priority: c.priority, line: list.New()})
	}
	c.level = t.levels[i]
	c.level.consumers++
	c.lineUp()
}

// leave ends that.
func (t *turns) leave(c *Consumer) {
	l := c.level
	if l == nil {
		return
	}
	c.stepOut()
	c.level = nil
	if l.consumers--; l.consumers == 0 {
		t.levels = slices.DeleteFunc(t.levels, func(other *level) bool { return other == l })
	}
}

// next returns whose turn it is. It stays the same one's until it gets something.
func (t *turns) next() *Consumer {
	for _, l := range t.levels {
		for at := l.line.Front(); at != nil; at = l.line.Front() {
			c := at.Value.(*Consumer)
			if c.hasRoom() {
				return c
			}
			c.stepOut()
		}
	}
	return nil
}

// highest returns the highest priority of all that have joined, of which there are some.
func (t *turns) highest() int { return t.levels[0].priority }

// served notes that a consumer has got something.
func (c *Consumer) served() {
	c.stepOut()
	c.lineUp()
}

// lineUp gives the consumer a place behind the others, if it needs one.
func (c *Consumer) lineUp() {
	if c.level != nil && c.place == nil && c.hasRoom() {
		c.place = c.level.line.PushBack(c)
	}
}

func (c *Consumer) stepOut() {
	if c.place != nil {
		c.level.line.Remove(c.place)
		c.place = nil
	}
}
