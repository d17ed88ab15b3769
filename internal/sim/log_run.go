package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// lrun is a Run of a group.
type lrun struct {
	p       *logPart
	c       *client
	g       *lgroup
	name    string
	wide    bool // it has more than one handler
	batches bool // one record of a batch may fail, and come again after the others
	quiet   func() bool
	tries   map[*lrecord]int
	last    map[string]int64    // the newest record of each key that was handled
	ends    map[*lstand][]int64 // records that are finished, or dead, when Run has returned
	dead    map[*lrecord]bool   // of these, the dead ones
	until   time.Time           // of its context
}

// handling is a record in the hands of a handler.
type handling struct {
	m    *lrecord
	run  *lrun
	call int // records of one batch have the same
	try  int // which one it is of this run
}

func (p *logPart) runVerbs() []*verb {
	return []*verb{
		form("run {group} of {topic} as {run} for {span} [concurrency {concurrency}] [batch {batch}]", 6, p.drawRun, p.run),
	}
}

func (p *logPart) drawRun() args {
	w, a := p.w, p.drawGroup()
	if a == nil || !w.likes("runs") || p.groupOf(a).running() >= 2 {
		return nil
	}
	p.joined++
	a["run"], a["span"] = fmt.Sprintf("r%d", p.joined), oneOf(w, "1ms", "1s", "10s", "1m", "1h")
	if w.chance(2) {
		a["concurrency"] = oneOf(w, "2", "8")
	}
	if w.likes("batches") && w.chance(2) {
		a["batch"] = oneOf(w, "1", "10", "100")
	}
	return a
}

// running is how many runs the group has.
func (g *lgroup) running() int { return len(g.runs) }

func (p *logPart) run(c *client, a args) {
	g := p.groupOf(a)
	if g == nil {
		return
	}
	c.within = 0 // it ends by itself
	r := &lrun{
		p: p, c: c, g: g, name: a["run"], wide: a.int("concurrency") > 1, batches: a.has("batch"), tries: make(map[*lrecord]int), last: make(map[string]int64),
		ends: make(map[*lstand][]int64), dead: make(map[*lrecord]bool), until: wall().Add(a.span("span")),
	}
	g.runs = append(g.runs, r)
	for _, s := range g.parts { // whether it takes the partition, and gives it back, nobody sees
		s.tenure.sure, s.tenure.blurred = false, true
	}
	quiet, end := g.move()
	r.quiet = quiet
	options := &log.RunOptions{Name: r.name, Concurrency: max(1, a.int("concurrency")), MaxAttempts: 3, BatchSize: a.int("batch")}
	o := callWith(c, g.g, func(ctx context.Context, group *log.Group) error {
		ctx, stop := context.WithTimeout(ctx, a.span("span"))
		defer stop()
		if a.has("batch") {
			return group.RunBatch(ctx, r.handleBatch, options)
		}
		return group.Run(ctx, r.handle, options)
	})
	g.runs = slices.DeleteFunc(g.runs, func(o *lrun) bool { return o == r })
	c.tellCall("%s of %s has ended: %v", r.name, g.name, o.err)
	if o.other || g.deleted {
		return
	}
	limit := longestHandler + 5*time.Second
	if !c.disk.isWell() || c.disk.wasFull(o.from) || c.disk.wellSince.After(o.from) { // a transfer waits for the disk
		limit += 30 * time.Second // the DrainTimeout
	}
	if late := o.to.Sub(r.until); late > limit {
		c.fail("%s returns %s after its context has ended", r.name, late)
	}
	if !lost(o.err, pebblemq.ErrUnknownOutcome) {
		c.expects(o, r.name+" of "+g.name, g.topic.gone()...)
	}
	r.finish(o)
	end(c)
}

// finish notes what a Run has finished: it has acknowledged that when it returns.
func (r *lrun) finish(o outcome) {
	sure := o.done() && r.quiet() && !r.c.disk.wasFull(o.from)
	buried := sure && r.c.disk.wasWell(o.from) // else its place may not have been reached, and it comes again
	for s, list := range r.ends {
		was := s.clone()
		list = slices.DeleteFunc(list, func(at int64) bool { return !buried && r.dead[s.part.at(at)] })
		if sure {
			s.lpos = s.ack(list)
			r.c.lose(func() { s.join(was) })
		}
	}
	for m := range r.dead {
		if f := unknown; !buried || r.g.dead[m] == here {
			r.g.dead[m] = f
			continue
		}
		r.g.dead[m] = here
		r.c.lose(func() { r.g.dead[m] = unknown })
	}
}

// longestHandler is how long a handler takes at most.
const longestHandler = 10 * time.Second

// errFailed is what a handler returns.
var errFailed = errors.New("failed by the simulator")

