package workqueue_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// dying declares queue dead, and queues whose rejected messages go there.
func dying(t testing.TB, b *workqueue.Broker, names ...string) {
	t.Helper()
	declare(t, b, "dead")
	for _, name := range names {
		declareQueue(t, b, name, &workqueue.QueueConfig{DeadLetter: toDead})
	}
}

// bury makes dead letters of messages.
func bury(t testing.TB, b *workqueue.Broker, queue string, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		publish(t, b, queue, body)
		require.NoError(t, get(t, b, queue, body).Reject(bg))
	}
}

// in returns the bodies of what is in a queue.
func in(t testing.TB, b *workqueue.Broker, queue string) []string {
	t.Helper()
	bodies := []string{}
	for m, err := range queueOf(t, b, queue).Browse(bg, nil) {
		require.NoError(t, err)
		bodies = append(bodies, string(m.Body))
	}
	return bodies
}

// waited returns how a redrive has ended.
func waited(r *workqueue.Redrive, err error) (workqueue.RedriveInfo, error) {
	if err != nil {
		return workqueue.RedriveInfo{}, err
	}
	return r.Wait(bg)
}

func redrive(t testing.TB, b *workqueue.Broker, o *workqueue.RedriveOptions) workqueue.RedriveInfo {
	t.Helper()
	p, err := waited(queueOf(t, b, "dead").Redrive(bg, o))
	require.NoError(t, err)
	require.False(t, p.Waiting)
	require.Equal(t, workqueue.RedriveCompleted, p.State)
	require.Zero(t, p.Remaining)
	return p
}

func counted(t testing.TB, p workqueue.RedriveInfo, moved, skipped, failed uint64) {
	t.Helper()
	require.Equal(t, []uint64{moved, skipped, failed}, []uint64{p.Moved, p.Skipped, p.Failed}, "%+v", p)
}

func TestARedriveMovesEachMessageBackToTheQueueOfItsNewestDeath(t *testing.T) {
	_, b := open(t)
	dying(t, b, "q", "r")
	exchange(t, b, workqueue.Topic, "x")
	bind(t, b, workqueue.Binding{Exchange: "x", Queue: "q", Key: "a.#"})
	require.NoError(t, b.Publish(bg, "x", "a.b", workqueue.Message{
		MessageID: "1", Body: []byte("first"), Headers: map[string]string{"h": "v"}, Priority: 3, TTL: time.Hour, CC: []string{"a.c"},
	}))
	require.NoError(t, get(t, b, "q", "first").Reject(bg))
	bury(t, b, "r", "second")
	publish(t, b, "dead", "never died")
	publish(t, b, "q", "there")
	p := redrive(t, b, nil)
	counted(t, p, 2, 0, 1)
	require.Contains(t, p.Reason, workqueue.ErrUnroutable.Error())
	require.Equal(t, []string{"never died"}, in(t, b, "dead"), "what cannot be moved stays")
	require.Equal(t, []string{"second"}, in(t, b, "r"))
	require.NoError(t, get(t, b, "q", "there").Ack(bg), "it stands at the end")
	d := get(t, b, "q", "first")
	require.Equal(t, []string{"x", "a.b", "1", "v"}, []string{d.Exchange, d.RoutingKey, d.MessageID, d.Headers["h"]}, "as it was published")
	require.Equal(t, []string{"a.c"}, d.CC)
	require.EqualValues(t, 3, d.Priority)
	require.Zero(t, d.TTL)
	require.Equal(t, 1, d.DeliveryCount)
	require.False(t, d.Redelivered)
	require.Equal(t, "q", d.Deaths[0].Queue, "its history is kept")
	require.Equal(t, 1, d.Deaths[0].Count)
	require.NoError(t, d.Reject(bg))
	for m, err := range queueOf(t, b, "dead").Browse(bg, &workqueue.BrowseOptions{MessageID: "1"}) {
		require.NoError(t, err)
		require.Len(t, m.Deaths, 1)
		require.Equal(t, 2, m.Deaths[0].Count, "and goes on")
	}
}

