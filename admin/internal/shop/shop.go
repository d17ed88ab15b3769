// Package shop fills a store with all kinds of objects, for the tests of the pages.
package shop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// Hostile is a payload and a header that try to be a part of the page.
const Hostile = `<script>document.title='owned'</script><img src=x onerror="document.title='owned'">'"`

// HostileQueue is a name of a queue that tries the same, and has every character that a path gives a
// meaning to.
const HostileQueue = `<b>q/1?a=b&c#d%20'"`

// Fill makes the objects of a shop. There is a topic with a group that is behind, and a broker with
// exchanges and queues. Some messages are delayed, in flight or dead, and a group of a FIFO queue is blocked.
func Fill(ctx context.Context, db *pebblemq.DB) error {
	for _, step := range []func(context.Context, *pebblemq.DB) error{fillLog, fillVisibility, fillBroker, fillDead, fillKeys} {
		if err := step(ctx, db); err != nil {
			return err
		}
	}
	return nil
}

// Crowd declares many queues in a broker of their own.
func Crowd(ctx context.Context, db *pebblemq.DB, queues int) error {
	b, err := workqueue.OpenBroker(ctx, db, "crowd")
	if err != nil {
		return err
	}
	var all workqueue.Topology
	for n := range queues {
		all.Queues = append(all.Queues, workqueue.QueueDefinition{Name: fmt.Sprintf("tenant-%05d", n)})
	}
	_, err = b.Apply(ctx, &all, nil)
	return err
}

func fillLog(ctx context.Context, db *pebblemq.DB) error {
	orders, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 3, IndexKeys: true, RetentionTime: 30 * 24 * time.Hour})
	if err != nil {
		return err
	}
	var records []log.Record
	for n := range 600 {
		records = append(records, log.Record{
			Key:     fmt.Appendf(nil, "customer-%d", n%40),
			Value:   fmt.Appendf(nil, `{"order":%d,"amount":"%d.90","items":["book","pen"],"state":"paid"}`, n, n%90),
			Headers: []log.Header{{Name: "type", Value: []byte("order.paid")}, {Name: "trace", Value: fmt.Appendf(nil, "%032x", n)}},
		})
	}
	records = append(records,
		log.Record{Key: []byte("hostile"), Value: []byte(Hostile), Headers: []log.Header{{Name: Hostile, Value: []byte(Hostile)}}},
		log.Record{Key: []byte("bytes"), Value: []byte{0, 1, 2, 0xff, 0xfe}},
		log.Record{Key: []byte("tombstone")})
	if _, err := orders.Append(ctx, records...); err != nil {
		return err
	}
	if _, err := log.OpenTopic(ctx, db, "audit", &log.TopicConfig{Compression: log.Zstd}); err != nil {
		return err
	}
	billing, err := orders.OpenGroup(ctx, "billing", nil)
	if err != nil {
		return err
	}
	if err := billing.Seek(ctx, log.Offset(120)); err != nil {
		return err
	}
	if _, err := billing.Join(ctx, &log.JoinOptions{Name: "worker-a"}); err != nil {
		return err
	}
	if _, err := billing.Join(ctx, &log.JoinOptions{Name: "worker-b"}); err != nil {
		return err
	}
	_, err = orders.OpenGroup(ctx, "search", nil)
	return err
}

func fillVisibility(ctx context.Context, db *pebblemq.DB) error {
	parcels, err := visibility.OpenQueue(ctx, db, "parcels", &visibility.QueueConfig{FIFO: true, VisibilityTimeout: time.Hour})
	if err != nil {
		return err
	}
	for n := range 12 {
		m := visibility.Message{Group: fmt.Sprintf("depot-%d", n%3), ID: fmt.Sprintf("parcel-%d", n), Body: fmt.Appendf(nil, `{"parcel":%d}`, n)}
		if _, err := parcels.Send(ctx, m); err != nil {
			return err
		}
	}
	if _, err := parcels.Receive(ctx, &visibility.ReceiveOptions{Max: 2}); err != nil {
		return err
	}
	mail, err := visibility.OpenQueue(ctx, db, "mail", nil)
	if err != nil {
		return err
	}
	_, err = mail.Send(ctx, visibility.Message{
		ID: "newsletter", Body: []byte("Hello"), Delay: time.Hour, Attributes: map[string]visibility.Attribute{"lang": visibility.StringAttribute("en")},
	})
	return err
}

