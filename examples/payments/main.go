// Payments shows what a second delivery does to a payment, in three ways side by
// side. Orders come through a work queue, each one twice, as a producer that lost
// its confirmation sends again:
//
//	naive          the handler charges for every delivery
//	leased         the charge is made by a service outside: idempotency.Namespace.Do
//	transactional  the account is in the store: charge, key and acknowledgement
//	               are one commit
//
//	go run ./examples/payments
//
// The exit status is 0 only if naive charged twice and the others once.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/workqueue"
)

const (
	orders = 10
	price  = 7
)

func main() {
	if err := demonstrate(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "payments:", err)
		os.Exit(1)
	}
}

// handler handles one delivery of an order.
type handler = func(context.Context, *workqueue.Delivery) error

func demonstrate(ctx context.Context, out io.Writer) error {
	for _, way := range []struct {
		name string
		make func(*shop) handler
		want int
	}{
		{"naive", (*shop).naive, 2 * orders * price},
		{"leased", (*shop).leased, orders * price},
		{"transactional", (*shop).transactional, orders * price},
	} {
		charged, err := try(ctx, way.make)
		if err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		fmt.Fprintf(out, "%-14s %d orders of %d, each delivered twice: charged %d\n", way.name, orders, price, charged)
		if charged != way.want {
			return fmt.Errorf("%s charged %d, not %d", way.name, charged, way.want)
		}
	}
	return nil
}

// try sends every order twice, handles all deliveries, and returns what was
// charged in the end.
func try(ctx context.Context, way func(*shop) handler) (charged int, err error) {
	s, err := open(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.db.Close()) }()
	for i := range 2 * orders {
		order := "order-" + strconv.Itoa(i%orders)
		if err := s.broker.Publish(ctx, "", "orders", workqueue.Message{MessageID: order}); err != nil {
			return 0, err
		}
	}
	if err := s.handle(ctx, way(s)); err != nil {
		return 0, err
	}
	inside, err := s.account(ctx)
	return inside + s.service.total(), err
}

// shop is a store with a queue of orders, and the payment service outside it.
type shop struct {
	db      *pebblemq.DB
	broker  *workqueue.Broker
	orders  *workqueue.Queue
	keys    *idempotency.Namespace
	service service
}

func open(ctx context.Context) (*shop, error) {
	db, err := pebblemq.OpenMemory(nil)
	if err != nil {
		return nil, err
	}
	s := &shop{db: db}
	if s.broker, err = workqueue.OpenBroker(ctx, db, "shop"); err == nil {
		s.orders, err = s.broker.DeclareQueue(ctx, "orders", nil)
	}
	if err == nil {
		s.keys, err = idempotency.OpenNamespace(ctx, db, "payments", nil)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// handle runs h, four at a time, until every delivery is done.
func (s *shop) handle(ctx context.Context, h handler) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	left := 2 * orders
	counted := func(ctx context.Context, d *workqueue.Delivery) error {
		err := h(ctx, d)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			left--
		}
		if left == 0 {
			stop()
		}
		return err
	}
	return s.orders.Run(ctx, counted, &workqueue.RunOptions{Concurrency: 4})
}

// naive charges whenever it is called.
func (s *shop) naive() handler {
	return func(_ context.Context, d *workqueue.Delivery) error {
		s.service.charge(d.MessageID, price)
		return nil
	}
}

// byOrder says that two deliveries with the same message id are the same order.
func (s *shop) byOrder() idempotency.Wrapper[*workqueue.Delivery] {
	return idempotency.Wrapper[*workqueue.Delivery]{
		Keys: s.keys,
		Key:  func(d *workqueue.Delivery) ([]byte, error) { return []byte(d.MessageID), nil },
	}
}

// leased charges once for an order, as long as the process lives. After a crash
// in the middle the next run is told, and asks the service first.
func (s *shop) leased() handler {
	return s.byOrder().Leased(func(_ context.Context, d *workqueue.Delivery, c idempotency.Claim) error {
		if c.Interrupted && s.service.charged(d.MessageID) {
			return nil
		}
		s.service.charge(d.MessageID, price)
		return nil
	})
}

// transactional charges once for an order, whatever happens: the account changes
// in the commit that acknowledges the delivery and completes the key.
func (s *shop) transactional() handler {
	return s.byOrder().Transactional(s.db,
		func(tx *pebblemq.Tx, _ *workqueue.Delivery) error { return charge(tx, price) },
		func(tx *pebblemq.Tx, d *workqueue.Delivery) error { return s.broker.In(tx).Ack(d) })
}

var accountKey = []byte("account")

func charge(tx *pebblemq.Tx, amount int) error {
	sum, err := balance(tx)
	if err != nil {
		return err
	}
	return tx.Set(accountKey, strconv.AppendInt(nil, int64(sum+amount), 10))
}

func balance(tx *pebblemq.Tx) (int, error) {
	v, err := tx.Get(accountKey)
	if err != nil || v == nil {
		return 0, err
	}
	return strconv.Atoi(string(v))
}

// account returns what was charged inside the store.
func (s *shop) account(ctx context.Context) (sum int, err error) {
	err = s.db.View(ctx, func(tx *pebblemq.Tx) (err error) {
		sum, err = balance(tx)
		return err
	})
	return sum, err
}

// service stands for a payment service: its charges cannot be taken back.
type service struct {
	mu      sync.Mutex
	charges map[string]int
}

func (s *service) charge(order string, amount int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.charges == nil {
		s.charges = make(map[string]int)
	}
	s.charges[order] += amount
}

func (s *service) charged(order string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.charges[order] > 0
}

func (s *service) total() (sum int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, amount := range s.charges {
		sum += amount
	}
	return sum
}
