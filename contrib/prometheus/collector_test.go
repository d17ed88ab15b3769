package prometheus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pebblemq/pebblemq"
	mq "github.com/pebblemq/pebblemq/contrib/prometheus"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

var bg = context.Background()

// world is a store with objects of all kinds, and its registry.
type world struct {
	db       *pebblemq.DB
	topic    *log.Topic
	group    *log.Group
	broker   *workqueue.Broker
	mail     *visibility.Queue
	seen     *idempotency.Namespace
	registry *client.Registry
}

func open(t *testing.T, o *mq.Options) *world {
	t.Helper()
	w := &world{registry: client.NewPedanticRegistry()}
	var err error
	w.db, err = pebblemq.OpenMemory(&pebblemq.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.db.Close()) })
	w.topic, err = log.OpenTopic(bg, w.db, "orders", nil)
	require.NoError(t, err)
	w.group, err = w.topic.OpenGroup(bg, "billing", nil)
	require.NoError(t, err)
	w.broker, err = workqueue.OpenBroker(bg, w.db, "main")
	require.NoError(t, err)
	w.mail, err = visibility.OpenQueue(bg, w.db, "mail", nil)
	require.NoError(t, err)
	w.seen, err = idempotency.OpenNamespace(bg, w.db, "payments", nil)
	require.NoError(t, err)
	collector, err := mq.NewCollector(w.db, o)
	require.NoError(t, err)
	require.NoError(t, w.registry.Register(collector))
	return w
}

func (w *world) queue(t *testing.T, name string) *workqueue.Queue {
	t.Helper()
	q, err := w.broker.DeclareQueue(bg, name, nil)
	require.NoError(t, err)
	return q
}

func (w *world) publish(t *testing.T, queue string, n int) {
	t.Helper()
	for range n {
		require.NoError(t, w.broker.Publish(bg, "", queue, workqueue.Message{}))
	}
}

