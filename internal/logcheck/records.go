package logcheck

import "fmt"

// checkPlaces finds values that share an offset, and values in two places. A value that changes
// its place with a new life is in two places as well, because a record that a crash took never
// comes back.
func (c *checker) checkPlaces() {
	for _, v := range c.values {
		sights := c.seen[v]
		for _, s := range sights {
			if s.spot() != sights[0].spot() {
				c.report(Duplicate, s.spot(),
					fmt.Sprintf("it is at partition %d, offset %d, too", sights[0].Partition, sights[0].Offset), v)
				break
			}
		}
	}
	for _, l := range c.lives {
		for at, values := range l.at {
			if len(values) > 1 {
				c.report(InconsistentOffset, at, fmt.Sprintf("in life %d", l.n), values...)
			}
		}
	}
}

// checkReads finds values that should not be there to read.
func (c *checker) checkReads() {
	for _, v := range c.values {
		k := c.append[v]
		for _, s := range c.seen[v] {
			switch {
			case k == nil:
				c.report(AbortedRead, s.spot(), "nobody appended it", v)
			case k.outcome == FailOp && s.read:
				c.report(AbortedRead, s.spot(), "its append was refused", v)
			default:
				continue
			}
			break
		}
	}
}

// checkLosses finds what is gone and should not be: acknowledged records, and
// Sync records that were read.
func (c *checker) checkLosses() {
	for _, v := range c.values {
		k, sights := c.append[v], c.seen[v]
		if k == nil || len(sights) == 0 {
			continue
		}
		since, at := sights[0].index, sights[0].spot()
		promise, kind := k.outcome == OKOp, LostWrite
		if k.outcome == UnknownOp && k.Sync {
			promise, kind = true, PrecommittedRead
		}
		if !promise {
			continue
		}
		if how := c.missing(v, k, at, since); how != "" {
			c.lost[v] = true
			c.report(kind, at, how, v)
		}
	}
}

// missing says how it shows that a value was lost, or nothing. It looks at the lives that must
// have the value. If the value is durable, or was read as a Sync record, these are all lives
// since it was first seen. Otherwise it is only the life in which it was appended.
func (c *checker) missing(v string, k *call, at spot, since int) string {
	first := c.ops[since].Life
	last := k.Life
	if c.durable(k) || k.Sync {
		last = len(c.lives) - 1
	}
	for _, l := range c.lives[first : max(last, first)+1] {
		if l.n > last {
			break
		}
		for _, s := range l.scans[at.place] {
			if _, ok := s.has[v]; !ok && s.index > since && at.offset >= s.start {
				return fmt.Sprintf("missing in a full read in life %d", l.n)
			}
		}
		if other := l.at[at]; l.n > first && len(other) > 0 && other[0] != v {
			return fmt.Sprintf("in life %d %q is in its place", l.n, other[0])
		}
	}
	return ""
}

// checkCalls finds appends that are there in part. It compares full reads of one
// life, the last of each partition, with those appends that were over by then.
func (c *checker) checkCalls() {
	for _, k := range c.calls {
		if k.Type != AppendOp || len(k.Values) < 2 {
			continue
		}
		for _, l := range c.lives[k.Life:] {
			if c.tornIn(l, k) {
				break
			}
		}
	}
}

// tornIn looks at one life. A missing value has no place, and the partitions of the others do
// not tell where it should be. So it counts only when all partitions of the topics were read.
func (c *checker) tornIn(l *life, k *call) bool {
	if l.n == k.Life && k.outcome != OKOp {
		return false
	}
	var there *scan
	var value, gone string
	var offset int64
	for _, v := range k.Values {
		s := l.holds(v, k.ended, l.n > k.Life)
		switch {
		case s != nil:
			there, value, offset = s, v, s.has[v]
		case c.lost[v]: // said already
			return false
		default:
			gone = v
		}
	}
	if there == nil || gone == "" || !c.covered(l, gone) {
		return false
	}
	c.report(TornAppend, spot{there.place, offset}, fmt.Sprintf("in life %d the first is there, the second is not", l.n), value, gone)
	return true
}

// holds returns the full read that has a value.
func (l *life) holds(v string, after int, later bool) *scan {
	for _, scans := range l.scans {
		s := scans[len(scans)-1]
		if _, ok := s.has[v]; ok && (later || s.index > after) {
			return s
		}
	}
	return nil
}

// covered reports whether a value would have been found in the full reads of a
// life: its partition was read, or all were that the history knows.
func (c *checker) covered(l *life, v string) bool {
	if sights := c.seen[v]; len(sights) > 0 {
		return len(l.scans[sights[0].place()]) > 0
	}
	for _, other := range c.lives {
		for p := range other.scans {
			if len(l.scans[p]) == 0 {
				return false
			}
		}
	}
	return true
}
