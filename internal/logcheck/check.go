package logcheck

import (
	"cmp"
	"slices"
	"strings"
)

// Check returns every anomaly of a history, by place.
func Check(ops []Op) []Anomaly {
	c := newChecker(ops)
	c.checkPlaces()
	c.checkReads()
	c.checkLosses()
	c.checkCalls()
	c.checkPolls()
	c.checkResumes()
	slices.SortStableFunc(c.found, func(a, b Anomaly) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition),
			cmp.Compare(a.Offset, b.Offset), strings.Compare(string(a.Kind), string(b.Kind)))
	})
	return c.found
}

// place is a partition.
type place struct {
	topic     string
	partition int
}

func (r Record) place() place { return place{r.Topic, r.Partition} }

// spot is an offset in it.
type spot struct {
	place
	offset int64
}

func (r Record) spot() spot { return spot{r.place(), r.Offset} }

// call is an append or a commit.
type call struct {
	Op
	began   int // index in the history
	ended   int
	outcome Type // UnknownOp if none was recorded
}

// sight is one observation that a value is in a place.
type sight struct {
	Record
	life  int
	index int
	read  bool // else acknowledged
}

// scan is a full read of a partition.
type scan struct {
	place
	life, index int
	start       int64
	has         map[string]int64
	records     []Record
}

// life is what happened between an opening and its end.
type life struct {
	n        int
	end      Type
	lastSync int                 // began of the last Sync append that was acknowledged
	at       map[spot][]string   // the values seen there, acknowledged ones included
	scans    map[place][]*scan   // in order
	begins   map[tenure][]assign // by epoch
}

// checker is a history, looked through once.
type checker struct {
	ops    []Op
	lives  []*life // from 1 on
	calls  []*call
	append map[string]*call   // by value
	seen   map[string][]sight // by value, in order
	values []string           // in the order of their first sight or append
	lost   map[string]bool    // values that checkLosses has reported
	found  []Anomaly
}

func newChecker(ops []Op) *checker {
	c := &checker{
		ops: ops, lives: []*life{newLife(0)},
		append: make(map[string]*call), seen: make(map[string][]sight), lost: make(map[string]bool),
	}
	type id struct{ life, call int }
	open := make(map[id]*call)
	for i, op := range ops {
		l := c.life(op.Life)
		switch op.Type {
		case AppendOp, CommitOp:
			k := &call{Op: op, began: i, ended: len(ops), outcome: UnknownOp}
			open[id{op.Life, op.Call}] = k
			c.calls = append(c.calls, k)
			for _, v := range op.Values {
				c.append[v] = k
				c.note(v)
			}
		case OKOp, FailOp, UnknownOp:
			k := open[id{op.Life, op.Call}]
			if k == nil {
				continue
			}
			k.outcome, k.ended = op.Type, i
			for _, r := range op.Records {
				c.see(l, sight{r, op.Life, i, false})
			}
			if k.Type == AppendOp && k.Sync && op.Type == OKOp {
				l.lastSync = max(l.lastSync, k.began)
			}
		case PollOp:
			for _, r := range op.Records {
				c.see(l, sight{r, op.Life, i, true})
			}
		case ReadAllOp:
			c.scan(l, i, op)
		case CrashOp, CloseOp:
			l.end = op.Type
		}
	}
	return c
}

func newLife(n int) *life {
	return &life{
		n: n, lastSync: -1,
		at:    make(map[spot][]string),
		scans: make(map[place][]*scan), begins: make(map[tenure][]assign),
	}
}

func (c *checker) life(n int) *life {
	for len(c.lives) <= n {
		c.lives = append(c.lives, newLife(len(c.lives)))
	}
	return c.lives[n]
}

func (c *checker) note(value string) {
	if _, known := c.seen[value]; !known {
		c.seen[value] = nil
		c.values = append(c.values, value)
	}
}

func (c *checker) see(l *life, s sight) {
	c.note(s.Value)
	c.seen[s.Value] = append(c.seen[s.Value], s)
	if at := l.at[s.spot()]; !slices.Contains(at, s.Value) {
		l.at[s.spot()] = append(at, s.Value)
	}
}

func (c *checker) scan(l *life, i int, op Op) {
	head, got := op.Records[0], op.Records[1:]
	s := &scan{place: head.place(), life: l.n, index: i, start: head.Offset, has: make(map[string]int64), records: got}
	for _, r := range got {
		s.has[r.Value] = r.Offset
		c.see(l, sight{r, l.n, i, true})
	}
	l.scans[s.place] = append(l.scans[s.place], s)
}

func (c *checker) report(k Kind, at spot, note string, values ...string) {
	c.found = append(c.found, Anomaly{
		Kind: k, Topic: at.topic, Partition: at.partition, Offset: at.offset, Values: values, Note: note,
	})
}

// durable reports whether an acknowledged append outlives the end of its life. It does if it was
// Sync, if the store was closed in good order, or if a Sync append that began after it was
// acknowledged. The store is one log, and a crash takes only its tail.
func (c *checker) durable(k *call) bool {
	if k.outcome != OKOp {
		return false
	}
	l := c.lives[k.Life]
	return k.Sync || l.end == CloseOp || k.ended < l.lastSync
}
