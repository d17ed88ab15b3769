package guide_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/pebblemqtest"
	"github.com/pebblemq/pebblemq/visibility"
)

func openMail(ctx context.Context, db *pebblemq.DB) (*visibility.Queue, error) {
	if _, _, err := visibility.EnsureQueue(ctx, db, "mail.failed", nil); err != nil {
		return nil, err
	}
	c := visibility.SQSLimits()
	c.VisibilityTimeout = time.Minute
	c.DeadLetterQueue, c.MaxReceives = "mail.failed", 5
	mail, _, err := visibility.EnsureQueue(ctx, db, "mail", c)
	return mail, err
}

func receiveLoop(ctx context.Context, mail *visibility.Queue, send func(*visibility.Received) error) error {
	for {
		messages, err := mail.Receive(ctx, &visibility.ReceiveOptions{Max: 10, Wait: 20 * time.Second})
		if err != nil {
			return err
		}
		for _, m := range messages {
			if err := send(m); err != nil {
				continue // it is visible again after its timeout
			}
			err := mail.Delete(ctx, m.Receipt)
			if err != nil && !errors.Is(err, pebblemq.ErrLost) {
				return err
			}
		}
	}
}

func runMail(ctx context.Context, mail *visibility.Queue, send func(*visibility.Received) error) error {
	return mail.RunBatch(ctx, func(ctx context.Context, batch []*visibility.Received) error {
		failed := make(pebblemq.BatchError, len(batch)) // as ReportBatchItemFailures of a Lambda
		for i, m := range batch {
			failed[i] = send(m)
		}
		return failed
	}, &visibility.RunOptions{BatchSize: 10})
}

func sendInOrder(ctx context.Context, db *pebblemq.DB, account, event string) (duplicate bool, err error) {
	events, _, err := visibility.EnsureQueue(ctx, db, "events.fifo", &visibility.QueueConfig{FIFO: true, DedupeByBody: true})
	if err != nil {
		return false, err
	}
	results, err := events.SendBatch(ctx, []visibility.Message{{Group: account, Body: []byte(event)}}, nil)
	if err != nil {
		return false, err
	}
	return results[0].Duplicate, results[0].Err
}

func redriveMail(ctx context.Context, failed *visibility.Queue) (visibility.RedriveInfo, error) {
	r, err := failed.Redrive(ctx, &visibility.RedriveOptions{
		Rate:   50,
		Filter: func(m *visibility.Browsed) bool { return time.Since(m.SentAt) < 24*time.Hour },
	})
	if err != nil {
		return visibility.RedriveInfo{}, err
	}
	return r.Wait(ctx)
}

func TestMailIsReceivedAndRedriven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, quiet())
		mail := must(openMail(t.Context(), db))
		must(openMail(t.Context(), db))
		for _, body := range []string{"good", "bad", "good"} {
			must(mail.Send(t.Context(), visibility.Message{Body: []byte(body)}))
		}
		sent := 0
		send := func(m *visibility.Received) error {
			if string(m.Body) == "bad" {
				return errors.New("bad")
			}
			sent++
			return nil
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- receiveLoop(ctx, mail, send) }()
		pebblemqtest.WaitIdle(t, db)
		stop()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.Equal(t, 2, sent)
		failed := must(visibility.LookupQueue(t.Context(), db, "mail.failed"))
		m := pebblemqtest.RequireSent(t, failed, nil)
		require.Equal(t, 5, m.DeadLetter.ReceiveCount)

		info, err := redriveMail(t.Context(), failed)
		require.NoError(t, err)
		require.EqualValues(t, 1, info.Moved)
		must(mail.Send(t.Context(), visibility.Message{Body: []byte("good")}))
		runs(t, func(ctx context.Context) error { return runMail(ctx, mail, send) })
		pebblemqtest.WaitIdle(t, db)
		require.Equal(t, 3, sent)
		m = pebblemqtest.RequireSent(t, failed, nil)
		require.Equal(t, "bad", m.DeadLetter.LastError)
		require.Equal(t, 2, m.DeadLetter.Deaths)
	})
}

// Where the visibility queue departs from SQS, as far as the reference does not say so.
func TestDeparturesFromSQS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, quiet())
		ctx := t.Context()
		for i := range 2 {
			duplicate, err := sendInOrder(ctx, db, "ann", "paid")
			require.NoError(t, err)
			require.Equal(t, i == 1, duplicate)
		}
		fifo := openQueue(t, db, "any name will do", &visibility.QueueConfig{FIFO: true})
		must(fifo.Send(ctx, visibility.Message{Group: "a", Delay: time.Hour})) // a delay in a FIFO queue, and no DedupeID
		_, err := fifo.Send(ctx, visibility.Message{})
		require.Error(t, err, "no group")

		q := openQueue(t, db, "q", nil)
		must(q.Send(ctx, visibility.Message{Body: []byte{0xff, 0}}))
		must(q.Send(ctx, visibility.Message{}))
		first := must(q.Receive(ctx, &visibility.ReceiveOptions{Max: 1}))
		require.Equal(t, []byte{0xff, 0}, first[0].Body)

		// A purge leaves what is in flight.
		n := must(q.Purge(ctx))
		require.Equal(t, 1, n)
		require.EqualValues(t, 1, must(q.Stats(ctx)).InFlight)

		// A returned message keeps its place, and its old receipt is refused.
		must(q.Send(ctx, visibility.Message{ID: "younger"}))
		time.Sleep(31 * time.Second)
		second := must(q.Receive(ctx, &visibility.ReceiveOptions{Max: 1}))
		require.Equal(t, first[0].ID, second[0].ID)
		require.ErrorIs(t, q.Delete(ctx, first[0].Receipt), visibility.ErrStaleReceipt)
		require.NoError(t, q.Delete(ctx, second[0].Receipt))
		require.NoError(t, q.Delete(ctx, second[0].Receipt), "again")

		// Too long is an error.
		_, err = q.Receive(ctx, &visibility.ReceiveOptions{VisibilityTimeout: 13 * time.Hour})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		_, err = q.Receive(ctx, &visibility.ReceiveOptions{Max: 1001})
		require.Error(t, err)

		// A name is free at once.
		require.NoError(t, q.DeleteQueue(ctx))
		openQueue(t, db, "q", &visibility.QueueConfig{FIFO: true})
		_, err = visibility.OpenQueue(ctx, db, "r", &visibility.QueueConfig{DeadLetterQueue: "s", MaxReceives: 3})
		require.ErrorIs(t, err, visibility.ErrUnknownQueue)
	})
}
