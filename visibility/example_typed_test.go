package visibility_test

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func ExampleTyped() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	queue, _ := visibility.OpenQueue(ctx, db, "parcels", nil)

	type Parcel struct{ To string }
	parcels := visibility.Typed(queue, pebblemq.JSON[Parcel]())
	_, err := parcels.Send(ctx, Parcel{"ann"}, nil)
	fmt.Println(err)

	received, _ := parcels.Receive(ctx, nil)
	for _, m := range received {
		p, err := m.Decode()
		fmt.Println(p.To, err, parcels.Delete(ctx, m.Receipt))
	}
	// Output:
	// <nil>
	// ann <nil> <nil>
}

// A handler stores many values at a time. A body that cannot be decoded fails alone.
func ExampleTypedQueue_RunBatch() {
	ctx, stop := context.WithCancel(context.Background())
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	queue, _ := visibility.OpenQueue(ctx, db, "points", nil)

	points := visibility.Typed(queue, pebblemq.JSON[int]())
	for _, n := range []int{1, 2, 3} {
		_, _ = points.Send(ctx, n, nil)
	}
	_, _ = queue.Send(ctx, visibility.Message{Body: []byte("four")})
	err := points.RunBatch(ctx, func(ctx context.Context, values []int, batch []*visibility.Received) error {
		fmt.Println(values, len(batch))
		stop()
		return nil
	}, &visibility.RunOptions{BatchSize: 4, BatchWait: time.Minute})
	fmt.Println(err)
	// Output:
	// [1 2 3] 3
	// <nil>
}
