package main

import (
	"context"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// Values that nothing takes.
var (
	longText = strings.Repeat("x", 100_000)
	huge     = make([]byte, 33<<20)
	ancient  = time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC)
	age      = 1_000_000 * time.Hour
)

func record(key, value string) log.Record {
	return log.Record{Key: []byte(key), Value: []byte(value)}
}

// refusals are calls of all packages.
var refusals = []refusal{
	// The store.
	{"a change in a View", pebblemq.ErrReadOnly, func(ctx context.Context, x *office) error {
		return x.db.View(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte(officeName), []byte("v")) })
	}},
	{"a transaction that is over", pebblemq.ErrTxDone, func(ctx context.Context, x *office) error {
		var kept *pebblemq.Tx
		if err := x.db.Update(ctx, func(tx *pebblemq.Tx) error { kept = tx; return nil }); err != nil {
			return err
		}
		return kept.Set([]byte(officeName), []byte("v"))
	}},

	// The log.
	{"a topic without a name", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		_, err := log.OpenTopic(ctx, x.db, "", nil)
		return err
	}},
	{"a topic with fewer than no partitions", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		_, err := log.OpenTopic(ctx, x.db, nobody, &log.TopicConfig{Partitions: -1})
		return err
	}},
	{"a topic that is there with another config", pebblemq.ErrConfigMismatch, func(ctx context.Context, x *office) error {
		_, err := log.OpenTopic(ctx, x.db, officeName, &log.TopicConfig{Partitions: 3})
		return err
	}},
	{"a topic that there is not", log.ErrUnknownTopic, func(ctx context.Context, x *office) error {
		_, err := log.LookupTopic(ctx, x.db, nobody)
		return err
	}},
	{"fewer partitions", pebblemq.ErrConfigMismatch, func(ctx context.Context, x *office) error {
		return x.topic.Alter(ctx, &log.TopicConfig{Partitions: 1})
	}},
	{"a record that is too large", pebblemq.ErrTooLarge, func(ctx context.Context, x *office) error {
		_, err := x.topic.Append(ctx, log.Record{Value: huge})
		return err
	}},
	{"a record with too many headers", pebblemq.ErrTooLarge, func(ctx context.Context, x *office) error {
		_, err := x.topic.Append(ctx, log.Record{Headers: make([]log.Header, log.MaxHeaders+1)})
		return err
	}},
	{"a record of long ago", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		_, err := x.topic.Append(ctx, log.Record{Timestamp: ancient})
		return err
	}},
	{"a partition that there is not", log.ErrUnknownPartition, func(ctx context.Context, x *office) error {
		_, err := x.topic.AppendWith(ctx, log.AppendOptions{Partition: log.InPartition(7)}, record("k", "v"))
		return err
	}},
	{"an id that is too long", pebblemq.ErrTooLarge, func(ctx context.Context, x *office) error {
		_, err := x.topic.AppendWith(ctx, log.AppendOptions{ID: longText}, record("k", "v"))
		return err
	}},
	{"an append at another offset", log.ErrConflict, func(ctx context.Context, x *office) error {
		_, err := x.topic.AppendWith(ctx, log.AppendOptions{Partition: log.InPartition(0), ExpectOffset: log.AtOffset(9)}, record("k", "v"))
		return err
	}},
	{"an append behind another record of its key", log.ErrConflict, func(ctx context.Context, x *office) error {
		_, err := x.topic.AppendWith(ctx, log.AppendOptions{ExpectLast: log.LastAt(log.Position{Offset: 5})}, record("k", "v"))
		return err
	}},
	{"a reader of no partition", log.ErrUnknownPartition, func(_ context.Context, x *office) error {
		_, err := x.topic.NewReader(7, log.Start())
		return err
	}},
	{"a trim of no partition", log.ErrUnknownPartition, func(ctx context.Context, x *office) error {
		return x.topic.TrimTo(ctx, 7, log.Offset(0))
	}},
	{"a group that there is not", log.ErrUnknownGroup, func(ctx context.Context, x *office) error {
		_, err := x.topic.LookupGroup(ctx, nobody)
		return err
	}},
	{"the end of a group that there is not", log.ErrUnknownGroup, func(ctx context.Context, x *office) error {
		return x.topic.DeleteGroup(ctx, nobody)
	}},

	// The visibility queue.
	{"a queue without a name", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		_, err := visibility.OpenQueue(ctx, x.db, "", nil)
		return err
	}},
	{"a queue that hides for ages", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		_, err := visibility.OpenQueue(ctx, x.db, nobody, &visibility.QueueConfig{VisibilityTimeout: age})
		return err
	}},
	{"a queue whose dead letters go nowhere", visibility.ErrUnknownQueue, func(ctx context.Context, x *office) error {
		_, err := visibility.OpenQueue(ctx, x.db, nobody, &visibility.QueueConfig{DeadLetterQueue: "nowhere", MaxReceives: 1})
		return err
	}},
	{"a queue with an order and dead letters without one", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		_, err := visibility.OpenQueue(ctx, x.db, nobody, &visibility.QueueConfig{FIFO: true, DeadLetterQueue: officeName, MaxReceives: 1})
		return err
	}},
	{"a visibility queue that there is not", visibility.ErrUnknownQueue, func(ctx context.Context, x *office) error {
		_, err := visibility.LookupQueue(ctx, x.db, nobody)
		return err
	}},
	{"another kind of queue", pebblemq.ErrConfigMismatch, func(ctx context.Context, x *office) error {
		return x.mail.Alter(ctx, &visibility.QueueConfig{FIFO: true})
	}},
	refusedMessage("no body", pebblemq.ErrInvalid, visibility.Message{}),
	refusedMessage("too much body", pebblemq.ErrTooLarge, visibility.Message{Body: huge}),
	refusedMessage("a priority in a queue without", pebblemq.ErrTooLarge, visibility.Message{Body: []byte("b"), Priority: 1}),
	refusedMessage("a delay of ages", pebblemq.ErrInvalid, visibility.Message{Body: []byte("b"), Delay: age}),
	refusedMessage("an id of two lines", pebblemq.ErrInvalid, visibility.Message{Body: []byte("b"), ID: "a\nb"}),
	refusedMessage("too many attributes", pebblemq.ErrTooLarge, visibility.Message{Body: []byte("b"), Attributes: map[string]visibility.Attribute{"a": {Type: visibility.String}, "b": {Type: visibility.String}}}),
	refusedMessage("an attribute without a name", pebblemq.ErrInvalid, visibility.Message{Body: []byte("b"), Attributes: map[string]visibility.Attribute{"": {Type: visibility.String}}}),
	refusedMessage("an attribute without a type", pebblemq.ErrInvalid, visibility.Message{Body: []byte("b"), Attributes: map[string]visibility.Attribute{"a": {}}}),
	refusedMessage("a number that is none", pebblemq.ErrInvalid, visibility.Message{Body: []byte("b"), Attributes: map[string]visibility.Attribute{"a": {Type: visibility.Number, Value: []byte("x")}}}),
	refusedMessage("a string that is none", pebblemq.ErrInvalid, visibility.Message{Body: []byte("b"), Attributes: map[string]visibility.Attribute{"a": {Type: visibility.String, Value: []byte{0xff}}}}),
	{"a message of no group", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		_, err := x.lines.Send(ctx, visibility.Message{})
		return err
	}},
	{"a delay in a queue with order and priorities", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		_, err := x.lines.Send(ctx, visibility.Message{Group: "g", Delay: time.Second})
		return err
	}},
	{"a receive of fewer than none", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		_, err := x.mail.Receive(ctx, &visibility.ReceiveOptions{Max: -1})
		return err
	}},
	{"a receive that hides for ages", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		_, err := x.mail.Receive(ctx, &visibility.ReceiveOptions{VisibilityTimeout: age})
		return err
	}},
	{"a receipt that is none", visibility.ErrInvalidReceipt, func(ctx context.Context, x *office) error {
		return x.mail.Delete(ctx, "receipt")
	}},
	{"another receipt that is none", visibility.ErrInvalidReceipt, func(ctx context.Context, x *office) error {
		return x.mail.ChangeVisibility(ctx, visibility.Receipt(strings.Repeat("A", 72)), time.Second)
	}},
	{"the end of a delay of no message", visibility.ErrUnknownMessage, func(ctx context.Context, x *office) error {
		return x.mail.Cancel(ctx, nobody)
	}},

	// The work queue.
	{"a broker without a name", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		_, err := workqueue.OpenBroker(ctx, x.db, "")
		return err
	}},
	{"a broker that there is not", workqueue.ErrUnknownBroker, func(ctx context.Context, x *office) error {
		_, err := workqueue.LookupBroker(ctx, x.db, nobody)
		return err
	}},
	{"a work queue that there is not", workqueue.ErrUnknownQueue, func(ctx context.Context, x *office) error {
		_, err := x.broker.Queue(ctx, nobody)
		return err
	}},
	{"an exchange that there is not", workqueue.ErrUnknownExchange, func(ctx context.Context, x *office) error {
		_, err := x.broker.Exchange(ctx, nobody)
		return err
	}},
	refusedQueue("a name that is reserved", workqueue.ErrInUse, "amq.mine", nil),
	refusedQueue("fewer messages than none", pebblemq.ErrInvalid, nobody, &workqueue.QueueConfig{MaxLength: -1}),
	refusedQueue("dead letters that go and are dropped", pebblemq.ErrInvalid, nobody, &workqueue.QueueConfig{DropDead: true, DeadLetter: &workqueue.DeadLetter{Key: officeName}}),
	refusedQueue("dead letters that go nowhere", workqueue.ErrUnknownExchange, nobody, &workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Exchange: nobody}}),
	refusedQueue("another config", pebblemq.ErrConfigMismatch, officeName, &workqueue.QueueConfig{MaxPriority: 9}),
	{"an exchange of no kind", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		return x.broker.DeclareExchange(ctx, nobody, "kind of nothing", nil)
	}},
	{"a binding of no exchange", workqueue.ErrUnknownExchange, func(ctx context.Context, x *office) error {
		return x.broker.Bind(ctx, workqueue.Binding{Exchange: nobody, Queue: officeName})
	}},
	{"a binding to two places", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		return x.broker.Bind(ctx, workqueue.Binding{Exchange: nobody, Queue: officeName, Topic: officeName})
	}},
	{"a binding of the default exchange", workqueue.ErrInUse, func(ctx context.Context, x *office) error {
		return x.broker.Bind(ctx, workqueue.Binding{Queue: officeName, Key: "k"})
	}},
	refusedPublish("no queue", workqueue.ErrUnknownQueue, nobody, workqueue.Message{}),
	refusedPublish("a time to live before now", pebblemq.ErrInvalid, officeName, workqueue.Message{TTL: -5 * time.Second}),
	refusedPublish("a delay of ages", pebblemq.ErrInvalid, officeName, workqueue.Message{Delay: age}),
	refusedPublish("too much body", pebblemq.ErrTooLarge, officeName, workqueue.Message{Body: huge}),
	refusedPublish("a header without a name", pebblemq.ErrInvalid, officeName, workqueue.Message{Headers: map[string]string{"": "v"}}),
	refusedPublish("a header that is no text", pebblemq.ErrInvalid, officeName, workqueue.Message{Headers: map[string]string{"a": "\xff"}}),
	refusedPublish("headers that are too long", pebblemq.ErrTooLarge, officeName, workqueue.Message{Headers: map[string]string{"a": longText}}),
	refusedPublish("a type that is too long", pebblemq.ErrTooLarge, officeName, workqueue.Message{ContentType: longText}),
	refusedPublish("a type that is no text", pebblemq.ErrInvalid, officeName, workqueue.Message{ContentType: "\xff"}),
	refusedPublish("too many keys", pebblemq.ErrTooLarge, officeName, workqueue.Message{CC: make([]string, workqueue.MaxExtraKeys+1)}),
	refusedJob("without a name", pebblemq.ErrInvalid, workqueue.Job{Every: time.Hour, Key: officeName}),
	refusedJob("without a time", pebblemq.ErrInvalid, workqueue.Job{Name: nobody, Key: officeName}),
	refusedJob("at each moment", pebblemq.ErrInvalid, workqueue.Job{Name: nobody, Every: 1, Key: officeName}),
	refusedJob("since long ago", pebblemq.ErrInvalid, workqueue.Job{Name: nobody, Every: time.Hour, First: ancient, Key: officeName}),
	refusedJob("for no exchange", workqueue.ErrUnknownExchange, workqueue.Job{Name: nobody, Every: time.Hour, Exchange: nobody}),
	{"the end of a job that there is not", workqueue.ErrUnknownJob, func(ctx context.Context, x *office) error {
		return x.broker.DeleteJob(ctx, nobody)
	}},
	{"no topology", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		_, err := x.broker.Apply(ctx, nil, nil)
		return err
	}},
	{"a topology that defines a queue twice", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		_, err := x.broker.Apply(ctx, &workqueue.Topology{Queues: []workqueue.QueueDefinition{{Name: nobody}, {Name: nobody, QueueConfig: workqueue.QueueConfig{MaxLength: 1}}}}, nil)
		return err
	}},
	{"a topology with a binding of no exchange", workqueue.ErrUnknownExchange, func(ctx context.Context, x *office) error {
		_, err := x.broker.Apply(ctx, &workqueue.Topology{Queues: []workqueue.QueueDefinition{{Name: nobody}}, Bindings: []workqueue.Binding{{Exchange: nobody, Queue: nobody}}}, nil)
		return err
	}},
	{"a text that is no topology", pebblemq.ErrInvalid, func(context.Context, *office) error {
		_, err := workqueue.ParseTopology([]byte(`{"queues": 3}`))
		return err
	}},

	// The namespace.
	{"a namespace without a name", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		_, err := idempotency.OpenNamespace(ctx, x.db, "", nil)
		return err
	}},
	{"a namespace that forgets before it knows", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		_, err := idempotency.OpenNamespace(ctx, x.db, nobody, &idempotency.Config{Expiry: -1})
		return err
	}},
	{"a namespace that there is not", idempotency.ErrUnknownNamespace, func(ctx context.Context, x *office) error {
		_, err := idempotency.LookupNamespace(ctx, x.db, nobody)
		return err
	}},
	{"no key", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		_, err := x.keys.Once(ctx, nil, func(*pebblemq.Tx) ([]byte, error) { return nil, nil }, nil)
		return err
	}},
	{"a key that is too long", pebblemq.ErrTooLarge, func(ctx context.Context, x *office) error {
		_, err := x.keys.Seen(ctx, []byte(longText))
		return err
	}},
	{"to forget no key", pebblemq.ErrInvalid, func(ctx context.Context, x *office) error {
		return x.keys.Forget(ctx, nil)
	}},
	{"a result that is too long", pebblemq.ErrTooLarge, func(ctx context.Context, x *office) error {
		_, err := x.keys.Once(ctx, []byte("k"), func(*pebblemq.Tx) ([]byte, error) { return huge, nil }, nil)
		return err
	}},
}

