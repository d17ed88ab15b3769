package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/workqueue"
)

// blueprintsPart is a broker that is built from topologies, one after the other. Each is applied as a whole or not at
// all, and takes nothing away.
type blueprintsPart struct {
	w     *world
	made  bool
	busy  bool     // one at a time
	built building // what there is
	next  building // or there is this, if nobody knows how its call ended
	late  bool     // or that may come later
}

// building is what there is: the settings of each part by its name.
type building map[string]string

func newBlueprintsPart(w *world) *blueprintsPart {
	return &blueprintsPart{w: w, built: building{}, next: building{}}
}

func (p *blueprintsPart) verbs() []*verb {
	return []*verb{
		form("build {parts} by a blueprint [dry] [wrong]", 5, p.draw, p.build),
	}
}

func (p *blueprintsPart) draw() args {
	w := p.w
	if !w.likes("blueprints") {
		return nil
	}
	var parts []string
	for range w.upTo(5) {
		switch w.rng.IntN(4) {
		case 0:
			parts = append(parts, "hall"+fmt.Sprint(w.upTo(3)))
		case 1:
			parts = append(parts, fmt.Sprintf("room%d:%d", w.upTo(4), w.upTo(3)))
		default: // a way needs both of its ends
			hall, room := w.upTo(3), w.upTo(4)
			parts = append(parts, fmt.Sprintf("hall%d", hall), fmt.Sprintf("room%d:%d", room, w.upTo(3)), fmt.Sprintf("hall%d>room%d", hall, room))
		}
	}
	a := args{"parts": strings.Join(parts, ",")}
	if w.chance(4) {
		a["dry"] = "yes"
	}
	if w.chance(4) {
		a["wrong"] = "yes"
	}
	return a
}

// site is the name of the broker, and of a topic that the first hall leads to.
const site = "site"

// topology returns the parts of a step. Of a room that is there twice, the first counts.
func (a args) topology() *workqueue.Topology {
	t := &workqueue.Topology{}
	seen := make(map[string]bool)
	for _, part := range strings.Split(a["parts"], ",") {
		name, length, _ := strings.Cut(part, ":")
		from, to, way := strings.Cut(name, ">")
		switch {
		case seen[name]:
		case way:
			t.Bindings = append(t.Bindings, workqueue.Binding{Exchange: from, Key: "k", Queue: to})
		case strings.HasPrefix(name, "hall"):
			t.Exchanges = append(t.Exchanges, workqueue.ExchangeDefinition{Name: name, Kind: workqueue.Direct})
			if name == "hall1" {
				t.Bindings = append(t.Bindings, workqueue.Binding{Exchange: name, Key: "t", Topic: site})
			}
		default:
			t.Queues = append(t.Queues, workqueue.QueueDefinition{Name: name, QueueConfig: workqueue.QueueConfig{MaxLength: len(length) + int(length[0]-'0')}})
		}
		seen[name] = true
	}
	if a.has("wrong") {
		t.Bindings = append(t.Bindings, workqueue.Binding{Exchange: nobody, Queue: nobody})
	}
	return t
}

// buildingOf returns what a topology says.
func buildingOf(t *workqueue.Topology) building {
	is := building{}
	for _, d := range t.Exchanges {
		is[d.Name] = string(d.Kind)
	}
	for _, d := range t.Queues {
		is[d.Name] = fmt.Sprint(d.MaxLength)
	}
	for _, b := range t.Bindings {
		is[b.Exchange+">"+b.Queue+b.Topic] = b.Key
	}
	return is
}

func (p *blueprintsPart) build(c *client, a args) {
	if p.busy {
		return
	}
	p.busy = true
	defer func() { p.busy = false }()
	if !maps.Equal(p.built, p.next) {
		if p.judge(c); !maps.Equal(p.built, p.next) {
			return
		}
	}
	t := a.topology()
	if p.next = maps.Clone(p.built); !a.has("dry") && !a.has("wrong") {
		maps.Copy(p.next, buildingOf(t))
	}
	o := c.call(func(ctx context.Context) error {
		ctx = pebblemq.WithDurability(ctx, pebblemq.Sync)
		if _, err := log.OpenTopic(ctx, c.db, site, nil); err != nil {
			return err
		}
		b, err := workqueue.OpenBroker(ctx, c.db, site)
		if err == nil {
			_, err = b.Apply(ctx, t, &workqueue.ApplyOptions{DryRun: a.has("dry")})
		}
		return err
	})
	c.tellCall("apply %s: %v", a["parts"], o.err)
	switch {
	case a.has("wrong") && o.done():
		c.fail("a blueprint with a way from nowhere is built")
	case a.has("wrong") && lost(o.err, workqueue.ErrUnknownExchange):
	default:
		c.expects(o, "apply a blueprint")
	}
	switch p.late = false; {
	case o.refused():
		p.next = p.built
	case o.done():
		p.made, p.built = true, p.next
	default:
		p.late = !o.other
	}
	p.judge(c)
}

// judge compares what there is with what was built.
func (p *blueprintsPart) judge(c *client) {
	var t *workqueue.Topology
	o := c.call(func(ctx context.Context) error {
		b, err := workqueue.LookupBroker(ctx, c.db, site)
		if err == nil {
			t, err = b.Export(ctx)
		}
		return err
	})
	if c.expects(o, "export what was built", pebblemq.ErrNotFound); p.made && lost(o.err, workqueue.ErrUnknownBroker) {
		c.fail("what was built is gone")
	}
	if !o.done() {
		return
	}
	is := buildingOf(t)
	if !maps.Equal(is, p.built) && !maps.Equal(is, p.next) {
		c.fail("there is %v, not %v or %v", is.list(), p.built.list(), p.next.list())
	}
	if !p.late || c.disk.caughtUp() { // else a crash may yet undo what is seen
		p.built, p.next, p.late = is, is, false
	}
}

func (b building) list() (list []string) {
	for name, setting := range b {
		list = append(list, name+":"+setting)
	}
	slices.Sort(list)
	return list
}

func (p *blueprintsPart) opened(c *client) {
	if p.busy, p.late = false, false; p.made {
		p.judge(c)
	}
}

func (p *blueprintsPart) check(*client)  {}
func (p *blueprintsPart) settle(*client) {}
