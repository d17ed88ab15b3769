package guide_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/pebblemqtest"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// app is the program that the page tests.
type app struct {
	db   *pebblemq.DB
	jobs *workqueue.Queue
	mail *visibility.Queue

	broker *workqueue.Broker
}

func start(t *testing.T, db *pebblemq.DB) *app {
	a := &app{db: db, broker: openBroker(t, db), mail: openQueue(t, db, "mail", nil)}
	a.jobs = declare(t, a.broker, "jobs", nil)
	runs(t, func(ctx context.Context) error {
		return a.jobs.Run(ctx, func(ctx context.Context, d *workqueue.Delivery) error {
			if d.DeliveryCount < 3 && d.Type == "flaky" {
				return errors.New("not yet")
			}
			_, err := a.mail.Send(ctx, visibility.Message{Group: d.MessageID, Body: d.Body})
			return err
		}, nil)
	})
	runs(t, func(ctx context.Context) error {
		return a.mail.Run(ctx, func(ctx context.Context, m *visibility.Received) error {
			if string(m.Body) == "poison" {
				return errors.New("cannot read it")
			}
			return a.db.Update(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte("mailed/"+m.Group), m.Body) })
		}, nil)
	})
	return a
}

func (a *app) order(ctx context.Context, id string, m workqueue.Message) error {
	m.MessageID = id
	return a.broker.Publish(ctx, "", "jobs", m)
}

func (a *app) mailed(ctx context.Context, id string) (body []byte, err error) {
	err = a.db.View(ctx, func(tx *pebblemq.Tx) error {
		body, err = tx.Get([]byte("mailed/" + id))
		return err
	})
	return body, err
}

func TestAnOrderIsMailed(t *testing.T) {
	db := pebblemqtest.Open(t, nil)
	a := start(t, db) // declares the queues and runs the handlers until the test ends
	if err := a.order(t.Context(), "42", workqueue.Message{Body: []byte("receipt")}); err != nil {
		t.Fatal(err)
	}
	pebblemqtest.WaitIdle(t, db)
	if body, err := a.mailed(t.Context(), "42"); string(body) != "receipt" || err != nil {
		t.Errorf("mailed %q, %v", body, err)
	}
}

func TestAReminderComesTomorrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, pebblemqtest.Open(t, nil))
		err := a.order(t.Context(), "42", workqueue.Message{Delay: 24 * time.Hour, Body: []byte("reminder")})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour) // takes no time in a bubble
		pebblemqtest.WaitIdle(t, a.db)
		if body, err := a.mailed(t.Context(), "42"); string(body) != "reminder" || err != nil {
			t.Errorf("mailed %q, %v", body, err)
		}
	})
}

func TestAPoisonedMailIsADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, pebblemqtest.Open(t, quiet()))
		if err := a.order(t.Context(), "42", workqueue.Message{Body: []byte("poison")}); err != nil {
			t.Fatal(err)
		}
		pebblemqtest.WaitIdle(t, a.db) // after 20 attempts, some minutes of the bubble
		dead, err := visibility.LookupQueue(t.Context(), a.db, "mail.dead")
		if err != nil {
			t.Fatal(err)
		}
		m := pebblemqtest.RequireSent(t, dead, pebblemqtest.SentLike(visibility.Message{Group: "42"}))
		if m.DeadLetter.LastError != "cannot read it" {
			t.Errorf("%+v", m.DeadLetter)
		}
	})
}

func TestAnOrderSurvivesACrash(t *testing.T) {
	disk := pebblemqtest.NewDisk()
	options := &pebblemqtest.Options{Disk: disk}
	broker := openBroker(t, pebblemqtest.Open(t, options))
	declare(t, broker, "jobs", nil)
	if err := broker.Publish(t.Context(), "", "jobs", workqueue.Message{MessageID: "42"}); err != nil {
		t.Fatal(err)
	}
	disk.Crash() // the store is closed; what was not synced is gone

	db := pebblemqtest.Open(t, options)
	jobs := declare(t, openBroker(t, db), "jobs", nil)
	pebblemqtest.RequirePublished(t, jobs, pebblemqtest.PublishedLike(workqueue.Message{MessageID: "42"}))
}

func TestAFullDiskRefusesOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := pebblemqtest.NewDisk()
		broker := openBroker(t, pebblemqtest.Open(t, &pebblemqtest.Options{Disk: disk, Store: quiet().Store}))
		declare(t, broker, "jobs", nil)
		disk.Fill()
		var err error
		for n := 0; err == nil; n++ {
			err = broker.Publish(t.Context(), "", "jobs", workqueue.Message{MessageID: fmt.Sprint(n)})
		}
		if !errors.Is(err, pebblemq.ErrDiskFull) {
			t.Errorf("%v", err)
		}
		disk.Free()
		time.Sleep(time.Second) // the store notices within a second
		if err := broker.Publish(t.Context(), "", "jobs", workqueue.Message{}); err != nil {
			t.Error(err)
		}
	})
}

func TestAnOrderWaitsForASlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := pebblemqtest.NewDisk()
		a := start(t, pebblemqtest.Open(t, &pebblemqtest.Options{Disk: disk, Store: quiet().Store}))
		disk.Slow(3 * time.Second)
		began := time.Now()
		if err := a.order(t.Context(), "42", workqueue.Message{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 3*time.Second {
			t.Errorf("durable after %v", took)
		}
		disk.Slow(0)
	})
}

func TestAFrozenDiskLeavesTheOutcomeUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := pebblemqtest.NewDisk()
		a := start(t, pebblemqtest.Open(t, &pebblemqtest.Options{Disk: disk, Store: quiet().Store}))
		disk.Freeze()
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
		defer stop()
		err := a.order(ctx, "42", workqueue.Message{})
		if !errors.Is(err, pebblemq.ErrUnknownOutcome) {
			t.Errorf("%v", err)
		}
		disk.Thaw()
	})
}

func TestAFailedDiskFailsTheStore(t *testing.T) { // not in a bubble: see Disk.Fail
	disk := pebblemqtest.NewDisk()
	options := &pebblemqtest.Options{Disk: disk, Store: quiet().Store}
	db := pebblemqtest.Open(t, options)
	set := func() error {
		return db.Update(t.Context(), func(tx *pebblemq.Tx) error { return tx.Set([]byte("k"), nil) })
	}
	disk.Fail(nil)
	if err := set(); !errors.Is(err, pebblemq.ErrFailed) {
		t.Errorf("%v", err)
	}
	disk.Repair()
	if err := set(); !errors.Is(err, pebblemq.ErrFailed) {
		t.Errorf("a failed store stays so: %v", err)
	}
	disk.Crash()
	db = pebblemqtest.Open(t, options)
	if err := set(); err != nil {
		t.Errorf("a new store works: %v", err)
	}
}

// quiet keeps the expected warnings out of the log of the test.
func quiet() *pebblemqtest.Options {
	return &pebblemqtest.Options{Store: &pebblemq.Options{Logger: slog.New(slog.DiscardHandler)}}
}

func TestFailuresAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, pebblemqtest.Open(t, quiet()))
		require.NoError(t, a.order(t.Context(), "1", workqueue.Message{Type: "flaky", Body: []byte("x")}))
		pebblemqtest.WaitIdle(t, a.db)
		body, err := a.mailed(t.Context(), "1")
		require.NoError(t, err)
		require.Equal(t, "x", string(body))
	})
}
