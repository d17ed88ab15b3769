package otel_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/pebblemq/pebblemq"
	mq "github.com/pebblemq/pebblemq/contrib/otel"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

var bg = context.Background()

// traced is a store whose spans are kept in memory.
type traced struct {
	db       *pebblemq.DB
	spans    *tracetest.InMemoryExporter
	provider *sdk.TracerProvider
}

func open(t testing.TB) *traced {
	t.Helper()
	w := &traced{spans: tracetest.NewInMemoryExporter()}
	w.provider = sdk.NewTracerProvider(sdk.WithSyncer(w.spans))
	var err error
	w.db, err = pebblemq.OpenMemory(&pebblemq.Options{
		Logger: slog.New(slog.DiscardHandler),
		Tracer: mq.NewTracer(&mq.TracerOptions{Provider: w.provider, Propagator: propagation.TraceContext{}}),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.db.Close()) })
	return w
}

// ended are the spans so far, by their end. Each is a line: name, kind, name of the parent, error.
func (w *traced) ended() (lines []string) {
	spans := w.spans.GetSpans()
	names := make(map[trace.SpanID]string)
	for _, s := range spans {
		names[s.SpanContext.SpanID()] = s.Name
	}
	for _, s := range spans {
		line := s.Name + " " + s.SpanKind.String()
		if parent := names[s.Parent.SpanID()]; parent != "" {
			line += " of " + parent
		}
		if s.Status.Code == codes.Error {
			line += ", " + s.Status.Description
		}
		lines = append(lines, line)
	}
	return lines
}

// until lets the time of the bubble pass until n spans have ended.
func (w *traced) until(n int) {
	for synctest.Wait(); len(w.spans.GetSpans()) < n; synctest.Wait() {
		<-time.After(time.Second)
	}
}

func TestOneTraceFromARequestOverRedeliveriesAndADeadLetterToItsRedrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t)
		broker, err := workqueue.OpenBroker(bg, w.db, "main")
		require.NoError(t, err)
		require.NoError(t, broker.DeclareExchange(bg, "events", workqueue.Topic, nil))
		emails, err := broker.DeclareQueue(bg, "emails", nil)
		require.NoError(t, err)
		require.NoError(t, broker.Bind(bg, workqueue.Binding{Exchange: "events", Key: "order.*", Queue: "emails"}))

		tracer := w.provider.Tracer("shop")
		shop := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			ctx, span := tracer.Start(r.Context(), "POST /orders", trace.WithSpanKind(trace.SpanKindServer))
			defer span.End()
			err := w.db.Update(ctx, func(tx *pebblemq.Tx) error { // the outbox: state and message in one commit
				if err := tx.Set([]byte("order/42"), []byte("paid")); err != nil {
					return err
				}
				return broker.In(tx).Publish("events", "order.paid", workqueue.Message{MessageID: "42"})
			})
			if err != nil {
				rw.WriteHeader(http.StatusInternalServerError)
			}
		})
		answer := httptest.NewRecorder()
		shop.ServeHTTP(answer, httptest.NewRequest("POST", "/orders", nil))
		require.Equal(t, http.StatusOK, answer.Code)

		ctx, stop := context.WithCancel(bg)
		ended, broken := make(chan error), true
		go func() {
			ended <- emails.Run(ctx, func(ctx context.Context, d *workqueue.Delivery) error {
				_, span := tracer.Start(ctx, "SMTP")
				defer span.End()
				if broken {
					return errors.New("no route")
				}
				return nil
			}, &workqueue.RunOptions{MaxAttempts: 3})
		}()
		w.until(2 + 3*3)
		broken = false
		dead, err := broker.Queue(bg, "emails.dead")
		require.NoError(t, err)
		redrive, err := dead.Redrive(bg, nil)
		require.NoError(t, err)
		_, err = redrive.Wait(bg)
		require.NoError(t, err)
		w.until(2 + 4*3)
		stop()
		require.NoError(t, <-ended)

		failed := []string{"SMTP internal of process emails", "process emails consumer of publish events, no route"}
		want := []string{"publish events producer of POST /orders", "POST /orders server"}
		want = append(append(want, failed...), "retry emails client of process emails")
		want = append(append(want, failed...), "retry emails client of process emails")
		want = append(append(want, failed...), "dead emails client of process emails")
		want = append(want, "SMTP internal of process emails", "process emails consumer of publish events", "ack emails client of process emails")
		require.Equal(t, want, w.ended())
		first := w.spans.GetSpans()[0].SpanContext.TraceID()
		for _, s := range w.spans.GetSpans() {
			require.Equal(t, first, s.SpanContext.TraceID(), s.Name)
		}
		for _, s := range w.spans.GetSpans() {
			if s.Name != "process emails" {
				continue
			}
			is := make(map[string]any)
			for _, a := range s.Attributes {
				is[string(a.Key)] = a.Value.AsInterface()
			}
			delete(is, "error.type")
			require.Equal(t, map[string]any{
				"messaging.system": "pebblemq", "messaging.operation.type": "process", "messaging.operation.name": "process",
				"messaging.destination.name": "emails", "messaging.message.id": "42",
				"pebblemq.destination.kind": "work queue", "pebblemq.destination.parent": "main",
			}, is)
		}
	})
}

