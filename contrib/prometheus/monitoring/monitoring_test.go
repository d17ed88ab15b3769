package monitoring_test

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/pebblemq/pebblemq"
	mq "github.com/pebblemq/pebblemq/contrib/prometheus"
	"github.com/pebblemq/pebblemq/contrib/prometheus/monitoring"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

// series are the labels of all series of a store with objects of all kinds, as Prometheus has them
// after a scrape.
func series(t *testing.T) (all []map[string]string) {
	t.Helper()
	ctx := context.Background()
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	topic, err := log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	_, err = topic.OpenGroup(ctx, "billing", nil)
	require.NoError(t, err)
	broker, err := workqueue.OpenBroker(ctx, db, "main")
	require.NoError(t, err)
	_, err = broker.DeclareQueue(ctx, "emails.dead", nil)
	require.NoError(t, err)
	_, err = visibility.OpenQueue(ctx, db, "mail", nil)
	require.NoError(t, err)
	_, err = idempotency.OpenNamespace(ctx, db, "payments", nil)
	require.NoError(t, err)
	collector, err := mq.NewCollector(db, nil)
	require.NoError(t, err)
	registry := client.NewRegistry()
	require.NoError(t, registry.Register(collector))
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.Metric {
			is := map[string]string{"__name__": f.GetName(), "job": "service", "instance": "host:80"}
			for _, l := range m.Label {
				is[l.GetName()] = l.GetValue()
			}
			if m.Histogram != nil {
				is["__name__"], is["le"] = f.GetName()+"_bucket", "+Inf"
			}
			all = append(all, is)
		}
	}
	require.NotEmpty(t, all)
	return all
}

// requireExpression parses an expression. Each of its selectors must match a series, and each label
// that it groups by must be on one.
func requireExpression(t *testing.T, all []map[string]string, text string) {
	t.Helper()
	expr, err := parser.ParseExpr(text)
	require.NoError(t, err, text)
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			require.NotEmpty(t, matching(all, n.LabelMatchers), "%s in %s selects nothing", n, text)
		case *parser.AggregateExpr:
			for _, label := range n.Grouping {
				require.True(t, known(all, label), "label %s in %s", label, text)
			}
		}
		return nil
	})
}

func matching(all []map[string]string, matchers []*labels.Matcher) (found []map[string]string) {
	for _, is := range all {
		matches := true
		for _, m := range matchers {
			matches = matches && m.Matches(is[m.Name])
		}
		if matches {
			found = append(found, is)
		}
	}
	return found
}

func known(all []map[string]string, label string) bool {
	for _, is := range all {
		if _, has := is[label]; has {
			return true
		}
	}
	return false
}

func TestAlertsLoadAndSelectRealSeries(t *testing.T) {
	groups, errs := rulefmt.Parse(monitoring.Alerts, false, model.UTF8Validation)
	require.Empty(t, errs)
	all, alerts := series(t), 0
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			requireExpression(t, all, r.Expr)
			require.NotEmpty(t, r.Annotations["summary"], r.Alert)
			require.Contains(t, []string{"warning", "critical"}, r.Labels["severity"], r.Alert)
			alerts++
		}
	}
	require.Greater(t, alerts, 10)
}

// dashboard is what Grafana reads, as far as it has queries.
type dashboard struct {
	UID    string
	Panels []struct {
		Title   string
		Type    string
		Targets []struct{ Expr string }
	}
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
}

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

func TestTheQueriesOfTheDashboardSelectRealSeries(t *testing.T) {
	var d dashboard
	require.NoError(t, json.Unmarshal(monitoring.Dashboard, &d))
	require.NotEmpty(t, d.UID)
	all, queries := series(t), 0
	variables := strings.NewReplacer("$job", ".+", "$instance", ".+", "$__rate_interval", "5m")
	for _, p := range d.Panels {
		require.NotEmpty(t, p.Title)
		require.Equal(t, p.Type == "row", len(p.Targets) == 0, p.Title)
		for _, target := range p.Targets {
			requireExpression(t, all, variables.Replace(target.Expr))
			queries++
		}
	}
	require.Greater(t, queries, 20)
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			parts := labelValues.FindStringSubmatch(v.Definition)
			require.NotNil(t, parts, v.Definition)
			requireExpression(t, all, variables.Replace(parts[1]))
			require.True(t, known(all, parts[2]))
		}
	}
}

func TestEveryMetricIsOnTheDashboardOrInAnAlert(t *testing.T) {
	shown := string(monitoring.Alerts) + string(monitoring.Dashboard)
	rest := map[string]bool{ // details, for a look when something is wrong
		"pebblemq_broker_queues": true, "pebblemq_broker_unrouted_messages_total": true, "pebblemq_topic_records": true,
		"pebblemq_topic_partitions": true, "pebblemq_group_members": true, "pebblemq_workqueue_bytes": true,
		"pebblemq_workqueue_paused": true, "pebblemq_visibility_bytes": true, "pebblemq_visibility_expired_messages_total": true,
		"pebblemq_idempotency_running_handlers": true, "pebblemq_store_batches_total": true, "pebblemq_store_shared_bytes": true,
		"pebblemq_store_tables": true,
	}
	for _, is := range series(t) {
		name := is["__name__"]
		generic := regexp.MustCompile(`_(workqueue|visibility)_`).ReplaceAllString(name, "_(workqueue|visibility)_")
		require.True(t, rest[name] != (strings.Contains(shown, name) || strings.Contains(shown, generic)), name)
	}
}