func refusedMessage(what string, want error, m visibility.Message) refusal {
	return refusal{"a message with " + what, want, func(ctx context.Context, x *office) error {
		_, err := x.mail.Send(ctx, m)
		return err
	}}
}

func refusedQueue(what string, want error, name string, config *workqueue.QueueConfig) refusal {
	return refusal{"a work queue with " + what, want, func(ctx context.Context, x *office) error {
		_, err := x.broker.DeclareQueue(ctx, name, config)
		return err
	}}
}

func refusedPublish(what string, want error, key string, m workqueue.Message) refusal {
	return refusal{"to publish with " + what, want, func(ctx context.Context, x *office) error {
		return x.broker.Publish(ctx, "", key, m)
	}}
}

func refusedJob(what string, want error, j workqueue.Job) refusal {
	return refusal{"a job " + what, want, func(ctx context.Context, x *office) error { return x.broker.PutJob(ctx, j) }}
}

// soundSteps are operations that nothing is wrong with.
var soundSteps = []txStep{
	{"set a key", nil, func(tx *pebblemq.Tx, _ *office) error { return tx.Set([]byte(officeName), []byte("v")) }},
	{"delete a key and walk over all", nil, func(tx *pebblemq.Tx, _ *office) error {
		if err := tx.Delete([]byte(nobody)); err != nil {
			return err
		}
		for _, err := range tx.Scan(&pebblemq.ScanOptions{Prefix: []byte(officeName)}) {
			if err != nil {
				return err
			}
		}
		return nil
	}},
	{"append", nil, func(tx *pebblemq.Tx, x *office) error {
		_, err := x.topic.In(tx).AppendWith(log.AppendOptions{ID: "i"}, record("k", "v"), record("l", "v"))
		return err
	}},
	{"send", nil, func(tx *pebblemq.Tx, x *office) error {
		_, err := x.mail.In(tx).Send(visibility.Message{Body: []byte("b"), Delay: time.Hour})
		return err
	}},
	{"send to a group", nil, func(tx *pebblemq.Tx, x *office) error {
		_, err := x.lines.In(tx).Send(visibility.Message{Group: "g", Priority: 2, DedupeID: "d"})
		return err
	}},
	{"publish", nil, func(tx *pebblemq.Tx, x *office) error {
		return x.broker.In(tx).Publish("", officeName, workqueue.Message{Body: []byte("b"), UniqueKey: "u"})
	}},
	{"put a job", nil, func(tx *pebblemq.Tx, x *office) error {
		return x.broker.In(tx).PutJob(workqueue.Job{Name: officeName, Every: time.Hour, Key: officeName})
	}},
	{"put it anew and delete it", nil, func(tx *pebblemq.Tx, x *office) error {
		if err := x.broker.In(tx).PutJob(workqueue.Job{Name: officeName, Every: time.Minute, Key: officeName}); err != nil {
			return err
		}
		return x.broker.In(tx).DeleteJob(officeName)
	}},
	{"complete a key", nil, func(tx *pebblemq.Tx, x *office) error { return x.keys.In(tx).Complete([]byte("k"), []byte("r")) }},
}

