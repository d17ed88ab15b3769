package prometheus_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http/httptest"
	"strings"

	"github.com/pebblemq/pebblemq"
	mq "github.com/pebblemq/pebblemq/contrib/prometheus"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func Example() {
	ctx := context.Background()
	db, err := pebblemq.OpenMemory(nil)
	if err != nil {
		panic(err)
	}
	defer db.Close()
	broker, err := workqueue.OpenBroker(ctx, db, "main")
	if err != nil {
		panic(err)
	}
	if _, err := broker.DeclareQueue(ctx, "emails", nil); err != nil {
		panic(err)
	}
	if err := broker.Publish(ctx, "", "emails", workqueue.Message{Body: []byte("hello")}); err != nil {
		panic(err)
	}

	collector, err := mq.NewCollector(db, nil)
	if err != nil {
		panic(err)
	}
	registry := prometheus.NewRegistry() // or prometheus.DefaultRegisterer
	registry.MustRegister(collector)
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{}) // for /metrics

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for lines := bufio.NewScanner(w.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "pebblemq_workqueue_messages{") {
			fmt.Println(lines.Text())
		}
	}
	// Output:
	// pebblemq_workqueue_messages{broker="main",queue="emails",state="delayed"} 0
	// pebblemq_workqueue_messages{broker="main",queue="emails",state="ready"} 1
	// pebblemq_workqueue_messages{broker="main",queue="emails",state="unacked"} 0
	// pebblemq_workqueue_messages{broker="main",queue="emails",state="unreadable"} 0
}
