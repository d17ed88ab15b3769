package otel_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/pebblemq/pebblemq"
	mq "github.com/pebblemq/pebblemq/contrib/otel"
	"github.com/pebblemq/pebblemq/workqueue"
)

// figures are the points of a collection, as NAME{OBJECT}.
func figures(t *testing.T, reader *metric.ManualReader) map[string]float64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(bg, &all))
	found := make(map[string]float64)
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			var points []metricdata.DataPoint[float64]
			switch data := m.Data.(type) {
			case metricdata.Sum[float64]:
				require.True(t, data.IsMonotonic, m.Name)
				points = data.DataPoints
			case metricdata.Gauge[float64]:
				points = data.DataPoints
			}
			for _, p := range points {
				name, _ := p.Attributes.Value("pebblemq.name")
				found[fmt.Sprintf("%s{%s}", m.Name, name.AsString())] = p.Value
			}
		}
	}
	return found
}

func TestMetricsAreTheFiguresOfTheStore(t *testing.T) {
	w := open(t)
	broker, err := workqueue.OpenBroker(bg, w.db, "main")
	require.NoError(t, err)
	for i := range 3 {
		_, err := broker.DeclareQueue(bg, fmt.Sprint("q", i), nil)
		require.NoError(t, err)
		for range i {
			require.NoError(t, broker.Publish(bg, "", fmt.Sprint("q", i), workqueue.Message{}))
		}
	}
	reader := metric.NewManualReader()
	registration, err := mq.RegisterMetrics(w.db, &mq.MetricsOptions{
		Provider: metric.NewMeterProvider(metric.WithReader(reader)), MaxObjects: 2, Attributes: []attribute.KeyValue{attribute.String("store", "a")},
	})
	require.NoError(t, err)
	found := figures(t, reader)
	require.Equal(t, 2.0, found["pebblemq.work_queue.ready{q2}"])
	require.Equal(t, 1.0, found["pebblemq.work_queue.totals_published{q1}"])
	require.NotContains(t, found, "pebblemq.work_queue.ready{q0}")
	require.Contains(t, found, "pebblemq.work_queue.oldest_age{q2}")
	require.Equal(t, 1.0, found["pebblemq.objects.omitted{}"])
	require.Equal(t, 3.0, found["pebblemq.broker.queues{main}"])
	require.Positive(t, found["pebblemq.store.operations{}"])
	require.NoError(t, registration.Unregister())
	require.Empty(t, figures(t, reader))
}

func TestMetricsRefuseWhatMakesNoSense(t *testing.T) {
	_, err := mq.RegisterMetrics(nil, nil)
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	_, err = mq.RegisterMetrics(open(t).db, &mq.MetricsOptions{MaxObjects: -1})
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
}
