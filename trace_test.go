package pebblemq_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// notebook is a Tracer that notes each step as a line. The trace of a message is a word in its
// header "trace", and that of a call the value of traceKey in its context.
type notebook struct {
	mu    sync.Mutex
	lines []string
}

type traceKey struct{}

func (n *notebook) Trace(ctx context.Context, s pebblemq.Step) (context.Context, func(error)) {
	trace, _ := ctx.Value(traceKey{}).(string)
	for _, m := range s.Messages {
		if trace != "" {
			m.SetHeader("trace", trace)
		}
		if was := m.Header("trace"); was != "" {
			trace = was
		}
	}
	line := fmt.Sprintf("%s: %s %s %s/%s/%s %d", trace, s.Kind, s.Verb, s.Object.Kind, s.Object.Parent, s.Object.Name, len(s.Messages))
	if s.Group != "" {
		line += " by " + s.Group
	}
	return context.WithValue(ctx, traceKey{}, trace), func(err error) {
		if err != nil {
			line += ", " + err.Error()
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.lines = append(n.lines, line)
	}
}

// take returns what was noted since the last call.
func (n *notebook) take() (lines []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	lines, n.lines = n.lines, nil
	return lines
}

func openTraced(t *testing.T) (*world, *notebook) {
	t.Helper()
	n := new(notebook)
	db, err := pebblemq.OpenMemory(&pebblemq.Options{Tracer: n, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { storetest.Close(t, db) })
	return openWorld(t, db), n
}

func traceContext(trace string) context.Context { return context.WithValue(bg, traceKey{}, trace) }

func TestEachVerbIsAStep(t *testing.T) {
	w, n := openTraced(t)
	ctx := traceContext("a")
	group, err := w.topic.OpenGroup(bg, "billing", nil)
	require.NoError(t, err)
	member, err := group.Join(bg, nil)
	require.NoError(t, err)
	in := queueOf(t, w.broker, "in")
	n.take()
	var d *workqueue.Delivery
	var got []*visibility.Received
	var records []log.Record
	for _, c := range []struct {
		want string
		call func() error
	}{
		{"a: send append topic//orders 2", func() error { _, err := w.topic.Append(ctx, log.Record{}, log.Record{}); return err }},
		{"a: send append topic//orders 1", func() error { _, err := w.topic.AppendAsync(ctx, log.Record{}).Wait(bg); return err }},
		{"a: send append topic//orders 1", func() error {
			_, err := w.topic.AppendWith(ctx, log.AppendOptions{Partition: log.InPartition(0)}, log.Record{})
			return err
		}},
		{"a: receive poll topic//orders 4 by billing", func() (err error) { records, err = member.Poll(bg, 9); return err }},
		{"a: settle ack topic//orders 1 by billing", func() error { return member.Ack(bg, records[1]) }},
		{"a: settle commit topic//orders 1 by billing", func() error { return member.Commit(bg, records[3]) }},
		{"a: send publish work queue/main/in 1", func() error { return w.broker.Publish(ctx, "", "in", workqueue.Message{}) }},
		{"a: receive get work queue/main/in 1", func() (err error) { d, _, err = in.Get(bg); return err }},
		{"a: settle nack work queue/main/in 1", func() error { return d.Nack(bg, true) }},
		{"a: receive get work queue/main/in 1", func() (err error) { d, _, err = in.Get(bg); return err }},
		{"a: settle ack work queue/main/in 1", func() error { return d.Ack(bg) }},
		{"a: settle ack work queue/main/in 1, " + workqueue.ErrSettled.Error() + `: queue "in"`, func() error { _ = d.Ack(bg); return nil }},
		{"a: send publish exchange/main/events 2", func() error { return w.broker.PublishBatch(ctx, "events", make([]workqueue.Publishing, 2)) }},
		{"a: send publish exchange/main/events 1", func() error {
			_, err := w.broker.PublishAsync(ctx, "events", "order.paid", workqueue.Message{}).Wait(bg)
			return err
		}},
		{"a: send send visibility queue//mail 1", func() error { _, err := w.mail.Send(ctx, visibility.Message{}); return err }},
		{"a: receive receive visibility queue//mail 1", func() (err error) { got, err = w.mail.Receive(bg, nil); return err }},
		{": settle delete visibility queue//mail 0", func() error { return w.mail.Delete(bg, got[0].Receipt) }},
		{"a: send send visibility queue//mail 2", func() error { _, err := w.mail.SendBatch(ctx, make([]visibility.Message, 2), nil); return err }},
		{"a: send send visibility queue//mail 1", func() error { _, err := w.mail.SendAsync(ctx, visibility.Message{}).Wait(bg); return err }},
	} {
		require.NoError(t, c.call(), c.want)
		require.Equal(t, []string{c.want}, n.take())
	}
}

func TestATraceGoesThroughATransactionAndAnExchangeToEachKindOfQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n := openTraced(t)
		for _, b := range []workqueue.Binding{{Exchange: "events", Key: "#", Topic: "orders"}, {Exchange: "events", Key: "#", VisibilityQueue: "mail"}} {
			require.NoError(t, w.broker.Bind(bg, b))
		}
		group, err := w.topic.OpenGroup(bg, "billing", nil)
		require.NoError(t, err)
		require.NoError(t, w.db.Update(traceContext("a"), func(tx *pebblemq.Tx) error {
			return w.broker.In(tx).Publish("events", "order.paid", workqueue.Message{})
		}))
		require.Equal(t, []string{"a: create publish exchange/main/events 1"}, n.take())

		ctx, stop := context.WithCancel(bg)
		traceOf := func(ctx context.Context) error { require.Equal(t, "a", ctx.Value(traceKey{})); return nil }
		runs := []func() error{
			func() error {
				return group.Run(ctx, func(ctx context.Context, _ log.Record) error { return traceOf(ctx) }, nil)
			},
			func() error {
				return queueOf(t, w.broker, "out").Run(ctx, func(ctx context.Context, _ *workqueue.Delivery) error { return traceOf(ctx) }, nil)
			},
			func() error {
				return w.mail.Run(ctx, func(ctx context.Context, _ *visibility.Received) error { return traceOf(ctx) }, nil)
			},
		}
		ended := make(chan error, len(runs))
		for _, run := range runs {
			go func() { ended <- run() }()
		}
		synctest.Wait()
		stop()
		for range runs {
			require.NoError(t, <-ended)
		}
		require.ElementsMatch(t, []string{
			"a: process process topic//orders 1 by billing", "a: settle ack topic//orders 1 by billing",
			"a: process process work queue/main/out 1", "a: settle ack work queue/main/out 1",
			"a: process process visibility queue//mail 1", "a: settle ack visibility queue//mail 1",
		}, n.take())
	})
}