func TestARedriveElsewhereWithAFilter(t *testing.T) {
	_, b := open(t)
	dying(t, b, "q")
	declare(t, b, "repair")
	exchange(t, b, workqueue.Direct, "x")
	bind(t, b, workqueue.Binding{Exchange: "x", Queue: "repair", Key: "k"})
	bury(t, b, "q", "a", "b", "c", "d")
	held := get(t, b, "dead", "a")
	filter := func(m *workqueue.Browsed) bool {
		body := string(m.Body)
		m.Body[0] = 'X' // a copy
		return body != "c"
	}
	counted(t, redrive(t, b, &workqueue.RedriveOptions{To: &workqueue.RedriveTo{Exchange: "x"}, Filter: filter}), 0, 2, 2)
	counted(t, redrive(t, b, &workqueue.RedriveOptions{To: &workqueue.RedriveTo{Exchange: "x", Key: "k"}, Filter: filter}), 2, 2, 0)
	require.Equal(t, []string{"b", "d"}, in(t, b, "repair"))
	require.Equal(t, []string{"a", "c"}, in(t, b, "dead"))
	require.NoError(t, held.Ack(bg))
	d := get(t, b, "repair", "b")
	require.Equal(t, []string{"x", "k"}, []string{d.Exchange, d.RoutingKey})
	require.Len(t, d.Deaths, 1)
}

func TestARedriveOfSharedBodies(t *testing.T) {
	db, b := open(t)
	fanOut(t, b, 2)
	require.NoError(t, b.Publish(bg, "all", "", workqueue.Message{Body: big('a')}))
	require.NoError(t, take(t, b, "0", big('a')).Reject(bg))
	require.NoError(t, take(t, b, "1", big('a')).Reject(bg))
	counted(t, redrive(t, b, nil), 2, 0, 0)
	require.Equal(t, 1, payloads(t, db), "and it is still stored once")
	require.NoError(t, take(t, b, "0", big('a')).Ack(bg))
	require.NoError(t, take(t, b, "1", big('a')).Ack(bg))
	for _, q := range []string{"0", "1", "dead"} {
		st, err := queueOf(t, b, q).Stats(bg)
		require.NoError(t, err)
		require.Equal(t, workqueue.QueueStats{}, st)
	}
}

func TestARedriveKeepsToItsRateAndCanBeCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		dying(t, b, "q")
		for i := range 30 {
			bury(t, b, "q", fmt.Sprint(i))
		}
		r, err := queueOf(t, b, "dead").Redrive(bg, &workqueue.RedriveOptions{Rate: 10, Burst: 3})
		require.NoError(t, err)
		for _, step := range []struct {
			after time.Duration
			moved uint64
		}{{0, 3}, {99 * time.Millisecond, 3}, {time.Millisecond, 4}, {time.Second, 14}} {
			pass(step.after)
			require.Equal(t, step.moved, r.Info().Moved)
			require.Equal(t, 30-step.moved, r.Info().Remaining)
			require.EqualValues(t, step.moved, ready(t, b, "q"))
		}
		require.ErrorIs(t, errOf(queueOf(t, b, "dead").Redrive(bg, nil)), workqueue.ErrRedriveRunning)
		require.NoError(t, r.Cancel(bg))
		require.Equal(t, workqueue.RedriveCancelled, r.Info().State)
		require.Len(t, in(t, b, "dead"), 16)
		require.Len(t, in(t, b, "q"), 14)
		begin := time.Now()
		counted(t, redrive(t, b, &workqueue.RedriveOptions{Rate: 10}), 16, 0, 0)
		require.Equal(t, 1500*time.Millisecond, time.Since(begin), "the first is at once")
	})
}

func TestARedriveWaitsForAQueueThatIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "dead")
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead, MaxLength: 2, Overflow: workqueue.RejectPublish})
		bury(t, b, "q", "a", "b", "c", "d")
		r, err := queueOf(t, b, "dead").Redrive(bg, nil)
		require.NoError(t, err)
		pass(time.Hour)
		last := r.Info()
		require.True(t, last.Waiting)
		require.Contains(t, last.Reason, workqueue.ErrQueueFull.Error())
		require.EqualValues(t, 2, last.Moved)
		require.Equal(t, []string{"c", "d"}, in(t, b, "dead"))
		require.NoError(t, get(t, b, "q", "a").Ack(bg))
		pass(10 * time.Second) // the longest pause
		require.Equal(t, []string{"b", "c"}, in(t, b, "q"))
		require.Equal(t, []string{"d"}, in(t, b, "dead"))
		require.NoError(t, get(t, b, "q", "b").Ack(bg))
		last, err = r.Wait(bg)
		require.NoError(t, err)
		counted(t, last, 4, 0, 0)
		require.Equal(t, []string{"c", "d"}, in(t, b, "q"))
	})
}

// TestARedriveMayPushOthersOut: what has to go dies, and comes to the end of the queue
// that is redriven. That does not go on for ever.
func TestARedriveMayPushOthersOut(t *testing.T) {
	_, b := open(t)
	declare(t, b, "dead")
	declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead, MaxLength: 2})
	bury(t, b, "q", "a", "b", "c", "d")
	counted(t, redrive(t, b, nil), 4, 0, 0)
	require.Equal(t, []string{"c", "d"}, in(t, b, "q"))
	require.Equal(t, []string{"a", "b"}, in(t, b, "dead"))
}

