package workqueue_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

func TestCCAndBCCAreFurtherRoutingKeys(t *testing.T) {
	_, b := open(t)
	declare(t, b, "to", "cc", "bcc", "other")
	exchange(t, b, workqueue.Direct, "direct")
	exchange(t, b, workqueue.Topic, "topic")
	for _, queue := range queues(t, b) {
		bind(t, b,
			workqueue.Binding{Exchange: "direct", Queue: queue, Key: queue},
			workqueue.Binding{Exchange: "topic", Queue: queue, Key: "#." + queue},
		)
	}
	for _, exchange := range []string{"", "direct", "topic"} {
		m := workqueue.Message{Body: []byte(exchange), CC: []string{"cc", "to"}, BCC: []string{"bcc", "cc", "nowhere"}, Mandatory: true}
		if exchange == "" { // where each name has to be that of a queue
			require.ErrorIs(t, b.Publish(bg, "", "to", m), workqueue.ErrUnknownQueue)
			m.BCC = m.BCC[:2]
		}
		require.NoError(t, b.Publish(bg, exchange, "to", m))
		for _, queue := range []string{"to", "cc", "bcc"} {
			require.Equal(t, 1, ready(t, b, queue), "one copy each")
			d := get(t, b, queue, exchange)
			require.Equal(t, "to", d.RoutingKey)
			require.Equal(t, []string{"cc", "to"}, d.CC)
			require.Empty(t, d.BCC)
			require.NoError(t, d.Ack(bg))
		}
		require.Zero(t, ready(t, b, "other"))
		m.CC = nil
		if exchange == "" {
			require.ErrorIs(t, b.Publish(bg, "", "nowhere", m), workqueue.ErrUnknownQueue)
			continue
		}
		require.NoError(t, b.Publish(bg, exchange, "nowhere", m), "the copies count as routed")
		for _, queue := range []string{"bcc", "cc"} {
			require.NoError(t, get(t, b, queue, exchange).Ack(bg))
		}
	}
}

func TestADeadLetterFollowsCCUnlessItHasAKey(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Direct, "dead")
	declare(t, b, "own", "cc", "bcc", "set")
	for _, queue := range queues(t, b) {
		bind(t, b, workqueue.Binding{Exchange: "dead", Queue: queue, Key: queue})
	}
	exchange(t, b, workqueue.Fanout, "x")
	for _, key := range []string{"", "set"} {
		declareAs(t, b, "q"+key, workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Exchange: "dead", Key: key}})
		bind(t, b, workqueue.Binding{Exchange: "x", Queue: "q" + key})
	}
	m := body("m")
	m.CC, m.BCC = []string{"cc"}, []string{"bcc"}
	require.NoError(t, b.Publish(bg, "x", "own", m))
	for _, q := range []string{"q", "qset"} {
		require.NoError(t, get(t, b, q, "m").Reject(bg))
	}
	for _, queue := range []string{"own", "cc"} {
		d := get(t, b, queue, "m")
		require.Equal(t, []string{"own", "cc"}, d.Deaths[0].RoutingKeys)
		require.Equal(t, []string{"cc"}, d.CC)
	}
	require.Zero(t, ready(t, b, "bcc"), "which nobody knows of any more")
	require.Empty(t, get(t, b, "set", "m").CC)
}

func TestCCInATransactionIsTheCallersToChange(t *testing.T) {
	db, b := open(t)
	declare(t, b, "to", "cc", "bcc")
	m := workqueue.Message{Body: []byte("m"), CC: []string{"cc"}, BCC: []string{"bcc"}}
	require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error {
		err := b.In(tx).Publish("", "to", m)
		m.CC[0], m.BCC[0] = "to", "to"
		return err
	}))
	for _, queue := range queues(t, b) {
		require.Equal(t, 1, ready(t, b, queue), queue)
	}
}

func TestLimitsOfCCAndBCC(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	declareAs(t, b, strings.Repeat("k", workqueue.MaxPropertyBytes), workqueue.QueueConfig{DropDead: true})
	some := func(n int) []string { return slices.Repeat([]string{"q"}, n) }
	most := strings.Repeat("k", workqueue.MaxPropertyBytes)
	for _, c := range []struct {
		cc, bcc []string
		err     error
	}{
		{some(60), some(4), nil},
		{some(61), some(4), pebblemq.ErrTooLarge},
		{some(0), some(workqueue.MaxExtraKeys + 1), pebblemq.ErrTooLarge},
		{[]string{most}, []string{most}, nil},
		{[]string{most + "k"}, nil, pebblemq.ErrTooLarge},
		{nil, []string{most + "k"}, pebblemq.ErrTooLarge},
		{[]string{"\xff"}, nil, pebblemq.ErrInvalid},
		{nil, []string{"\xff"}, pebblemq.ErrInvalid},
	} {
		err := b.Publish(bg, "", "q", workqueue.Message{CC: c.cc, BCC: c.bcc})
		require.ErrorIs(t, err, c.err, fmt.Sprint(len(c.cc), len(c.bcc)))
	}
}
