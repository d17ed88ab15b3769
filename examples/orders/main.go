// Orders is an order-event log with three independent groups of consumers: analytics
// keeps a table of revenue by day, e-mail writes to customers, and audit counts what
// it sees. The analytics code has a bug: it books refunds as revenue. When that is
// fixed, last Tuesday is replayed from the log into the analytics table, and into
// nothing else: no customer gets a second mail.
//
//	go run ./examples/orders
//
// The exit status is 0 only if the books balance.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// event is what happened to an order.
type event struct {
	Order  string    `json:"order"`
	What   string    `json:"what"` // "paid" or "refunded"
	Cents  int64     `json:"cents"`
	Placed time.Time `json:"placed"`
}

// The week that the example is about. Tuesday is its second day.
var (
	monday  = time.Date(2026, time.November, 16, 0, 0, 0, 0, time.UTC)
	tuesday = monday.AddDate(0, 0, 1)
)

const (
	days   = 7
	orders = 500 // a day
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	db, err := pebblemq.OpenMemory(nil)
	if err != nil {
		return err
	}
	defer db.Close()
	topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 3})
	if err != nil {
		return err
	}
	truth, refunds, err := produce(ctx, topic)
	if err != nil {
		return err
	}
	s := &shop{db: db, topic: topic, book: bookWithBug}
	if err := s.consume(ctx); err != nil {
		return err
	}
	wrong, err := s.revenue(ctx, tuesday)
	if err != nil {
		return err
	}
	mails := s.mails.Load()

	s.book = book // the fix
	if err := s.replay(ctx, tuesday, tuesday.AddDate(0, 0, 1)); err != nil {
		return err
	}
	return s.report(ctx, truth, wrong, refunds, mails)
}

// produce writes a week of orders, and returns the revenue of Tuesday and how many
// refunds there were that day.
func produce(ctx context.Context, topic *log.Topic) (truth int64, refunds int, err error) {
	rng := rand.New(rand.NewPCG(1, 2))
	for day := range days {
		var batch []log.Record
		for n := range orders {
			e := event{Order: fmt.Sprintf("%d-%03d", day, n), What: "paid", Cents: 100 + rng.Int64N(10_000)}
			e.Placed = monday.AddDate(0, 0, day).Add(time.Duration(rng.Int64N(int64(24 * time.Hour))))
			if rng.IntN(10) == 0 {
				e.What = "refunded"
			}
			if day == 1 {
				truth += book(e)
			}
			if day == 1 && e.What == "refunded" {
				refunds++
			}
			v, err := json.Marshal(e)
			if err != nil {
				return 0, 0, err
			}
			batch = append(batch, log.Record{Key: []byte(e.Order), Value: v, Timestamp: e.Placed})
		}
		if _, err := topic.Append(ctx, batch...); err != nil {
			return 0, 0, err
		}
	}
	return truth, refunds, nil
}

// book returns what an event adds to the day's revenue.
func book(e event) int64 {
	if e.What == "refunded" {
		return -e.Cents
	}
	return e.Cents
}

func bookWithBug(e event) int64 { return e.Cents }

// shop is the three consumers and what they have done.
type shop struct {
	db    *pebblemq.DB
	topic *log.Topic
	book  func(event) int64

	mails, seen atomic.Int64
}

// consume lets each group work through the log.
func (s *shop) consume(ctx context.Context) error {
	return errors.Join(
		s.analyse(ctx),
		s.drain(ctx, "e-mail", func(event) error { s.mails.Add(1); return nil }),
		s.drain(ctx, "audit", func(event) error { s.seen.Add(1); return nil }),
	)
}

// drain runs a handler until its group has finished all there is.
func (s *shop) drain(ctx context.Context, name string, handle func(event) error) error {
	group, err := s.topic.OpenGroup(ctx, name, nil)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var left atomic.Int64
	left.Store(days * orders)
	return group.Run(ctx, func(_ context.Context, r log.Record) error {
		e, err := decode(r)
		if err == nil {
			err = handle(e)
		}
		if err == nil && left.Add(-1) == 0 {
			stop()
		}
		return err
	}, &log.RunOptions{Concurrency: 4})
}

