package workqueue

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
)

// A cycle of publish, receive and acknowledge asks three times whether there is a Tracer.
func BenchmarkUntraced(b *testing.B) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(b, err)
	defer db.Close()
	ctx := context.Background()
	broker, err := OpenBroker(ctx, db, "main")
	require.NoError(b, err)
	q, err := broker.DeclareQueue(ctx, "jobs", nil)
	require.NoError(b, err)
	d, m := new(Delivery), new(Message)
	b.ReportAllocs()
	for b.Loop() {
		_, end := tracePublish(ctx, broker, store.StepSend, "", "jobs", m)
		end(nil)
		traceReceive(ctx, q.queue, "next", d)
		_, end = traceTaken(ctx, q.queue, store.StepSettle, "ack", d)
		end(nil)
	}
}
