package visibility_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

// TestErrorsNameTheQueueTheMessageTheValueAndTheSetting has every error of this package.
func TestErrorsNameTheQueueTheMessageTheValueAndTheSetting(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "mail", &visibility.QueueConfig{
			MaxBodyBytes: 10, MaxAttributes: 1, RequireBody: true, MaxInFlight: 2, MaxVisibilityTimeout: time.Hour, Retention: 2 * time.Hour,
		})
		fifo := open(t, db, "steps", &visibility.QueueConfig{FIFO: true, MaxPriority: 1, DedupeWindow: time.Hour})
		other := open(t, db, "other", &visibility.QueueConfig{DeadLettersDenied: true})
		says := func(err, is error, words ...string) {
			t.Helper()
			require.ErrorIs(t, err, is)
			for _, word := range words {
				require.ErrorContains(t, err, word)
			}
		}
		refused := func(q *visibility.Queue, m visibility.Message) error {
			m.ID = "m1"
			_, err := q.Send(ctx, m)
			return err
		}
		body, long := []byte("x"), strings.Repeat("x", 257)
		attribute := func(name string, a visibility.Attribute) visibility.Message {
			return visibility.Message{Body: body, Attributes: map[string]visibility.Attribute{name: a}}
		}
		for _, c := range []struct {
			m     visibility.Message
			is    error
			words []string
		}{
			{visibility.Message{Body: make([]byte, 11)}, pebblemq.ErrTooLarge, []string{"11", "limit 10", "QueueConfig.MaxBodyBytes"}},
			{visibility.Message{}, pebblemq.ErrInvalid, []string{"no body", "QueueConfig.RequireBody"}},
			{visibility.Message{Body: body, Priority: 1}, pebblemq.ErrTooLarge, []string{"Priority is 1", "limit 0", "QueueConfig.MaxPriority"}},
			{visibility.Message{Body: body, Attributes: map[string]visibility.Attribute{"a": visibility.StringAttribute(""), "b": visibility.StringAttribute("")}},
				pebblemq.ErrTooLarge, []string{"attributes is 2", "limit 1", "QueueConfig.MaxAttributes"}},
			{visibility.Message{Body: body, Delay: -time.Second}, pebblemq.ErrInvalid, []string{"Delay -1s", "876000h0m0s"}},
			{visibility.Message{Body: body, DedupeID: "d"}, pebblemq.ErrInvalid, []string{`DedupeID "d"`, "QueueConfig.DedupeWindow"}},
			{visibility.Message{Body: body, Group: "\x01"}, pebblemq.ErrInvalid, []string{`Group "\x01"`, "control character"}},
			{attribute("a", visibility.StringAttribute("\xff")), pebblemq.ErrInvalid, []string{`attribute "a"`, "Binary"}},
			{attribute("a", visibility.NumberAttribute("x")), pebblemq.ErrInvalid, []string{`attribute "a"`, `"x"`}},
			{attribute("a", visibility.Attribute{}), pebblemq.ErrInvalid, []string{`attribute "a"`, "type 0"}},
		} {
			says(refused(q, c.m), c.is, append(c.words, `message "m1" for queue "mail"`)...)
		}
		says(refused(fifo, visibility.Message{}), pebblemq.ErrInvalid, `message "m1" for queue "steps"`, "no Group")
		says(refused(fifo, visibility.Message{Group: "g", Delay: 1}), pebblemq.ErrInvalid, `queue "steps"`, "Delay 1ns", "MaxPriority")
		says(refused(fifo, visibility.Message{Group: "g", DedupeID: long}), pebblemq.ErrTooLarge, `queue "steps"`, "DedupeID", "257", "limit 256")
		_, err := q.Send(ctx, visibility.Message{ID: long, Body: body})
		says(err, pebblemq.ErrTooLarge, `message for queue "mail"`, "257", "limit 256")

		for _, c := range []struct {
			o     visibility.ReceiveOptions
			words []string
		}{
			{visibility.ReceiveOptions{Max: -1}, []string{"Max -1"}},
			{visibility.ReceiveOptions{Max: 1001}, []string{"Max is 1001", "limit 1000"}},
			{visibility.ReceiveOptions{Wait: -time.Second}, []string{"Wait -1s", "NoWait"}},
			{visibility.ReceiveOptions{VisibilityTimeout: 61 * time.Minute}, []string{"1h1m0s", "1h0m0s", "QueueConfig.MaxVisibilityTimeout"}},
			{visibility.ReceiveOptions{AttemptID: "\n"}, []string{"AttemptID", "control character"}},
		} {
			_, err := q.Receive(ctx, &c.o)
			require.Error(t, err)
			for _, word := range append(c.words, `queue "mail"`) {
				require.ErrorContains(t, err, word)
			}
		}

		for _, id := range []string{"kept", "gone"} {
			_, err = q.Send(ctx, visibility.Message{ID: id, Body: body})
			require.NoError(t, err)
		}
		stale := receiveFor(t, q, 1, 0)[0]
		got := receive(t, q, 2)
		_, err = q.Receive(ctx, nil)
		says(err, visibility.ErrInFlightLimit, `2 of queue "mail"`, "QueueConfig.MaxInFlight")
		says(q.Delete(ctx, stale.Receipt), visibility.ErrStaleReceipt, `message "kept" of queue "mail"`)
		says(q.Delete(ctx, "garbage receipt"), visibility.ErrInvalidReceipt, `"garbage rece`, `queue "mail"`)
		says(other.Delete(ctx, stale.Receipt), visibility.ErrInvalidReceipt, `queue "other"`)
		says(q.ChangeVisibility(ctx, got[0].Receipt, 2*time.Hour), pebblemq.ErrInvalid, `queue "mail"`, "2h0m0s", "QueueConfig.MaxVisibilityTimeout")
		<-time.After(time.Second)
		says(q.ChangeVisibility(ctx, got[0].Receipt, time.Hour), pebblemq.ErrInvalid,
			`message "kept" of queue "mail"`, "1h0m0.999999999s", "1h0m0s", "QueueConfig.MaxVisibilityTimeout")
		says(q.Release(ctx, got[0].Receipt, -time.Second), pebblemq.ErrInvalid, `queue "mail"`, "-1s")
		require.NoError(t, q.Delete(ctx, got[1].Receipt))
		says(q.ChangeVisibility(ctx, got[1].Receipt, time.Minute), visibility.ErrNotInFlight, `position 0.1 of queue "mail"`)
		<-time.After(2 * time.Hour)
		says(q.Delete(ctx, got[0].Receipt), visibility.ErrExpired, `position 0.0 of queue "mail"`)

		_, err = q.SendBatch(ctx, nil, nil)
		says(err, pebblemq.ErrInvalid, `queue "mail"`, "empty")
		_, err = q.DeleteBatch(ctx, make([]visibility.Receipt, visibility.MaxBatchEntries+1), nil)
		says(err, pebblemq.ErrTooLarge, `queue "mail"`, "10001", "limit 10000")
		says(q.Cancel(ctx, ""), pebblemq.ErrInvalid, `queue "mail"`)
		_, err = q.Find(ctx, "")
		says(err, pebblemq.ErrInvalid, `queue "mail"`)
		_, err = q.Redrive(ctx, &visibility.RedriveOptions{Rate: -1})
		says(err, pebblemq.ErrInvalid, `queue "mail"`, "-1")
		says(q.Run(ctx, nil, &visibility.RunOptions{VisibilityTimeout: 1}), pebblemq.ErrInvalid, `queue "mail"`, "1ns", "10ms")

		for field, c := range map[string]visibility.QueueConfig{
			"VisibilityTimeout":    {VisibilityTimeout: 13 * time.Hour},
			"MaxVisibilityTimeout": {MaxVisibilityTimeout: -1},
			"Delay":                {Delay: -1},
			"ReceiveWait":          {ReceiveWait: -1},
			"Retention":            {Retention: -1},
			"DedupeWindow":         {DedupeWindow: -1},
			"DedupeByBody":         {DedupeByBody: true},
			"DelayBlocksGroup":     {DelayBlocksGroup: true},
			"MaxBodyBytes":         {MaxBodyBytes: -1},
			"MaxAttributes":        {MaxAttributes: visibility.MaxAttributes + 1},
			"MaxInFlight":          {MaxInFlight: -1},
			"MaxReceives":          {MaxReceives: 1},
			"DeadLetterQueue":      {DeadLetterQueue: "none", MaxReceives: 1},
			"DeadLettersDenied":    {DeadLetterQueue: "other", MaxReceives: 1},
			"DeadLetterSources":    {DeadLettersDenied: true, DeadLetterSources: []string{"x"}},
		} {
			_, err := visibility.OpenQueue(ctx, db, "new", &c)
			require.ErrorContains(t, err, `"new"`, field)
			require.ErrorContains(t, err, field)
		}
	})
}
