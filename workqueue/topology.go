package workqueue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/object"
	"github.com/pebblemq/pebblemq/internal/store"
)

// MaxTopology is how many exchanges, queues and bindings one Apply takes.
const MaxTopology = 100_000

// Topology is what a broker consists of, without its messages. As JSON it has
// the names of these fields, which begin with a small letter; durations are in nanoseconds.
type Topology struct {
	Exchanges []ExchangeDefinition `json:"exchanges,omitempty"`
	Queues    []QueueDefinition    `json:"queues,omitempty"`
	Bindings  []Binding            `json:"bindings,omitempty"`
}

// ExchangeDefinition is what an exchange is declared with.
type ExchangeDefinition struct {
	Name string       `json:"name"`
	Kind ExchangeKind `json:"kind"`
	ExchangeConfig
}

// QueueDefinition is what a queue is declared with.
type QueueDefinition struct {
	Name string `json:"name"`
	QueueConfig
}

// ParseTopology reads the JSON form. A field that it does not know is
// pebblemq.ErrInvalid: nothing is left out silently.
func ParseTopology(text []byte) (*Topology, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	x := new(Topology)
	if err := d.Decode(x); err != nil {
		return nil, store.Invalid("topology: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, store.Invalid("topology: something follows it at byte %d", d.InputOffset())
	}
	return x, nil
}

// Export returns the topology at one moment, in the order of names, but for
// exclusive queues and what leads to them: they belong to their handles. It fails if the
// bindings of an exchange cannot be read.
func (b *Broker) Export(ctx context.Context) (*Topology, error) {
	x := new(Topology)
	var bound []binding
	var damage error
	err := b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		for name, e := range b.t.exchanges {
			damage = errors.Join(damage, e.routes.Damage)
			x.Exchanges = append(x.Exchanges, ExchangeDefinition{name, e.config.Kind, e.config.ExchangeConfig})
			for to := range e.bindings {
				if q := b.t.queues[to.to.name]; to.to.class != store.ClassQueue || q.owner == nil {
					bound = append(bound, to)
				}
			}
		}
		for name, q := range b.t.queues {
			if q.owner == nil {
				x.Queues = append(x.Queues, QueueDefinition{name, q.config.clone()})
			}
		}
		return nil
	}), store.Sync)
	if err := errors.Join(err, damage); err != nil {
		return nil, err
	}
	slices.SortFunc(x.Exchanges, func(a, b ExchangeDefinition) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(x.Queues, func(a, b QueueDefinition) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(bound, binding.compare)
	for _, to := range bound {
		x.Bindings = append(x.Bindings, to.public())
	}
	return x, nil
}

// ApplyOptions are choices of one Apply. Nil is the default.
type ApplyOptions struct {
	// DryRun has Apply find out what it would do, and do nothing.
	DryRun bool
}

// Applied is what Apply has done, or would do. Objects that were there in the same form are
// not in it.
type Applied struct {
	Exchanges map[string]pebblemq.Ensured // by name
	Queues    map[string]pebblemq.Ensured // by name
	Bindings  []Binding                   // that were made
}

// Apply makes sure that a broker has what a topology holds: it creates, alters and binds, all
// of it or nothing, in one durable commit, and says what it did. What cannot be altered is
// pebblemq.ErrConfigMismatch, see Queue.Alter and Broker.AlterExchange. It removes nothing.
// Both ends of a binding must exist or be a part of the topology, and so must what a DeadLetter
// or Alternate names: a ring of queues can be made at once.
func (b *Broker) Apply(ctx context.Context, x *Topology, o *ApplyOptions) (*Applied, error) {
	if x == nil {
		return nil, store.Invalid("no topology to apply")
	}
	if n := len(x.Exchanges) + len(x.Queues) + len(x.Bindings); n > MaxTopology {
		return nil, store.TooLarge("number of parts of a topology", int64(n), MaxTopology)
	}
	p := &applying{b: b, exchanges: make(map[string]exchangePlan), queues: make(map[string]queuePlan)}
	if err := errors.Join(p.planExchanges(x), p.planQueues(x), p.planBindings(ctx, x)); err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	err := b.s.Do(ctx, store.OpFunc(func(t *store.Turn) error {
		if err := p.check(t); err != nil || o != nil && o.DryRun {
			return err
		}
		return p.carryOut(t)
	}), store.Sync)
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	return &p.applied, nil
}

// applying is a topology that was checked as far as it can be alone.
type applying struct {
	b         *Broker
	exchanges map[string]exchangePlan
	queues    map[string]queuePlan
	bindings  []bindingPlan
	applied   Applied
}

// twice refuses an object that a topology defines a second time in another way.
func twice(what string, changes object.Differences) error {
	if len(changes) == 0 {
		return nil
	}
	return store.Invalid("topology: %s is defined twice, with another %s", what, strings.Join(changes.Fields(), ", "))
}

func (p *applying) planExchanges(x *Topology) error {
	for _, d := range x.Exchanges {
		plan, err := planExchange(d.Name, d.Kind, &d.ExchangeConfig)
		if err != nil {
			return err
		}
		if twin, again := p.exchanges[d.Name]; again {
			if err := twice(namedExchange(d.Name), object.Compare(twin.config, plan.config)); err != nil {
				return err
			}
		}
		p.exchanges[d.Name] = plan
	}
	return nil
}

func (p *applying) planQueues(x *Topology) error {
	for _, d := range x.Queues {
		check := checkName
		if strings.HasPrefix(d.Name, generated) {
			check = store.CheckName
		}
		plan, err := planQueue(d.Name, &d.QueueConfig)
		if err := errors.Join(err, check("queue", d.Name)); err != nil {
			return err
		}
		if twin, again := p.queues[d.Name]; again {
			if err := twice(namedQueue(d.Name), object.Compare(twin.config, plan.config)); err != nil {
				return err
			}
		}
		p.queues[d.Name] = plan
	}
	return nil
}

func (p *applying) planBindings(ctx context.Context, x *Topology) error {
	opened, seen := make(map[destination]bindingPlan), make(map[binding]bool)
	for i, to := range x.Bindings {
		bound, err := to.check()
		if err != nil {
			return fmt.Errorf("binding %d: %w", i, err)
		}
		if seen[bound] {
			continue
		}
		seen[bound] = true
		plan, known := opened[bound.to]
		if !known {
			if plan.sink, plan.opened, err = p.b.t.openSink(ctx, bound.to); err != nil {
				return fmt.Errorf("binding %d: %w", i, err)
			}
			opened[bound.to] = plan
		}
		plan.binding = bound
		p.bindings = append(p.bindings, plan)
	}
	return nil
}

// check finds out what is to be done, and refuses what does not go with what is there. It
// changes nothing.
func (p *applying) check(t *store.Turn) error {
	p.applied = Applied{Exchanges: make(map[string]pebblemq.Ensured), Queues: make(map[string]pebblemq.Ensured)}
	if err := p.checkExchanges(); err != nil {
		return err
	}
	if err := p.checkQueues(); err != nil {
		return err
	}
	for i, plan := range p.bindings {
		if err := p.checkBinding(t, plan); err != nil {
			return fmt.Errorf("binding %d: %w", i, err)
		}
		if e := p.b.t.exchanges[plan.exchange]; e == nil || e.bindings[plan.binding] == 0 {
			p.applied.Bindings = append(p.applied.Bindings, plan.binding.public())
		}
	}
	return nil
}

func (p *applying) checkExchanges() error {
	for name, plan := range p.exchanges {
		did := pebblemq.Ensured{Created: true}
		if e := p.b.t.exchanges[name]; e != nil {
			changes := object.Compare(e.config, plan.config)
			if err := changes.Alterable(namedExchange(name)); err != nil {
				return err
			}
			did = pebblemq.Ensured{Altered: changes.Fields()}
		}
		if did.Unchanged() {
			continue
		}
		if err := plan.config.checkAlternate(name, p.known); err != nil {
			return err
		}
		p.applied.Exchanges[name] = did
	}
	return nil
}

func (p *applying) checkQueues() error {
	for name, plan := range p.queues {
		did := pebblemq.Ensured{Created: true}
		if q := p.b.t.queues[name]; q != nil {
			changes := object.Compare(q.config, plan.config)
			if err := errors.Join((&Queue{p.b, q}).usable(), changes.Alterable(namedQueue(name))); err != nil {
				return err
			}
			did = pebblemq.Ensured{Altered: changes.Fields()}
		}
		if did.Unchanged() {
			continue
		}
		if err := plan.config.checkPlace(name, p.known); err != nil {
			return err
		}
		p.applied.Queues[name] = did
	}
	return nil
}

func (p *applying) checkBinding(t *store.Turn, plan bindingPlan) error {
	if e := p.b.t.exchanges[plan.exchange]; e != nil {
		if err := e.check(plan.binding); err != nil {
			return err
		}
	} else if to, comes := p.exchanges[plan.exchange]; !comes {
		return fmt.Errorf("%w: %q", ErrUnknownExchange, plan.exchange)
	} else if err := checkRoute(to.config.routes(), plan.exchange, plan.binding); err != nil {
		return err
	}
	if p.comes(plan.to) {
		return nil // check has seen to it
	}
	return p.b.bindable(t, plan)
}

// comes reports whether a queue or an exchange is a part of the topology.
func (p *applying) comes(to destination) bool {
	_, exchange := p.exchanges[to.name]
	_, queue := p.queues[to.name]
	return exchange && to.class == store.ClassExchange || queue && to.class == store.ClassQueue
}

// known reports whether a queue or an exchange exists, or will.
func (p *applying) known(to destination) bool { return p.comes(to) || p.b.t.known(to) }

// carryOut does what check has found. Only the disk can refuse that, which is known before
// anything is altered or bound.
func (p *applying) carryOut(t *store.Turn) error {
	if err := t.Grow(); err != nil {
		return err
	}
	var made created
	for _, name := range slices.Sorted(maps.Keys(p.applied.Exchanges)) {
		if !p.applied.Exchanges[name].Created {
			continue
		}
		if err := p.b.t.createExchange(t, p.exchanges[name]); err != nil {
			p.b.t.dropCreated(t, made)
			return err
		}
		made.exchanges = append(made.exchanges, p.b.t.exchanges[name])
	}
	for _, name := range slices.Sorted(maps.Keys(p.applied.Queues)) {
		if !p.applied.Queues[name].Created {
			continue
		}
		q, err := p.b.createQueue(t, p.queues[name])
		if err != nil {
			p.b.t.dropCreated(t, made)
			return err
		}
		made.queues = append(made.queues, q)
	}
	if err := p.alter(t); err != nil {
		p.b.t.dropCreated(t, made)
		return err
	}
	for _, plan := range p.bindings {
		p.b.createBinding(t, plan)
	}
	return nil
}

func (p *applying) alter(t *store.Turn) error {
	for name := range p.applied.Exchanges {
		if err := p.b.t.alterExchange(t, p.b.t.exchanges[name], p.exchanges[name].config); err != nil {
			return err
		}
	}
	for name := range p.applied.Queues {
		if err := p.b.t.queues[name].alter(t, p.queues[name].config); err != nil {
			return err
		}
	}
	return nil
}

// created is what an Apply has made so far.
type created struct {
	exchanges []*exchange
	queues    []*declaredQueue
}

func (t *topology) dropCreated(turn *store.Turn, made created) {
	for _, e := range made.exchanges {
		t.dropExchange(turn, e)
	}
	for _, q := range made.queues {
		t.dropQueue(turn, q)
	}
}
