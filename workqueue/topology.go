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

	"github.com/pebblemq/pebblemq/internal/store"
)

// MaxTopology is how many exchanges, queues and bindings one Import takes.
const MaxTopology = 100_000

// Topology is what a broker consists of, without its messages. As JSON it has
// the names of these fields; durations are in nanoseconds.
type Topology struct {
	Exchanges []ExchangeDefinition
	Queues    []QueueDefinition
	Bindings  []Binding
}

// ExchangeDefinition is what an exchange is declared with.
type ExchangeDefinition struct {
	Name string
	Kind ExchangeKind
	ExchangeConfig
}

// QueueDefinition is what a queue is declared with.
type QueueDefinition struct {
	Name string
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
// exclusive queues and what leads to them: they belong to their handles.
func (b *Broker) Export(ctx context.Context) (*Topology, error) {
	x := new(Topology)
	var bound []binding
	err := b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		for name, e := range b.t.exchanges {
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
	if err != nil {
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

// Import declares and binds what a topology holds, all of it or none, in one
// durable commit. What is there already in the same form stays as it is, in
// another form it is pebblemq.ErrConfigMismatch; nothing is removed. What a
// binding leads from and to must be there or be a part of the topology.
func (b *Broker) Import(ctx context.Context, x *Topology) error {
	if x == nil {
		return store.Invalid("import of no topology")
	}
	if n := len(x.Exchanges) + len(x.Queues) + len(x.Bindings); n > MaxTopology {
		return store.TooLarge("number of parts of a topology", int64(n), MaxTopology)
	}
	p := &importing{b: b, exchanges: make(map[string]exchangePlan), queues: make(map[string]queuePlan)}
	if err := errors.Join(p.planExchanges(x), p.planQueues(x), p.planBindings(ctx, x)); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	err := b.s.Do(ctx, store.OpFunc(func(t *store.Turn) error {
		if err := p.check(t); err != nil {
			return err
		}
		return p.create(t)
	}), store.Sync)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	return nil
}

// importing is a topology that was checked as far as it can be alone.
type importing struct {
	b         *Broker
	exchanges map[string]exchangePlan
	queues    map[string]queuePlan
	bindings  []bindingPlan
}

func (p *importing) planExchanges(x *Topology) error {
	for _, d := range x.Exchanges {
		plan, err := planExchange(d.Name, d.Kind, &d.ExchangeConfig)
		if err != nil {
			return err
		}
		if twin, again := p.exchanges[d.Name]; again {
			if err := plan.config.match(d.Name, twin.config); err != nil {
				return err
			}
		}
		p.exchanges[d.Name] = plan
	}
	return nil
}

func (p *importing) planQueues(x *Topology) error {
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
			if err := plan.config.match(d.Name, twin.config); err != nil {
				return err
			}
		}
		p.queues[d.Name] = plan
	}
	return nil
}

func (p *importing) planBindings(ctx context.Context, x *Topology) error {
	opened := make(map[destination]bindingPlan)
	for i, to := range x.Bindings {
		bound, err := to.check()
		if err != nil {
			return fmt.Errorf("binding %d: %w", i, err)
		}
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

// check refuses what does not go with what is there. It changes nothing.
func (p *importing) check(t *store.Turn) error {
	for name, plan := range p.exchanges {
		if e := p.b.t.exchanges[name]; e != nil {
			if err := plan.config.match(name, e.config); err != nil {
				return err
			}
		}
	}
	for name, plan := range p.queues {
		if p.b.t.queues[name] == nil {
			continue
		}
		q, err := p.b.queue(name)
		if err != nil {
			return err
		}
		if err := plan.config.match(name, q.config); err != nil {
			return err
		}
	}
	for i, plan := range p.bindings {
		if err := p.checkBinding(t, plan); err != nil {
			return fmt.Errorf("binding %d: %w", i, err)
		}
	}
	return nil
}

func (p *importing) checkBinding(t *store.Turn, plan bindingPlan) error {
	if e := p.b.t.exchanges[plan.exchange]; e != nil {
		if err := e.check(plan.binding); err != nil {
			return err
		}
	} else if to, comes := p.exchanges[plan.exchange]; !comes {
		return fmt.Errorf("%w: %q", ErrUnknownExchange, plan.exchange)
	} else if err := matchers[to.config.Kind](to.config.ExchangeConfig).check(plan.binding); err != nil {
		return fmt.Errorf("binding of exchange %q: %w", plan.exchange, err)
	}
	_, exchange := p.exchanges[plan.to.name]
	_, queue := p.queues[plan.to.name]
	if exchange && plan.to.class == store.ClassExchange || queue && plan.to.class == store.ClassQueue {
		return nil // check has seen to it
	}
	return p.b.bindable(t, plan)
}

// create makes what is missing. Only the disk can refuse that, which is known
// before there are bindings.
func (p *importing) create(t *store.Turn) error {
	var made []string
	for _, name := range slices.Sorted(maps.Keys(p.exchanges)) {
		if p.b.t.exchanges[name] != nil {
			continue
		}
		if err := p.b.t.createExchange(t, p.exchanges[name]); err != nil {
			p.drop(t, made, nil)
			return err
		}
		made = append(made, name)
	}
	var queues []string
	for _, name := range slices.Sorted(maps.Keys(p.queues)) {
		if p.b.t.queues[name] != nil {
			continue
		}
		if err := p.b.createQueue(t, p.queues[name]); err != nil {
			p.drop(t, made, queues)
			return err
		}
		queues = append(queues, name)
	}
	for _, plan := range p.bindings {
		p.b.createBinding(t, plan)
	}
	return nil
}

func (p *importing) drop(t *store.Turn, exchanges, queues []string) {
	for _, name := range exchanges {
		p.b.t.dropExchange(t, p.b.t.exchanges[name])
	}
	for _, name := range queues {
		p.b.t.dropQueue(t, p.b.t.queues[name])
	}
}
