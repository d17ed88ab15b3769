package workqueue_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// place returns the config of a queue with a place for its dead letters.
func place(exchange, key string) *workqueue.QueueConfig {
	return &workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Exchange: exchange, Key: key}}
}

func TestADeadLetterPlaceThatDoesNotExistIsRefused(t *testing.T) {
	_, b := open(t)
	declare(t, b, "there", "dead")
	for name, c := range map[string]struct {
		to    *workqueue.QueueConfig
		is    error
		words string
	}{
		"a queue":            {place("", "daed"), workqueue.ErrUnknownQueue, `queue "q": DeadLetter: workqueue: unknown queue: "daed"`},
		"an exchange":        {place("dxl", "dead"), workqueue.ErrUnknownExchange, `"dxl"`},
		"nothing":            {place("", ""), pebblemq.ErrInvalid, "neither an Exchange nor a Key"},
		"a queue of its own": {place("", "q"), pebblemq.ErrInvalid, "Retry"},
	} {
		_, err := b.DeclareQueue(bg, "q", c.to)
		require.ErrorIs(t, err, c.is, name)
		require.ErrorContains(t, err, c.words, name)
		_, _, err = b.EnsureQueue(bg, "q", c.to)
		require.ErrorIs(t, err, c.is, name)
		for _, dry := range []bool{true, false} {
			_, err = b.Apply(bg, &workqueue.Topology{Queues: []workqueue.QueueDefinition{{Name: "q", QueueConfig: *c.to}}}, &workqueue.ApplyOptions{DryRun: dry})
			require.ErrorIs(t, err, c.is, name)
		}
		_, err = b.Queue(bg, "q")
		require.ErrorIs(t, err, workqueue.ErrUnknownQueue, "it was not made")
		if name != "a queue of its own" {
			require.ErrorIs(t, queueOf(t, b, "there").Alter(bg, c.to), c.is, name)
			_, _, err = b.EnsureQueue(bg, "there", c.to)
			require.ErrorIs(t, err, c.is, name)
		}
	}
	info, err := queueOf(t, b, "there").Info(bg)
	require.NoError(t, err)
	require.Nil(t, info.Config.DeadLetter)
}

func TestWhatADeadLetterNamesMayBeDeletedAndTheQueueBeDeclaredAgain(t *testing.T) {
	_, b := open(t)
	declare(t, b, "dead")
	declareQueue(t, b, "q", place("", "dead"))
	require.NoError(t, queueOf(t, b, "dead").Delete(bg))
	require.NoError(t, errOf(b.DeclareQueue(bg, "q", place("", "dead"))), "nothing changes")
	_, did, err := b.EnsureQueue(bg, "q", place("", "dead"))
	require.NoError(t, err)
	require.True(t, did.Unchanged())
	change := place("", "dead")
	change.MaxLength = 1
	require.ErrorIs(t, queueOf(t, b, "q").Alter(bg, change), workqueue.ErrUnknownQueue)
}

func TestADeadLetterThatMayBeDroppedNeedsNoPlace(t *testing.T) {
	_, b := open(t)
	c := place("", "missing")
	c.DeadLetter.DropIfMissing = true
	_, err := b.DeclareQueue(bg, "q", c)
	require.NoError(t, err)
}

func TestARingOfQueuesIsApplied(t *testing.T) {
	_, b := open(t)
	ring := &workqueue.Topology{
		Exchanges: []workqueue.ExchangeDefinition{{Name: "x", Kind: workqueue.Fanout, ExchangeConfig: workqueue.ExchangeConfig{Alternate: "y"}}, {Name: "y", Kind: workqueue.Fanout}},
		Queues: []workqueue.QueueDefinition{
			{Name: "work", QueueConfig: *place("", "later")},
			{Name: "later", QueueConfig: workqueue.QueueConfig{MessageTTL: time.Minute, DeadLetter: &workqueue.DeadLetter{Exchange: "x"}}},
		},
	}
	for _, created := range []int{2, 0} {
		did, err := b.Apply(bg, ring, nil)
		require.NoError(t, err)
		require.Len(t, did.Queues, created)
	}
	ring.Queues[0].DeadLetter = &workqueue.DeadLetter{Key: "new"}
	ring.Queues = append(ring.Queues, workqueue.QueueDefinition{Name: "new", QueueConfig: *place("", "work")})
	did, err := b.Apply(bg, ring, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"DeadLetter"}, did.Queues["work"].Altered)
	require.True(t, did.Queues["new"].Created)
}

func TestAnAlternateThatDoesNotExistIsRefused(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Fanout, "there")
	for alternate, is := range map[string]error{"other": workqueue.ErrUnknownExchange, "x": pebblemq.ErrInvalid} {
		c := &workqueue.ExchangeConfig{Alternate: alternate}
		err := b.DeclareExchange(bg, "x", workqueue.Fanout, c)
		require.ErrorIs(t, err, is)
		require.ErrorContains(t, err, `exchange "x": Alternate`)
		_, err = b.Apply(bg, &workqueue.Topology{Exchanges: []workqueue.ExchangeDefinition{{Name: "x", Kind: workqueue.Fanout, ExchangeConfig: *c}}}, nil)
		require.ErrorIs(t, err, is)
	}
	require.ErrorIs(t, b.AlterExchange(bg, "there", &workqueue.ExchangeConfig{Alternate: "other"}), workqueue.ErrUnknownExchange)
	require.ErrorIs(t, b.AlterExchange(bg, "there", &workqueue.ExchangeConfig{Alternate: "there"}), pebblemq.ErrInvalid)
}

func TestABindingOfATopicExchangeThatCanNeverMatchIsRefused(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	exchange(t, b, workqueue.Topic, "x")
	exchange(t, b, workqueue.Direct, "d")
	err := b.Bind(bg, workqueue.Binding{Exchange: "x", Queue: "q", Key: "order.pa*d"})
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	require.ErrorContains(t, err, `exchange "x"`)
	require.ErrorContains(t, err, `"order.pa*d"`)
	require.NoError(t, b.Bind(bg, workqueue.Binding{Exchange: "d", Queue: "q", Key: "order.pa*d"}), "it is no pattern there")
	_, err = b.Apply(bg, &workqueue.Topology{Bindings: []workqueue.Binding{{Exchange: "x", Queue: "q", Key: "a#"}}}, nil)
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
}

func TestWhatIsNotUTF8IsRefused(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	exchange(t, b, workqueue.Headers, "h")
	bad := "\xff\xfe"
	for what, m := range map[string]workqueue.Message{
		"header":    {Headers: map[string]string{"h": bad}},
		"name":      {Headers: map[string]string{bad: "v"}},
		"MessageID": {MessageID: bad},
		"CC":        {CC: []string{bad}},
		"BCC":       {BCC: []string{bad}},
	} {
		err := b.Publish(bg, "", "q", m)
		require.ErrorIs(t, err, pebblemq.ErrInvalid, what)
		require.ErrorContains(t, err, what)
		require.ErrorContains(t, err, "UTF-8")
	}
	require.ErrorIs(t, b.Publish(bg, "", bad, workqueue.Message{}), pebblemq.ErrInvalid)
	for _, arguments := range []workqueue.Arguments{{"a": bad}, {bad: "v"}} {
		require.ErrorIs(t, b.Bind(bg, workqueue.Binding{Exchange: "h", Queue: "q", Arguments: arguments}), pebblemq.ErrInvalid)
	}
	require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{Body: []byte(bad)}))
}