// refusedSteps are operations that are refused, some of them only when the transaction is run.
var refusedSteps = []txStep{
	{"an append at another offset", log.ErrConflict, func(tx *pebblemq.Tx, x *office) error {
		_, err := x.topic.In(tx).AppendWith(log.AppendOptions{Partition: log.InPartition(1), ExpectOffset: log.AtOffset(99)}, record("k", "v"))
		return err
	}},
	{"a record that is too large", pebblemq.ErrTooLarge, func(tx *pebblemq.Tx, x *office) error {
		_, err := x.topic.In(tx).Append(log.Record{Value: huge})
		return err
	}},
	{"a message without a body", pebblemq.ErrInvalid, func(tx *pebblemq.Tx, x *office) error {
		_, err := x.mail.In(tx).Send(visibility.Message{})
		return err
	}},
	{"a receipt that is none", visibility.ErrInvalidReceipt, func(tx *pebblemq.Tx, x *office) error {
		return x.mail.In(tx).Delete("receipt")
	}},
	{"the end of a delay of no message", visibility.ErrUnknownMessage, func(tx *pebblemq.Tx, x *office) error {
		return x.mail.In(tx).Cancel(nobody)
	}},
	{"a message for no queue", workqueue.ErrUnknownQueue, func(tx *pebblemq.Tx, x *office) error {
		return x.broker.In(tx).Publish("", nobody, workqueue.Message{})
	}},
	{"the end of a job that there is not", workqueue.ErrUnknownJob, func(tx *pebblemq.Tx, x *office) error {
		return x.broker.In(tx).DeleteJob(nobody)
	}},
	{"a job without a time", pebblemq.ErrInvalid, func(tx *pebblemq.Tx, x *office) error {
		return x.broker.In(tx).PutJob(workqueue.Job{Name: nobody, Key: officeName})
	}},
	{"the end of a delay of no message of a work queue", workqueue.ErrUnknownMessage, func(tx *pebblemq.Tx, x *office) error {
		return x.jobs.In(tx).Cancel(nobody)
	}},
	{"a key that is completed twice", idempotency.ErrDuplicate, func(tx *pebblemq.Tx, x *office) error {
		return x.keys.In(tx).Complete([]byte("k"), []byte("r"))
	}},
	{"a claim of nobody", pebblemq.ErrInvalid, func(tx *pebblemq.Tx, _ *office) error {
		return idempotency.Claim{}.In(tx).Complete(nil)
	}},
}