// analyse keeps the table of revenue: each row changes in the commit that moves the
// group on, so no event is ever counted twice.
func (s *shop) analyse(ctx context.Context) error {
	group, err := s.topic.OpenGroup(ctx, "analytics", nil)
	if err != nil {
		return err
	}
	member, err := group.Join(ctx, nil)
	if err != nil {
		return err
	}
	for left := days * orders; left > 0; {
		records, err := member.Poll(ctx, 200)
		if err != nil {
			return err
		}
		left -= len(records)
		err = s.db.Update(ctx, func(tx *pebblemq.Tx) error {
			return errors.Join(s.add(tx, records), member.In(tx).Commit(records...))
		})
		if err != nil {
			return err
		}
	}
	return member.Leave(ctx)
}

// add books records in the table.
func (s *shop) add(tx *pebblemq.Tx, records []log.Record) error {
	for _, r := range records {
		e, err := decode(r)
		if err != nil {
			return err
		}
		cents, err := row(tx, e.Placed)
		if err != nil {
			return err
		}
		if err := tx.Set(rowKey(e.Placed), fmt.Append(nil, cents+s.book(e))); err != nil {
			return err
		}
	}
	return nil
}

// replay computes the rows of some days anew, from the log. It reads without a group, so it
// affects no other reader.
func (s *shop) replay(ctx context.Context, from, to time.Time) error {
	var records []log.Record
	for p := range s.topic.Partitions() {
		r, err := s.topic.NewReader(p, log.At(from))
		if err != nil {
			return err
		}
		for {
			found, err := r.Fetch(ctx, 1000, 1<<20)
			if err != nil {
				return err
			}
			if len(found) == 0 {
				break
			}
			for _, rec := range found { // events are not quite in the order of their time
				if !rec.Timestamp.Before(from) && rec.Timestamp.Before(to) {
					records = append(records, rec)
				}
			}
		}
	}
	return s.db.Update(ctx, func(tx *pebblemq.Tx) error {
		for day := from; day.Before(to); day = day.AddDate(0, 0, 1) {
			if err := tx.Delete(rowKey(day)); err != nil {
				return err
			}
		}
		return s.add(tx, records)
	})
}

// revenue reads a row.
func (s *shop) revenue(ctx context.Context, day time.Time) (cents int64, err error) {
	err = s.db.View(ctx, func(tx *pebblemq.Tx) error {
		cents, err = row(tx, day)
		return err
	})
	return cents, err
}

func row(tx *pebblemq.Tx, day time.Time) (cents int64, err error) {
	v, err := tx.Get(rowKey(day))
	if err != nil || v == nil {
		return 0, err
	}
	_, err = fmt.Sscan(string(v), &cents)
	return cents, err
}

func rowKey(day time.Time) []byte { return []byte("revenue/" + day.Format(time.DateOnly)) }

func decode(r log.Record) (e event, err error) {
	if err = json.Unmarshal(r.Value, &e); err != nil {
		err = fmt.Errorf("partition %d, offset %d: %w", r.Partition, r.Offset, err)
	}
	return e, err
}

// report prints the books and checks them.
func (s *shop) report(ctx context.Context, truth, wrong int64, refunds int, mails int64) error {
	right, err := s.revenue(ctx, tuesday)
	if err != nil {
		return err
	}
	fmt.Printf("events of the week         %d\n", days*orders)
	fmt.Printf("refunds on Tuesday         %d\n", refunds)
	fmt.Printf("Tuesday with the bug       %d.%02d\n", wrong/100, wrong%100)
	fmt.Printf("Tuesday after the replay   %d.%02d\n", right/100, right%100)
	fmt.Printf("mails before, after        %d, %d\n", mails, s.mails.Load())
	fmt.Printf("seen by audit              %d\n", s.seen.Load())
	switch {
	case wrong == truth || right != truth:
		return fmt.Errorf("revenue of Tuesday is %d, and should be %d", right, truth)
	case s.mails.Load() != days*orders || mails != s.mails.Load() || s.seen.Load() != days*orders:
		return errors.New("the replay reached other groups, or they have not seen everything")
	}
	return nil
}