func (r *lrun) handle(ctx context.Context, record log.Record) error {
	r.c.mu.Lock()
	m := r.begin(record, r.p.handled)
	r.p.handled++
	r.c.mu.Unlock()
	if m == nil {
		return ctx.Err()
	}
	defer r.end(m) // also of a panic
	err := r.outcome(ctx, m, record)
	if err != nil {
		r.mayDie(m)
	}
	return err
}

// mayDie notes that a record may be dead, because handlers have failed too often.
func (r *lrun) mayDie(h *handling) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.g.dead[h.m] == (fate{}) {
		r.g.dead[h.m] = unknown
	}
}

func (r *lrun) handleBatch(ctx context.Context, batch []log.Record) error {
	r.c.mu.Lock()
	call := r.p.handled
	r.p.handled++
	list := make([]*handling, len(batch))
	for i, record := range batch {
		list[i] = r.begin(record, call)
	}
	r.c.mu.Unlock()
	errs := make(pebblemq.BatchError, len(batch))
	for i, h := range list {
		if h == nil {
			errs[i] = ctx.Err()
			continue
		}
		if errs[i] = r.outcomeInBatch(h); errs[i] != nil {
			r.mayDie(h)
		}
	}
	for _, h := range list {
		r.end(h)
	}
	return errs
}

// begin judges a record that a handler gets.
func (r *lrun) begin(record log.Record, call int) *handling {
	c, g := r.c, r.g
	if c.born != c.life || g.deleted || record.Partition >= len(g.parts) {
		return nil
	}
	s := g.parts[record.Partition]
	m := s.part.match(c, r.p, record)
	if m == nil || c.fault != "" {
		return nil
	}
	if s.done(record.Offset) == here {
		c.fail("%s handles %s, which %s has finished", r.name, m, g.name)
	}
	r.tries[m]++
	h := &handling{m, r, call, r.tries[m]}
	for _, other := range g.handled {
		if other.excludes(h) {
			c.fail("%s handles %s, while %s handles %s", r.name, m, other.run.name, other.m)
		}
	}
	key := r.key(m)
	if last, ok := r.last[key]; ok && key != "" && record.Offset < last && r.quiet() && !(r.batches && h.try > 1) {
		c.fail("%s handles %s after %v, which comes later", r.name, m, s.part.at(last))
	}
	r.last[key] = record.Offset
	g.handled = append(g.handled, h)
	c.tellCall("%s of %s handles %s at %d/%d: try %d", r.name, g.name, m, m.part, m.offset, h.try)
	s.join(s.ack([]int64{record.Offset})) // from now on it may be finished at any time
	return h
}

// key is what records have in common that are handled one after the other.
func (r *lrun) key(m *lrecord) string {
	switch {
	case !r.wide:
		return fmt.Sprint(m.part)
	case m.key != nil:
		return fmt.Sprintf("%d/%s", m.part, m.key)
	}
	return ""
}

// excludes reports that two records must not be handled at the same time.
func (h *handling) excludes(o *handling) bool {
	switch {
	case h.m.part != o.m.part || h.run == o.run && h.call == o.call:
		return false
	case h.run != o.run: // one of them does not own the partition
		return true
	}
	return h.run.key(h.m) != "" && h.run.key(h.m) == o.run.key(o.m)
}

// end notes that a handler has returned.
func (r *lrun) end(h *handling) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.g.handled = slices.DeleteFunc(r.g.handled, func(o *handling) bool { return o == h })
}

// ways are those in which a handler may deal with a record.
var ways = []string{"done", "done", "done", "done", "done", "error", "panic", "exit", "release", "reject", "hopeless", "slow", "slowest", "transfer"}

// way is how handlers of a group deal with a record. The seed and the two determine it.
func (g *lgroup) way(m *lrecord) string {
	return ways[m.topic.disk.w.hash(g.name+m.id)%uint64(len(ways))]
}

// outcome is that of a call of a handler.
func (r *lrun) outcome(ctx context.Context, h *handling, record log.Record) error {
	first := h.try == 1
	r.tell(h, "is to deal with %s: %s", h.m, r.g.way(h.m))
	switch way := r.g.way(h.m); {
	case way == "error" && first:
		return errFailed
	case way == "panic" && first:
		panic("by the simulator")
	case way == "exit" && first:
		runtime.Goexit()
	case way == "release" && first:
		return pebblemq.Release(time.Second)
	case way == "reject" || way == "hopeless":
		return r.giveUp(h, way)
	case way == "slow":
		return r.sleep(ctx, h, time.Second)
	case way == "slowest":
		return r.sleep(ctx, h, longestHandler)
	case way == "transfer":
		return r.transfer(ctx, h, record)
	}
	return r.done(h, nil)
}

