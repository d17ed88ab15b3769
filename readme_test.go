package pebblemq_test

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// The examples of this file are the snippets of the README. A test in internal/lint compares them.

// shop is a program with one queue of each kind.
type shop struct {
	db      *pebblemq.DB
	broker  *workqueue.Broker
	emails  *workqueue.Queue
	billing *log.Group
	parcels *visibility.Queue
	done    chan string
}

func openShop(ctx context.Context) (*shop, error) {
	db, err := pebblemq.OpenMemory(nil)
	if err != nil {
		return nil, err
	}
	s := &shop{db: db, done: make(chan string, 3)}
	if err := s.declare(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

func (s *shop) declare(ctx context.Context) (err error) {
	if s.broker, err = workqueue.OpenBroker(ctx, s.db, "main"); err != nil {
		return err
	}
	if s.emails, err = s.broker.DeclareQueue(ctx, "emails", nil); err != nil {
		return err
	}
	orders, err := log.OpenTopic(ctx, s.db, "orders", nil)
	if err != nil {
		return err
	}
	if s.billing, err = orders.OpenGroup(ctx, "billing", nil); err != nil {
		return err
	}
	s.parcels, err = visibility.OpenQueue(ctx, s.db, "parcels", nil)
	return err
}

func (s *shop) charge(_ context.Context, order []byte) error { return s.did("charge", order) }
func (s *shop) send(_ context.Context, mail []byte) error    { return s.did("send", mail) }
func (s *shop) ship(_ context.Context, parcel []byte) error  { return s.did("ship", parcel) }

func (s *shop) did(what string, with []byte) error {
	s.done <- what + " " + string(with)
	return nil
}

// route leads one exchange to a queue of each kind.
func (s *shop) route(ctx context.Context) error {
	broker := s.broker
	if err := broker.DeclareExchange(ctx, "events", workqueue.Topic, nil); err != nil {
		return err
	}
	for _, b := range []workqueue.Binding{
		{Exchange: "events", Key: "order.#", Queue: "emails"},
		{Exchange: "events", Key: "#", Topic: "orders"},
		{Exchange: "events", Key: "order.paid", VisibilityQueue: "parcels"},
	} {
		if err := broker.Bind(ctx, b); err != nil {
			return err
		}
	}
	return broker.Publish(ctx, "events", "order.paid", workqueue.Message{Body: []byte("42")})
}

// work runs the handlers of all three until ctx ends or one Run fails.
func (s *shop) work(ctx context.Context) error {
	billing, emails, parcels := s.billing, s.emails, s.parcels
	charge, send, ship := s.charge, s.send, s.ship
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return billing.Run(ctx, func(ctx context.Context, r log.Record) error { return charge(ctx, r.Value) }, nil)
	})
	g.Go(func() error {
		return emails.Run(ctx, func(ctx context.Context, d *workqueue.Delivery) error { return send(ctx, d.Body) }, nil)
	})
	g.Go(func() error {
		return parcels.Run(ctx, func(ctx context.Context, m *visibility.Received) error { return ship(ctx, m.Body) }, nil)
	})
	return g.Wait()
}

// Three handlers, one for each kind of queue, receive what one publish routed to them.
func Example_handlers() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	s, err := openShop(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := s.route(ctx); err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error, 1)
	go func() { ended <- s.work(ctx) }()
	for range 3 {
		fmt.Println(<-s.done)
	}
	stop()
	fmt.Println(<-ended, s.db.Close())
	// Unordered output:
	// send 42
	// charge 42
	// ship 42
	// <nil> <nil>
}

// countOnce takes an email from the queue and counts it exactly once: the key, the count and the
// acknowledgement are one commit.
func (s *shop) countOnce(ctx context.Context, seen *idempotency.Namespace, d *workqueue.Delivery) error {
	broker := s.broker
	res, err := seen.Once(ctx, d.Body, func(tx *pebblemq.Tx) ([]byte, error) {
		if err := broker.In(tx).Ack(d); err != nil {
			return nil, err
		}
		return nil, tx.Set(append([]byte("counted/"), d.Body...), nil)
	}, nil)
	if err == nil && res.Replayed { // a duplicate: the effect is there already
		err = d.Ack(ctx)
	}
	return err
}

// An effect in the store, the acknowledgement of its message and the dedupe key are one commit.
func Example_once() {
	ctx := context.Background()
	s, err := openShop(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.db.Close()
	seen, err := idempotency.OpenNamespace(ctx, s.db, "emails", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 { // the producer repeats itself
		if err := s.broker.Publish(ctx, "", "emails", workqueue.Message{Body: []byte("42")}); err != nil {
			fmt.Println(err)
			return
		}
		d, _, err := s.emails.Get(ctx)
		if err == nil {
			err = s.countOnce(ctx, seen, d)
		}
		fmt.Println(err)
	}
	info, err := seen.Info(ctx)
	fmt.Println(info.Completed, err)
	// Output:
	// <nil>
	// <nil>
	// 1 <nil>
}