// scrape is what Prometheus reads: the text, parsed again.
func (w *world) scrape(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	gathered, err := w.registry.Gather()
	require.NoError(t, err)
	var text bytes.Buffer
	for _, f := range gathered {
		_, err := expfmt.MetricFamilyToText(&text, f)
		require.NoError(t, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(&text)
	require.NoError(t, err)
	return families
}

// figure returns the value of a series; labels are names and values in turn.
func figure(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
	f := families[name]
	require.NotNil(t, f, name)
	for _, m := range f.Metric {
		if has(m, labels) {
			return value(m)
		}
	}
	require.Fail(t, "no such series", "%s%v among %v", name, labels, f.Metric)
	return 0
}

func has(m *dto.Metric, labels []string) bool {
	is := make(map[string]string)
	for _, l := range m.Label {
		is[l.GetName()] = l.GetValue()
	}
	for i := 0; i < len(labels); i += 2 {
		if is[labels[i]] != labels[i+1] {
			return false
		}
	}
	return true
}

func value(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Histogram != nil:
		return float64(m.Histogram.GetSampleCount())
	}
	return m.Gauge.GetValue()
}

// total sums the series of a metric that have the labels.
func total(families map[string]*dto.MetricFamily, name string, labels ...string) (sum float64) {
	for _, m := range families[name].GetMetric() {
		if has(m, labels) {
			sum += value(m)
		}
	}
	return sum
}

func TestNamesAndHelpFollowTheConventions(t *testing.T) {
	w := open(t, nil)
	w.queue(t, "emails")
	problems, err := testutil.GatherAndLint(w.registry)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestEachKindHasItsFigures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, nil)
		emails := w.queue(t, "emails")
		w.publish(t, "emails", 3)
		d, ok, err := emails.Get(bg)
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, d.Reject(bg)) // to emails.dead
		_, err = w.topic.Append(bg, log.Record{}, log.Record{})
		require.NoError(t, err)
		_, err = w.mail.Send(bg, visibility.Message{})
		require.NoError(t, err)
		_, err = w.seen.Do(bg, []byte("key"), func(context.Context, idempotency.Claim) ([]byte, error) { return nil, nil }, nil)
		require.NoError(t, err)
		time.Sleep(time.Minute) // of the bubble

		families := w.scrape(t)
		for _, c := range []struct {
			name   string
			labels []string
			want   float64
		}{
			{"pebblemq_workqueue_messages", []string{"broker", "main", "queue", "emails", "state", "ready"}, 2},
			{"pebblemq_workqueue_dead_messages_total", []string{"queue", "emails", "reason", "rejected"}, 1},
			{"pebblemq_workqueue_published_messages_total", []string{"queue", "emails"}, 3},
			{"pebblemq_workqueue_oldest_age_seconds", []string{"queue", "emails"}, 60},
			{"pebblemq_dead_letters", []string{"kind", "work queue", "parent", "main", "name", "emails.dead"}, 1},
			{"pebblemq_topic_records", []string{"topic", "orders"}, 2},
			{"pebblemq_topic_appended_records_total", []string{"topic", "orders"}, 2},
			{"pebblemq_group_lag_records", []string{"topic", "orders", "group", "billing"}, 2},
			{"pebblemq_group_oldest_age_seconds", []string{"topic", "orders", "group", "billing"}, 60},
			{"pebblemq_visibility_messages", []string{"queue", "mail", "state", "visible"}, 1},
			{"pebblemq_visibility_oldest_age_seconds", []string{"queue", "mail"}, 60},
			{"pebblemq_idempotency_completed_keys", []string{"namespace", "payments"}, 1},
			{"pebblemq_broker_queues", []string{"broker", "main"}, 2},
			{"pebblemq_collection_failed", nil, 0},
		} {
			require.Equal(t, c.want, figure(t, families, c.name, c.labels...), "%s%v", c.name, c.labels)
		}
		require.Equal(t, float64(w.db.Stats().Syncs), figure(t, families, "pebblemq_store_sync_seconds"))
	})
}

func TestOnlyTheDeepestObjectsHaveSeriesOfTheirOwn(t *testing.T) {
	w := open(t, &mq.Options{MaxObjects: 2})
	for i := range 5 {
		w.queue(t, fmt.Sprint("q", i))
		w.publish(t, fmt.Sprint("q", i), i)
	}
	const published, messages = "pebblemq_workqueue_published_messages_total", "pebblemq_workqueue_messages"
	families := w.scrape(t)
	require.Len(t, families[published].Metric, 3)
	require.Equal(t, 4.0, figure(t, families, published, "queue", "q4"))
	require.Equal(t, 3.0, figure(t, families, published, "queue", "q3"))
	require.Equal(t, 3.0, figure(t, families, published, "queue", ""))
	require.Equal(t, 10.0, total(families, messages, "state", "ready"))
	require.Len(t, families["pebblemq_workqueue_oldest_age_seconds"].Metric, 2)

	w.publish(t, "q0", 9) // it is among the deepest now, and q3 is not
	families = w.scrape(t)
	require.Equal(t, 9.0, figure(t, families, published, "queue", "q0"))
	require.Equal(t, 3.0, figure(t, families, published, "queue", ""), "the sum counts what comes while an object is in it")
	require.Equal(t, 19.0, total(families, messages, "state", "ready"))

	w.publish(t, "q2", 1) // too few to come up
	require.Equal(t, 4.0, figure(t, w.scrape(t), published, "queue", ""))
}

func TestADayOfAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, &mq.Options{MaxObjects: 3})
		ctx, stop := context.WithCancel(bg)
		ended := make(chan error, 6)
		for i := range 5 {
			q, calls := w.queue(t, fmt.Sprint("q", i)), 0
			go func() {
				ended <- q.Run(ctx, func(context.Context, *workqueue.Delivery) error {
					if calls++; calls%7 == 0 {
						return pebblemq.Reject(errors.New("bad"))
					}
					return nil
				}, &workqueue.RunOptions{Rate: pebblemq.Rate{PerSecond: 1.0 / float64(20*(i+1))}})
			}()
		}
		go func() {
			ended <- w.group.Run(ctx, func(context.Context, log.Record) error { return nil }, nil)
		}()
		before := w.scrape(t)
		const minutes = 24 * 60
		for minute := range minutes {
			w.publish(t, fmt.Sprint("q", minute%5), 1+minute%3)
			_, err := w.topic.Append(bg, log.Record{})
			require.NoError(t, err)
			_, err = w.mail.Send(bg, visibility.Message{Delay: time.Hour})
			require.NoError(t, err)
			time.Sleep(time.Minute) // of the bubble
			if minute%15 == 0 {
				now := w.scrape(t)
				requireRising(t, before, now)
				before = now
			}
		}
		now := w.scrape(t)
		require.Equal(t, float64(minutes), total(now, "pebblemq_topic_appended_records_total"))
		require.Zero(t, total(now, "pebblemq_group_lag_records"))
		require.Equal(t, 59.0, total(now, "pebblemq_visibility_messages", "state", "delayed"))
		require.Equal(t, float64(minutes), total(now, "pebblemq_visibility_messages"))
		require.Positive(t, total(now, "pebblemq_workqueue_dead_messages_total", "reason", "rejected"))
		require.LessOrEqual(t, len(now["pebblemq_workqueue_bytes"].Metric), 4)
		stop()
		for range cap(ended) {
			require.NoError(t, <-ended)
		}
	})
}

// requireRising compares the counters of two scrapes.
func requireRising(t *testing.T, before, now map[string]*dto.MetricFamily) {
	t.Helper()
	for name, f := range before {
		if f.GetType() != dto.MetricType_COUNTER {
			continue
		}
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName(), l.GetValue())
			}
			for _, n := range now[name].GetMetric() {
				if has(n, labels) {
					require.GreaterOrEqual(t, value(n), value(m), "%s%v", name, labels)
				}
			}
		}
	}
}

func TestAClosedStoreReportsThatItCannotBeDescribed(t *testing.T) {
	w := open(t, nil)
	require.NoError(t, w.db.Close())
	families := w.scrape(t)
	require.Equal(t, 1.0, figure(t, families, "pebblemq_collection_failed"))
	require.NotContains(t, families, "pebblemq_topic_records")
}

func TestLabelsTellStoresApart(t *testing.T) {
	w := open(t, &mq.Options{Labels: map[string]string{"store": "a"}})
	second, err := mq.NewCollector(w.db, &mq.Options{Labels: map[string]string{"store": "b"}})
	require.NoError(t, err)
	require.NoError(t, w.registry.Register(second))
	families := w.scrape(t)
	require.Equal(t, 1.0, figure(t, families, "pebblemq_topic_partitions", "store", "a"))
	require.Equal(t, 1.0, figure(t, families, "pebblemq_topic_partitions", "store", "b"))
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	w := open(t, nil)
	for name, c := range map[string]struct {
		db   *pebblemq.DB
		o    mq.Options
		text string
	}{
		"no store":         {nil, mq.Options{}, "no store"},
		"MaxObjects":       {w.db, mq.Options{MaxObjects: -1}, "MaxObjects -1"},
		"Timeout":          {w.db, mq.Options{Timeout: -1}, "Timeout -1ns"},
		"bad label":        {w.db, mq.Options{Labels: map[string]string{"a\xff": "b"}}, "label"},
		"label of objects": {w.db, mq.Options{Labels: map[string]string{"queue": "b"}}, "queue"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mq.NewCollector(c.db, &c.o)
			require.ErrorIs(t, err, pebblemq.ErrInvalid)
			require.ErrorContains(t, err, c.text)
		})
	}
}