func TestATraceOutlastsRedeliveriesADeadLetterAndItsRedrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n := openTraced(t)
		in := queueOf(t, w.broker, "in")
		require.NoError(t, w.broker.Publish(traceContext("a"), "", "in", workqueue.Message{}))
		ctx, stop := context.WithCancel(bg)
		ended, broken := make(chan error), true
		go func() {
			ended <- in.Run(ctx, func(context.Context, *workqueue.Delivery) error {
				if broken {
					return errors.New("bad")
				}
				return nil
			}, &workqueue.RunOptions{MaxAttempts: 2})
		}()
		waitFor(n, 5)
		broken = false
		redrive, err := queueOf(t, w.broker, "in.dead").Redrive(bg, nil)
		require.NoError(t, err)
		_, err = redrive.Wait(bg)
		require.NoError(t, err)
		waitFor(n, 7)
		stop()
		require.NoError(t, <-ended)
		require.Equal(t, []string{
			"a: send publish work queue/main/in 1",
			"a: process process work queue/main/in 1, bad", "a: settle retry work queue/main/in 1",
			"a: process process work queue/main/in 1, bad", "a: settle dead work queue/main/in 1",
			"a: process process work queue/main/in 1", "a: settle ack work queue/main/in 1",
		}, n.take())
	})
}

// waitFor lets the time of the bubble pass until there are n lines.
func waitFor(b *notebook, n int) {
	for {
		synctest.Wait()
		b.mu.Lock()
		lines := len(b.lines)
		b.mu.Unlock()
		if lines >= n {
			return
		}
		<-time.After(time.Second)
	}
}

func TestABatchIsOneStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n := openTraced(t)
		for _, trace := range []string{"a", "b"} {
			_, err := w.mail.Send(traceContext(trace), visibility.Message{})
			require.NoError(t, err)
		}
		n.take()
		ctx, stop := context.WithCancel(bg)
		ended := make(chan error)
		go func() {
			ended <- w.mail.RunBatch(ctx, func(context.Context, []*visibility.Received) error { stop(); return nil }, nil)
		}()
		require.NoError(t, <-ended)
		require.Equal(t, []string{"b: process process visibility queue//mail 2", "b: settle ack visibility queue//mail 2"}, n.take())
	})
}

func TestAMessageWithoutRoomGoesWithoutItsTrace(t *testing.T) {
	w, _ := openTraced(t)
	headers, attributes := make(map[string]string), make(map[string]visibility.Attribute)
	var list []log.Header
	for i := range workqueue.MaxHeaders {
		headers[fmt.Sprint(i)] = ""
	}
	for i := range visibility.MaxAttributes {
		attributes[fmt.Sprint(i)] = visibility.StringAttribute("x")
	}
	for i := range log.MaxHeaders {
		list = append(list, log.Header{Name: fmt.Sprint(i)})
	}
	ctx := traceContext("a")
	require.NoError(t, w.broker.Publish(ctx, "", "in", workqueue.Message{Headers: headers}))
	_, err := w.mail.Send(ctx, visibility.Message{Attributes: attributes})
	require.NoError(t, err)
	_, err = w.topic.Append(ctx, log.Record{Headers: list})
	require.NoError(t, err)
	m, err := firstOf(queueOf(t, w.broker, "in").Browse(bg, nil))
	require.NoError(t, err)
	require.Equal(t, headers, m.Headers)
}

func TestTheHeadersOfTheCallerStayAsTheyAre(t *testing.T) {
	w, _ := openTraced(t)
	headers, attributes := map[string]string{"trace": "b"}, map[string]visibility.Attribute{}
	list := []log.Header{{Name: "trace", Value: []byte("b")}}
	ctx := traceContext("a")
	require.NoError(t, w.broker.Publish(ctx, "", "in", workqueue.Message{Headers: headers}))
	_, err := w.mail.Send(ctx, visibility.Message{Attributes: attributes})
	require.NoError(t, err)
	_, err = w.topic.Append(ctx, log.Record{Headers: list})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"trace": "b"}, headers)
	require.Empty(t, attributes)
	require.Equal(t, "b", string(list[0].Value))
	r, err := firstOf(w.topic.Records(bg, log.Start()))
	require.NoError(t, err)
	require.Equal(t, []log.Header{{Name: "trace", Value: []byte("a")}}, r.Headers)
}

func firstOf[M any](all iter.Seq2[M, error]) (first M, err error) {
	for m, err := range all {
		return m, err
	}
	return first, errors.New("there is none")
}

// A producer that repeats an append under another trace repeats it all the same.
func TestATraceIsNoPartOfWhatAProducerRepeats(t *testing.T) {
	w, _ := openTraced(t)
	p, err := w.topic.OpenProducer(bg, "web")
	require.NoError(t, err)
	o := log.AppendOptions{Producer: p, Partition: log.InPartition(0)}
	first, err := w.topic.AppendWith(traceContext("a"), o, log.Record{Value: []byte("x")})
	require.NoError(t, err)
	second, err := w.topic.AppendWith(traceContext("b"), o, log.Record{Value: []byte("x")})
	require.NoError(t, err)
	require.Equal(t, first, second)
}

func TestStepsOfRefusedCallsHaveTheirError(t *testing.T) {
	w, n := openTraced(t)
	n.take()
	require.ErrorIs(t, w.broker.Publish(bg, "", "none", workqueue.Message{}), workqueue.ErrUnknownQueue)
	_, err := w.topic.Append(bg, log.Record{Value: make([]byte, 2<<20)})
	require.ErrorIs(t, err, pebblemq.ErrTooLarge)
	_, err = w.mail.Send(bg, visibility.Message{Priority: 1})
	require.ErrorIs(t, err, pebblemq.ErrTooLarge)
	lines := n.take()
	require.Len(t, lines, 3)
	for _, line := range lines {
		require.True(t, strings.Contains(line, ", "), line)
	}
}