func fillBroker(ctx context.Context, db *pebblemq.DB) error {
	b, err := workqueue.OpenBroker(ctx, db, "main")
	if err != nil {
		return err
	}
	events, direct := workqueue.ExchangeDefinition{Name: "events", Kind: workqueue.Topic}, workqueue.ExchangeDefinition{Name: "commands", Kind: workqueue.Direct}
	all := &workqueue.Topology{
		Exchanges: []workqueue.ExchangeDefinition{events, direct, {Name: "fan", Kind: workqueue.Fanout}},
		Queues:    []workqueue.QueueDefinition{{Name: "emails"}, {Name: "invoices"}, {Name: "thumbnails"}, {Name: HostileQueue}},
		Bindings: []workqueue.Binding{
			{Exchange: "events", Key: "order.*", Queue: "emails"}, {Exchange: "events", Key: "order.paid", Queue: "invoices"},
			{Exchange: "events", Key: "order.paid", VisibilityQueue: "parcels"}, {Exchange: "events", Key: "#", Topic: "audit"},
			{Exchange: "commands", Key: "thumbnail", Queue: "thumbnails"}, {Exchange: "events", Key: "user.#", ToExchange: "fan"},
			{Exchange: "fan", Queue: HostileQueue},
		},
	}
	if _, err := b.Apply(ctx, all, nil); err != nil {
		return err
	}
	for n := range 150 {
		m := workqueue.Message{
			MessageID: fmt.Sprintf("mail-%d", n), Body: fmt.Appendf(nil, `{"to":"customer-%d@example.org","template":"receipt"}`, n),
			Headers: map[string]string{"tenant": fmt.Sprint(n % 7)},
		}
		if err := b.Publish(ctx, "", "emails", m); err != nil {
			return err
		}
	}
	more := []struct {
		queue string
		m     workqueue.Message
	}{
		{"thumbnails", workqueue.Message{MessageID: "later", Body: []byte("cat.png"), Delay: 3 * time.Hour}},
		{"emails", workqueue.Message{MessageID: "hostile", Body: []byte(Hostile), Headers: map[string]string{"x": Hostile}}},
		{HostileQueue, workqueue.Message{MessageID: Hostile, Body: []byte{0xff, 0, 1}}},
	}
	for _, p := range more {
		if err := b.Publish(ctx, "", p.queue, p.m); err != nil {
			return err
		}
	}
	return b.PutJob(ctx, workqueue.Job{Name: "nightly", Every: 24 * time.Hour, Key: "invoices", Message: workqueue.Message{Body: []byte("run")}})
}

// fillDead lets handlers fail until their messages are dead letters.
func fillDead(ctx context.Context, db *pebblemq.DB) error {
	b, err := workqueue.LookupBroker(ctx, db, "main")
	if err != nil {
		return err
	}
	for n := range 9 {
		m := workqueue.Message{MessageID: fmt.Sprintf("invoice-%d", n), Body: fmt.Appendf(nil, `{"invoice":%d}`, n)}
		if err := b.Publish(ctx, "", "invoices", m); err != nil {
			return err
		}
	}
	invoices, err := b.Queue(ctx, "invoices")
	if err != nil {
		return err
	}
	run, stop := context.WithCancel(ctx)
	defer stop()
	failed := 0
	return invoices.Run(run, func(_ context.Context, d *workqueue.Delivery) error {
		if failed++; failed == 9 {
			stop()
		}
		if strings.HasSuffix(d.MessageID, "3") {
			return pebblemq.Reject(errors.New("no such customer"))
		}
		return pebblemq.Reject(errors.New("smtp: connection refused"))
	}, nil)
}

func fillKeys(ctx context.Context, db *pebblemq.DB) error {
	requests, err := idempotency.OpenNamespace(ctx, db, "requests", nil)
	if err != nil {
		return err
	}
	for n := range 70 {
		_, err := requests.Once(ctx, fmt.Appendf(nil, "req-%03d", n), func(*pebblemq.Tx) ([]byte, error) {
			return fmt.Appendf(nil, `{"status":201,"order":%d}`, n), nil
		}, nil)
		if err != nil {
			return err
		}
	}
	_, err = requests.Once(ctx, []byte(Hostile), func(*pebblemq.Tx) ([]byte, error) { return []byte(Hostile), nil }, nil)
	return err
}