func TestARedriveIsNotSwallowedByADedupeWindow(t *testing.T) {
	_, b := open(t)
	declare(t, b, "dead")
	declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead, DedupeWindow: time.Hour})
	require.NoError(t, b.Publish(bg, "", "q", message("1", "m")))
	require.NoError(t, get(t, b, "q", "m").Reject(bg))
	counted(t, redrive(t, b, nil), 1, 0, 0)
	require.NoError(t, b.Publish(bg, "", "q", message("1", "m")), "which is swallowed")
	require.Equal(t, []string{"m"}, in(t, b, "q"))
}

func TestARedriveOfWhatHasNoQueueAnyMore(t *testing.T) {
	_, b := open(t)
	dying(t, b, "q", "r")
	bury(t, b, "q", "a")
	bury(t, b, "r", "b")
	require.NoError(t, queueOf(t, b, "q").Delete(bg))
	p := redrive(t, b, nil)
	counted(t, p, 1, 0, 1)
	require.Contains(t, p.Reason, workqueue.ErrUnknownQueue.Error())
	require.Equal(t, []string{"a"}, in(t, b, "dead"))
}

// TestARedriveByPriority moves messages of several lanes, also such as are on disk only,
// while a consumer is at it.
func TestARedriveByPriority(t *testing.T) {
	const n = 5000
	_, b := open(t)
	declareQueue(t, b, "dead", &workqueue.QueueConfig{MaxPriority: 3})
	declareWith(t, b, workqueue.QueueConfig{MaxPriority: 1})
	batch := make([]workqueue.Publishing, n)
	for i := range batch {
		batch[i] = workqueue.Publishing{Key: "dead", Message: workqueue.Message{Body: fmt.Append(nil, i), Priority: uint8(i % 4)}}
	}
	require.NoError(t, b.PublishBatch(bg, "", batch))
	consumed := map[string]bool{}
	ended := make(chan workqueue.RedriveInfo, 1)
	go func() { ended <- redrive(t, b, &workqueue.RedriveOptions{To: &workqueue.RedriveTo{Key: "q"}}) }()
	for {
		d, ok, err := queueOf(t, b, "dead").Get(bg)
		require.NoError(t, err)
		if !ok {
			break
		}
		consumed[string(d.Body)] = true
		require.NoError(t, d.Ack(bg))
	}
	p := <-ended
	require.EqualValues(t, n, int(p.Moved)+len(consumed))
	moved := in(t, b, "q")
	require.Len(t, moved, int(p.Moved))
	for _, body := range moved {
		require.False(t, consumed[body], "%s twice", body)
		consumed[body] = true
	}
	require.Len(t, consumed, n)
	require.Zero(t, ready(t, b, "dead"))
}

func TestRedriveRefusesWhatIsBad(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	require.NoError(t, b.DeclareExchange(bg, "in", workqueue.Fanout, &workqueue.ExchangeConfig{Internal: true}))
	for name, c := range map[string]struct {
		o    workqueue.RedriveOptions
		want error
	}{
		"rate":              {workqueue.RedriveOptions{Rate: workqueue.MaxRedriveRate + 1}, pebblemq.ErrInvalid},
		"burst":             {workqueue.RedriveOptions{Rate: 1, Burst: workqueue.MaxRedriveBurst + 1}, pebblemq.ErrInvalid},
		"exchange name":     {workqueue.RedriveOptions{To: &workqueue.RedriveTo{Exchange: "a\n"}}, pebblemq.ErrInvalid},
		"key":               {workqueue.RedriveOptions{To: &workqueue.RedriveTo{Key: string(make([]byte, 256))}}, pebblemq.ErrTooLarge},
		"no exchange":       {workqueue.RedriveOptions{To: &workqueue.RedriveTo{Exchange: "none"}}, workqueue.ErrUnknownExchange},
		"internal exchange": {workqueue.RedriveOptions{To: &workqueue.RedriveTo{Exchange: "in"}}, workqueue.ErrInUse},
	} {
		_, err := waited(queueOf(t, b, "q").Redrive(bg, &c.o))
		require.ErrorIs(t, err, c.want, name)
	}
	_, err := waited(queueOf(t, b, "q").Redrive(bg, &workqueue.RedriveOptions{Rate: workqueue.MaxRedriveRate, Burst: workqueue.MaxRedriveBurst}))
	require.NoError(t, err)
}