func TestABatchLinksToItsMessages(t *testing.T) {
	w := open(t)
	topic, err := log.OpenTopic(bg, w.db, "orders", nil)
	require.NoError(t, err)
	for range 2 {
		_, err := topic.Append(bg, log.Record{})
		require.NoError(t, err)
	}
	group, err := topic.OpenGroup(bg, "billing", nil)
	require.NoError(t, err)
	member, err := group.Join(bg, nil)
	require.NoError(t, err)
	_, err = member.Poll(bg, 2)
	require.NoError(t, err)
	spans := w.spans.GetSpans()
	require.Len(t, spans, 3)
	require.Equal(t, "poll orders", spans[2].Name)
	require.Len(t, spans[2].Links, 2)
	for i, l := range spans[2].Links {
		require.Equal(t, spans[i].SpanContext.SpanID(), l.SpanContext.SpanID())
	}
}

func TestAMessageCarriesItsTraceToOtherPrograms(t *testing.T) {
	w := open(t)
	mail, err := visibility.OpenQueue(bg, w.db, "mail", nil)
	require.NoError(t, err)
	_, err = mail.Send(bg, visibility.Message{})
	require.NoError(t, err)
	got, err := mail.Receive(bg, nil)
	require.NoError(t, err)
	headers := propagation.MapCarrier{"traceparent": string(got[0].Attributes["traceparent"].Value)}
	is := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(bg, headers))
	require.Equal(t, w.spans.GetSpans()[0].SpanContext.SpanID(), is.SpanID())
}

// The cost of tracing: the same cycle without a tracer, with one that samples nothing, and with
// one that records all.
func BenchmarkCycle(b *testing.B) {
	for name, o := range map[string]*mq.TracerOptions{
		"off":      nil,
		"dropped":  {Provider: sdk.NewTracerProvider(sdk.WithSampler(sdk.NeverSample())), Propagator: propagation.TraceContext{}},
		"recorded": {Provider: sdk.NewTracerProvider(), Propagator: propagation.TraceContext{}},
	} {
		b.Run(name, func(b *testing.B) {
			options := &pebblemq.Options{Durability: pebblemq.NoSync}
			if o != nil {
				options.Tracer = mq.NewTracer(o)
			}
			db, err := pebblemq.OpenMemory(options)
			require.NoError(b, err)
			defer db.Close()
			broker, err := workqueue.OpenBroker(bg, db, "main")
			require.NoError(b, err)
			q, err := broker.DeclareQueue(bg, "jobs", nil)
			require.NoError(b, err)
			c, err := q.Consume(bg, nil)
			require.NoError(b, err)
			for b.Loop() {
				require.NoError(b, broker.Publish(bg, "", "jobs", workqueue.Message{Body: make([]byte, 100)}))
				d, err := c.Next(bg)
				require.NoError(b, err)
				require.NoError(b, d.Ack(bg))
			}
		})
	}
}