// tell adds to the story what a handler does.
func (r *lrun) tell(h *handling, format string, values ...any) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.c.tellCall(r.name+" "+format, values...)
}

// outcomeInBatch is that of a record of a batch, which has fewer ways.
func (r *lrun) outcomeInBatch(h *handling) error {
	switch way := r.g.way(h.m); {
	case way == "error" && h.try == 1:
		return errFailed
	case way == "release" && h.try == 1:
		return pebblemq.Release(time.Second)
	case way == "reject" || way == "hopeless":
		return r.giveUp(h, way)
	}
	return r.done(h, nil)
}

// done notes that a record is finished when Run has returned, if a handler returns nil.
func (r *lrun) done(h *handling, err error) error {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if err == nil && r.c.born == r.c.life && h.m.part < len(r.g.parts) {
		s := r.g.parts[h.m.part]
		r.ends[s] = append(r.ends[s], h.m.offset)
	}
	return err
}

// giveUp lets a record become a dead letter, at once or after the last attempt.
func (r *lrun) giveUp(h *handling, way string) error {
	if way == "hopeless" && h.try < 3 {
		return errFailed
	}
	r.c.mu.Lock()
	r.dead[h.m] = true
	r.c.mu.Unlock()
	_ = r.done(h, nil)
	if way == "reject" {
		return pebblemq.Reject(errFailed)
	}
	return errFailed
}

func (r *lrun) sleep(ctx context.Context, h *handling, d time.Duration) error {
	select {
	case <-time.After(d):
		return r.done(h, nil)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// transfer acknowledges a record together with a transfer of the bank.
func (r *lrun) transfer(ctx context.Context, h *handling, record log.Record) error {
	r.c.mu.Lock()
	c := r.c.client(nil)
	c.born, c.db, c.ctx = r.c.born, r.c.db, ctx
	group := r.g.g
	o := r.p.bank.transfer(c, args{"amount": "7", "from": "0", "to": "1"}, func(tx *pebblemq.Tx) error {
		return group.In(tx).Ack(record)
	}, nil)
	r.c.mu.Unlock()
	return r.done(h, o.err)
}

// deadName is the topic that Run makes for dead records.
func (t *ltopic) deadName() string { return t.name + ".dead" }

// settleDead compares the dead records with what handlers have given up.
func (p *logPart) settleDead(c *client, t *ltopic) {
	counts := make(map[*lgroup]map[*lrecord]int)
	for _, g := range t.groups {
		counts[g] = make(map[*lrecord]int)
	}
	for _, r := range p.readDead(c, t) {
		g, m := t.group(header(r, log.HeaderGroup)), p.byID[idOf(r)]
		if g == nil { // it was lost, or is deleted
			continue
		}
		switch {
		case m == nil || m.topic != t:
			c.fail("%s has a record that nobody has appended to %s: %q", t.deadName(), t.name, r.Value)
			return
		case g.dead[m] == (fate{}):
			c.fail("%s has %s, which no handler of %s has given up", t.deadName(), m, g.name)
		case header(r, log.HeaderOriginTopic) != t.name || header(r, log.HeaderOriginPartition) != strconv.Itoa(m.part) || header(r, log.HeaderOriginOffset) != fmt.Sprint(m.offset):
			c.fail("%s has %s with another origin: %v", t.deadName(), m, r.Headers)
		case string(r.Value) != string(m.value):
			c.fail("%s has %s with another value", t.deadName(), m)
		}
		counts[g][m]++
	}
	for g, list := range counts {
		for m, f := range g.dead {
			switch n := list[m]; {
			case n > 1+g.seeks:
				c.fail("%s has %s %d times", t.deadName(), m, n)
			case n == 0 && f == here && time.Since(c.world.begin) < 13*24*time.Hour: // they are kept for 14 days
				c.fail("%s was given up by %s, and is not in %s", m, g.name, t.deadName())
			}
		}
	}
}

// readDead returns the dead records of a topic.
func (p *logPart) readDead(c *client, t *ltopic) (list []log.Record) {
	o := c.call(func(ctx context.Context) error {
		dead, err := log.LookupTopic(ctx, c.db, t.deadName())
		if errors.Is(err, log.ErrUnknownTopic) {
			return nil
		}
		if err != nil {
			return err
		}
		for n := range dead.Partitions() {
			reader, err := dead.NewReader(n, log.Start())
			if err == nil {
				err = reader.Until(log.End())
			}
			if err != nil {
				return err
			}
			for r, err := range reader.Records(ctx) {
				if err != nil {
					return err
				}
				list = append(list, r)
			}
		}
		return nil
	})
	c.expects(o, "read "+t.deadName())
	return list
}

func header(r log.Record, name string) string {
	for _, h := range r.Headers {
		if h.Name == name {
			return string(h.Value)
		}
	}
	return ""
}
