package workqueue

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/object"
	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// generated is the prefix of names that DeclareNewQueue makes.
const generated = reserved + "gen-"

func namedQueue(name string) string { return fmt.Sprintf("queue %q", name) }

// DeclareQueue returns the queue of that name and creates it if need be. A nil config is the
// stored one, or the defaults for a new queue. Another config than the stored one is
// pebblemq.ErrConfigMismatch, which lists all fields that differ; EnsureQueue alters them.
// What the config names must exist, see DeadLetter.
// A creation is durable when DeclareQueue returns, unless ctx says NoSync: every queue is
// durable. Names that begin
// with "amq." are for the broker to give, see DeclareNewQueue.
func (b *Broker) DeclareQueue(ctx context.Context, name string, c *QueueConfig) (*Queue, error) {
	q, _, err := b.declareQueue(ctx, name, c, declaration{check: checkName})
	return q, err
}

// EnsureQueue is DeclareQueue, but it alters a queue whose config is another one, see
// Queue.Alter. It says what it did.
func (b *Broker) EnsureQueue(ctx context.Context, name string, c *QueueConfig) (*Queue, pebblemq.Ensured, error) {
	return b.declareQueue(ctx, name, c, declaration{check: checkName, ensure: true})
}

// DeclareNewQueue creates a queue under a name that it makes up, which begins with
// "amq.gen-". That is what AMQP does for an empty name. Such queues are often Exclusive or
// have Expires, or they stay.
func (b *Broker) DeclareNewQueue(ctx context.Context, c *QueueConfig) (*Queue, error) {
	q, _, err := b.declareQueue(ctx, generated+rand.Text(), c, declaration{check: store.CheckName})
	return q, err
}

// Queue returns a queue that exists, or ErrUnknownQueue: it is the passive form of
// DeclareQueue and does not count as a use. A queue that cannot be read is returned too: its
// verbs say why, and it can be deleted.
func (b *Broker) Queue(ctx context.Context, name string) (*Queue, error) {
	if err := store.CheckName("queue", name); err != nil {
		return nil, err
	}
	q := &Queue{b: b}
	err := b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		if q.queue = b.t.queues[name]; q.queue == nil {
			return fmt.Errorf("%w: %q", ErrUnknownQueue, name)
		}
		return q.queue.ownedBy(b)
	}), store.NoSync)
	if err != nil {
		return nil, err
	}
	return q, nil
}

// declaration says how a queue is declared.
type declaration struct {
	check  func(what, name string) error // of the name of a new one
	ensure bool                          // alters one whose configuration is another
}

func (b *Broker) declareQueue(ctx context.Context, name string, c *QueueConfig, d declaration) (*Queue, pebblemq.Ensured, error) {
	var did pebblemq.Ensured
	if err := store.CheckName("queue", name); err != nil {
		return nil, did, err
	}
	plan, err := planQueue(name, c)
	if err != nil {
		return nil, did, err
	}
	q := &Queue{b: b}
	err = b.s.Do(ctx, store.QuietFunc(func(t *store.Turn) (err error) {
		if q.queue = b.t.queues[name]; q.queue == nil {
			if err := d.check("queue", name); err != nil {
				return err
			}
			if err := plan.config.checkPlace(name, b.t.known); err != nil {
				return err
			}
			did.Created = true
			q.queue, err = b.createQueue(t, plan)
			return err
		}
		if err := q.use(t); err != nil || c == nil {
			return err
		}
		changes := object.Compare(q.queue.config, plan.config)
		if !d.ensure {
			return changes.Mismatch(namedQueue(name), "EnsureQueue")
		}
		did.Altered = changes.Fields()
		return q.queue.alter(t, plan.config)
	}), store.Sync)
	if err != nil {
		return nil, pebblemq.Ensured{}, err
	}
	return q, did, nil
}

// queuePlan is a queue that may be declared.
type queuePlan struct {
	name    string
	config  QueueConfig
	reserve bool // also on a disk that is nearly full
}

func planQueue(name string, c *QueueConfig) (queuePlan, error) {
	config, err := c.normalize()
	if err != nil {
		return queuePlan{}, fmt.Errorf("queue %q: %w", name, err)
	}
	if config.makesDead() && len(name) > maxDeadOwner {
		return queuePlan{}, store.Invalid("name of queue %q has more than %d bytes and leaves no room for that of its dead-letter queue: set DeadLetter or DropDead",
			name, maxDeadOwner)
	}
	return queuePlan{name: name, config: config}, nil
}

// createQueue creates a queue of this handle, if it is exclusive.
func (b *Broker) createQueue(t *store.Turn, p queuePlan) (*declaredQueue, error) {
	q, err := b.t.createQueue(t, p)
	if err == nil && p.config.Exclusive {
		q.owner = b
	}
	return q, err
}

func (t *topology) createQueue(turn *store.Turn, p queuePlan) (*declaredQueue, error) {
	text, err := storedQueue{Created: turn.Now().UnixNano(), Config: p.config}.Encode()
	if err != nil {
		return nil, fmt.Errorf("workqueue: configuration of queue %q: %w", p.name, err)
	}
	create := turn.Create
	if p.reserve {
		create = turn.CreateInReserve
	}
	o, err := create(store.ClassQueue, t.scoped(p.name), text)
	if err != nil {
		return nil, err
	}
	q := &declaredQueue{name: p.name, object: o, config: p.config, topology: t}
	q.window = newWindow(t.s, o, p.config.DedupeWindow)
	q.core = queue.New(t.s, layout, o.ID, p.config.MaxPriority, q.options())
	q.redrives = q.newRedrives()
	q.limit()
	t.queues[p.name] = q
	q.live(turn)
	t.unstick(turn)
	return q, nil
}
