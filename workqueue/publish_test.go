package workqueue_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// A name that is misspelt is told, and nothing is lost in silence.
func TestTheDefaultExchangeRefusesNamesThatNoQueueHas(t *testing.T) {
	db, b := open(t)
	declare(t, b, "emails")
	m := workqueue.Message{Body: []byte("m")}
	err := b.Publish(bg, "", "emals", m)
	require.ErrorIs(t, err, workqueue.ErrUnknownQueue)
	require.ErrorIs(t, err, pebblemq.ErrNotFound)
	require.ErrorContains(t, err, `"emals"`)
	require.NotErrorIs(t, err, workqueue.ErrUnroutable)
	m.Mandatory = true
	require.ErrorIs(t, b.Publish(bg, "", "emals", m), workqueue.ErrUnroutable)
	require.ErrorIs(t, b.Publish(bg, "", "emals", m), workqueue.ErrUnknownQueue)
	m.Mandatory = false
	for _, c := range []workqueue.Message{{CC: []string{"emals"}}, {BCC: []string{"emails", "emals"}}} {
		require.ErrorIs(t, b.Publish(bg, "", "emails", c), workqueue.ErrUnknownQueue)
	}
	require.ErrorIs(t, errOf(b.PublishAsync(bg, "", "emals", m).Wait(bg)), workqueue.ErrUnknownQueue)
	batch := []workqueue.Publishing{{Key: "emails", Message: m}, {Key: "emals", Message: m}}
	require.ErrorContains(t, b.PublishBatch(bg, "", batch), "message 1 of the batch: workqueue: unknown queue")
	require.ErrorIs(t, db.Update(bg, func(tx *pebblemq.Tx) error { return b.In(tx).Publish("", "emals", m) }), workqueue.ErrUnknownQueue)
	require.Zero(t, ready(t, b, "emails"), "nothing was put anywhere")
	n := unrouted(t, b)
	require.Zero(t, n)
	require.NoError(t, b.Publish(bg, "", "emails", workqueue.Message{CC: []string{"emails"}}), "one copy, though named twice")
	require.Equal(t, 1, ready(t, b, "emails"))
}

func TestAJobThatLeadsNowhereIsRefused(t *testing.T) {
	_, b := open(t)
	job := hourly
	require.ErrorIs(t, b.PutJob(bg, job), workqueue.ErrUnknownQueue)
	declare(t, b, "in")
	err := b.PutJob(bg, job)
	require.ErrorIs(t, err, workqueue.ErrUnknownQueue)
	require.ErrorContains(t, err, `job "report"`)
	require.ErrorContains(t, err, `"copy"`)
	declare(t, b, "copy")
	job.Exchange = "none"
	require.ErrorIs(t, b.PutJob(bg, job), workqueue.ErrUnknownExchange)
	jobs, err := b.Jobs(bg)
	require.NoError(t, err)
	require.Empty(t, jobs)
	require.NoError(t, b.PutJob(bg, hourly))
}
