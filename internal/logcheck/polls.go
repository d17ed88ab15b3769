package logcheck

import (
	"cmp"
	"fmt"
	"slices"
)

// tenure is a group's claim on a partition.
type tenure struct {
	group string
	place
}

// assign is the beginning of an assignment.
type assign struct {
	epoch uint64
	from  int64
}

// cursor is where a member is to go on.
type cursor struct {
	next int64
}

// checkPolls follows every member, and every full read as a member of its own,
// from its assignments on.
func (c *checker) checkPolls() {
	type member struct {
		life          int
		group, member string
		place
	}
	at := make(map[member]*cursor)
	for _, op := range c.ops {
		switch op.Type {
		case AssignOp:
			r := op.Records[0]
			at[member{op.Life, op.Group, op.Member, r.place()}] = &cursor{next: r.Offset}
			if l, t := c.lives[op.Life], (tenure{op.Group, r.place()}); op.Group != "" {
				l.begins[t] = append(l.begins[t], assign{op.Epoch, r.Offset})
			}
		case PollOp:
			for _, r := range op.Records {
				if cur := at[member{op.Life, op.Group, op.Member, r.place()}]; cur != nil {
					c.follow(c.lives[op.Life], cur, r, fmt.Sprintf("member %q of group %q", op.Member, op.Group))
				}
			}
		case ReadAllOp:
			cur := &cursor{next: op.Records[0].Offset}
			for _, r := range op.Records[1:] {
				c.follow(c.lives[op.Life], cur, r, "a full read")
			}
		}
	}
}

// follow takes a member behind a record that it was given.
func (c *checker) follow(l *life, cur *cursor, r Record, who string) {
	if r.Offset < cur.next {
		c.report(NonMonotonicPoll, r.spot(), fmt.Sprintf("%s was to get %d next in life %d", who, cur.next, l.n), r.Value)
		return
	}
	for o := cur.next; o < r.Offset; o++ {
		c.skipped(l, spot{r.place(), o}, fmt.Sprintf("%s was led to %d in life %d", who, r.Offset, l.n), r.Value)
	}
	cur.next = r.Offset + 1
}

// skipped reports one offset that a member was led past. If the record was never read, it is
// lost. A loss that is known already is not reported again.
func (c *checker) skipped(l *life, at spot, how, next string) {
	values := l.at[at]
	switch {
	case len(values) == 0:
		if !c.lostAt(at) {
			c.report(SkippedPoll, at, how, next)
		}
	case c.wasRead(values[0]):
		c.report(SkippedPoll, at, how, values[0], next)
	case !c.lost[values[0]]:
		c.lost[values[0]] = true
		c.report(LostWrite, at, how, values[0], next)
	}
}

// wasRead reports whether anybody was ever given a value.
func (c *checker) wasRead(v string) bool {
	return slices.ContainsFunc(c.seen[v], func(s sight) bool { return s.read })
}

// lostAt reports whether a loss at an offset is known.
func (c *checker) lostAt(at spot) bool {
	return slices.ContainsFunc(c.found, func(a Anomaly) bool {
		return (a.Kind == LostWrite || a.Kind == PrecommittedRead) && at == spot{place{a.Topic, a.Partition}, a.Offset}
	})
}

// commits is what is known of a group's committed offset in one partition.
type commits struct {
	may   map[int64]bool // offsets that it may be at
	moved map[int64]bool // targets of Seek in this life, at any time
}

// checkResumes follows the committed offsets of groups over the epochs of each
// life. Between two assignments the offset moves only by a commit under the
// former and by Seek. Groups begin at offset 0.
func (c *checker) checkResumes() {
	state := make(map[tenure]*commits)
	for _, l := range c.lives {
		byEpoch, order := c.commitsOf(l)
		for _, t := range order {
			s := state[t]
			if s == nil {
				s = &commits{may: map[int64]bool{0: true}, moved: map[int64]bool{}}
				state[t] = s
			}
			c.resumesIn(l, t, s, byEpoch[t])
		}
	}
}

// settled is a commit under an assignment.
type settled struct {
	*call
	next int64
}

// commitsOf sorts a life's commits and seeks by claim and epoch; order lists the
// claims that something is known of.
func (c *checker) commitsOf(l *life) (map[tenure]map[uint64][]settled, []tenure) {
	by := make(map[tenure]map[uint64][]settled)
	var order []tenure
	claim := func(t tenure) {
		if by[t] == nil {
			by[t] = make(map[uint64][]settled)
			order = append(order, t)
		}
	}
	for _, k := range c.calls {
		if k.Type == CommitOp && k.Life == l.n && k.outcome != FailOp {
			r := k.Records[0]
			t := tenure{k.Group, r.place()}
			claim(t)
			by[t][k.Epoch] = append(by[t][k.Epoch], settled{k, r.Offset})
		}
	}
	for _, op := range c.ops {
		if op.Life == l.n && (op.Type == SeekOp || op.Type == AssignOp) {
			for _, r := range op.Records {
				claim(tenure{op.Group, r.place()})
			}
		}
	}
	return by, order
}

func (c *checker) resumesIn(l *life, t tenure, s *commits, byEpoch map[uint64][]settled) {
	for _, op := range c.ops {
		if op.Life == l.n && op.Type == SeekOp && op.Group == t.group {
			for _, r := range op.Records {
				if r.place() == t.place {
					s.moved[r.Offset] = true
				}
			}
		}
	}
	begins := slices.Clone(l.begins[t])
	slices.SortStableFunc(begins, func(a, b assign) int { return cmp.Compare(a.epoch, b.epoch) })
	all := make(map[int64]bool) // what a crash may leave
	for o := range s.may {
		all[o] = true
	}
	for _, b := range begins {
		if !s.may[b.from] && !s.moved[b.from] {
			c.report(WrongResume, spot{t.place, b.from},
				fmt.Sprintf("group %q, epoch %d of life %d: committed was %v", t.group, b.epoch, l.n, offsets(s.may)))
		}
		s.may = map[int64]bool{b.from: true}
		all[b.from] = true
		for _, k := range byEpoch[b.epoch] {
			if k.outcome == OKOp {
				clear(s.may)
				if k.Sync {
					clear(all)
				}
			}
			s.may[k.next], all[k.next] = true, true
		}
	}
	if l.end == CrashOp {
		s.may = all
	}
	for o := range s.moved {
		s.may[o] = true
	}
	clear(s.moved)
}

func offsets(set map[int64]bool) []int64 {
	var list []int64
	for o := range set {
		list = append(list, o)
	}
	slices.Sort(list)
	return list
}
