package pebblemqtest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/pebblemqtest"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

func TestRequirePublishedReturnsTheMessageAndTakesNothing(t *testing.T) {
	db := pebblemqtest.Open(t, nil)
	c := newChain(t, db)
	pebblemqtest.RequireNotPublished(t, c.jobs, nil)
	at := time.Date(2030, 1, 2, 3, 4, 5, 678, time.UTC)
	m := workqueue.Message{
		Body: []byte("42"), MessageID: "a", Type: "order.paid", Priority: 3, Timestamp: at, UniqueKey: "u",
		Headers: map[string]string{"tenant": "x", "trace": "7"}, TTL: time.Hour,
	}
	require.NoError(t, c.broker.Publish(ctx, "", "jobs", m))
	require.NoError(t, c.broker.Publish(ctx, "", "jobs", workqueue.Message{Delay: time.Hour, Type: "later"}))

	got := pebblemqtest.RequirePublished(t, c.jobs, nil)
	require.Equal(t, "a", got.MessageID)
	got = pebblemqtest.RequirePublished(t, c.jobs, func(m *workqueue.Browsed) bool { return string(m.Body) == "42" })
	require.Equal(t, "a", got.MessageID)
	require.Equal(t, workqueue.Ready, got.State)
	got = pebblemqtest.RequirePublished(t, c.jobs, pebblemqtest.PublishedLike(workqueue.Message{Type: "later"}))
	require.Equal(t, workqueue.Delayed, got.State)
	for _, like := range []workqueue.Message{
		{}, {Type: "order.paid"}, {Body: []byte("42")}, {Timestamp: at}, {Headers: map[string]string{"tenant": "x"}}, m,
	} {
		got = pebblemqtest.RequirePublished(t, c.jobs, pebblemqtest.PublishedLike(like))
		require.Equal(t, "a", got.MessageID, "%+v", like)
	}
	for _, unlike := range []workqueue.Message{
		{Type: "order"}, {Type: "order.paid", MessageID: "b"}, {Headers: map[string]string{"tenant": "y"}}, {Headers: map[string]string{"z": ""}},
		{Timestamp: at.Add(time.Second)}, {TTL: time.Minute}, {Body: []byte("4")},
	} {
		pebblemqtest.RequireNotPublished(t, c.jobs, pebblemqtest.PublishedLike(unlike))
	}
	st, err := c.jobs.Stats(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1, st.Ready)
	require.EqualValues(t, 1, st.Delayed)
}

func TestRequirePublishedFailsWithAListOfWhatIsThere(t *testing.T) {
	db := pebblemqtest.Open(t, nil)
	c := newChain(t, db)
	none := func(*workqueue.Browsed) bool { return false }
	failed, said := failure(t, func(t testing.TB) {
		pebblemqtest.RequirePublished(t, c.jobs, none)
		panic("not reached")
	})
	require.True(t, failed)
	require.Equal(t, "pebblemqtest: there are no messages in queue \"jobs\"\n", said)

	require.NoError(t, c.broker.Publish(ctx, "", "jobs", workqueue.Message{Type: "order.paid", Body: []byte("42")}))
	require.NoError(t, c.broker.Publish(ctx, "", "jobs", workqueue.Message{Body: []byte(strings.Repeat("x", 300)), Headers: map[string]string{"a": "b"}, Priority: 1}))
	d, _, err := c.jobs.Get(ctx)
	require.NoError(t, err)
	failed, said = failure(t, func(t testing.TB) { pebblemqtest.RequirePublished(t, c.jobs, none) })
	require.True(t, failed)
	require.Equal(t, "pebblemqtest: none of the 2 messages in queue \"jobs\" matches:"+
		"\n\tkey \"jobs\", Type \"order.paid\", Body \"42\", is unacked, delivered 1 times"+
		"\n\tkey \"jobs\", Priority 1, Headers map[a:b], Body \""+strings.Repeat("x", 200)+"\"… (300 bytes), is ready\n", said)
	require.NoError(t, d.Reject(ctx))

	for range 30 {
		c.publish(t, 1)
	}
	_, said = failure(t, func(t testing.TB) { pebblemqtest.RequirePublished(t, c.jobs, none) })
	require.Contains(t, said, "none of the 31 messages")
	require.Contains(t, said, "\n\tand 11 more\n")
	dead, err := c.broker.Queue(ctx, "jobs.dead")
	require.NoError(t, err)
	failed, said = failure(t, func(t testing.TB) { pebblemqtest.RequireNotPublished(t, dead, nil) })
	require.True(t, failed)
	require.Contains(t, said, "queue \"jobs.dead\" has one of the messages that must not be there:\n\t")
	require.Contains(t, said, "died in \"jobs\" of rejected")

	require.NoError(t, c.jobs.Delete(ctx))
	failed, said = failure(t, func(t testing.TB) { pebblemqtest.RequirePublished(t, c.jobs, none) })
	require.True(t, failed)
	require.Contains(t, said, workqueue.ErrQueueDeleted.Error())
}

func TestRequireSent(t *testing.T) {
	db := pebblemqtest.Open(t, nil)
	c := newChain(t, db)
	pebblemqtest.RequireNotSent(t, c.mail, nil)
	_, err := c.mail.Send(ctx, visibility.Message{ID: "a", Group: "g", Body: []byte("42"), Attributes: map[string]visibility.Attribute{
		"n": visibility.NumberAttribute("7"), "s": visibility.StringAttribute("x"),
	}})
	require.NoError(t, err)
	_, err = c.mail.Send(ctx, visibility.Message{ID: "b", Delay: time.Hour})
	require.NoError(t, err)
	require.Equal(t, "a", pebblemqtest.RequireSent(t, c.mail, nil).ID)
	require.Equal(t, "b", pebblemqtest.RequireSent(t, c.mail, pebblemqtest.SentLike(visibility.Message{ID: "b"})).ID)
	seven := map[string]visibility.Attribute{"n": visibility.NumberAttribute("7")}
	require.Equal(t, "a", pebblemqtest.RequireSent(t, c.mail, pebblemqtest.SentLike(visibility.Message{Attributes: seven, Group: "g"})).ID)
	pebblemqtest.RequireNotSent(t, c.mail, pebblemqtest.SentLike(visibility.Message{Attributes: seven, Group: "h"}))

	failed, said := failure(t, func(t testing.TB) {
		pebblemqtest.RequireSent(t, c.mail, pebblemqtest.SentLike(visibility.Message{ID: "c"}))
	})
	require.True(t, failed)
	require.Equal(t, "pebblemqtest: none of the 2 messages in queue \"mail\" matches:"+
		"\n\tID \"a\", Group \"g\", attribute n \"7\", attribute s \"x\", Body \"42\", is visible"+
		"\n\tID \"b\", Body \"\", is delayed\n", said)
	failed, _ = failure(t, func(t testing.TB) { pebblemqtest.RequireNotSent(t, c.mail, nil) })
	require.True(t, failed)
	require.EqualValues(t, 0, pebblemqtest.RequireSent(t, c.mail, nil).ReceiveCount)
}

func TestRequireAppended(t *testing.T) {
	db := pebblemqtest.Open(t, nil)
	c := newChain(t, db)
	pebblemqtest.RequireNotAppended(t, c.events, nil)
	for p := range 3 {
		_, err := c.events.AppendWith(ctx, log.AppendOptions{Partition: log.InPartition(p)}, log.Record{
			Key: fmt.Append(nil, p), Value: []byte("v"), Headers: []log.Header{{Name: "a", Value: []byte("b")}, {Name: "c"}},
		})
		require.NoError(t, err)
	}
	require.Equal(t, 0, pebblemqtest.RequireAppended(t, c.events, nil).Partition)
	like := pebblemqtest.AppendedLike(log.Record{Key: []byte("2"), Headers: []log.Header{{Name: "c"}}})
	require.Equal(t, 2, pebblemqtest.RequireAppended(t, c.events, like).Partition)
	pebblemqtest.RequireNotAppended(t, c.events, pebblemqtest.AppendedLike(log.Record{Headers: []log.Header{{Name: "c", Value: []byte{}}}}))

	failed, said := failure(t, func(t testing.TB) {
		pebblemqtest.RequireAppended(t, c.events, func(log.Record) bool { return false })
	})
	require.True(t, failed)
	require.Contains(t, said, "none of the 3 records in topic \"events\" matches:\n\tat 0/0, Key \"0\", header a \"b\", Value \"v\"\n\tat 1/0")
	failed, said = failure(t, func(t testing.TB) { pebblemqtest.RequireNotAppended(t, c.events, nil) })
	require.True(t, failed)
	require.Contains(t, said, "one of the records that must not be there:\n\tat 0/0")
}

func TestAssertionsOnAClosedStoreFail(t *testing.T) {
	db := pebblemqtest.Open(t, nil)
	c := newChain(t, db)
	require.NoError(t, db.Close())
	for _, test := range []func(testing.TB){
		func(t testing.TB) { pebblemqtest.RequirePublished(t, c.jobs, nil) },
		func(t testing.TB) { pebblemqtest.RequireNotSent(t, c.mail, nil) },
		func(t testing.TB) { pebblemqtest.RequireNotAppended(t, c.events, nil) },
	} {
		failed, said := failure(t, test)
		require.True(t, failed)
		require.Contains(t, said, pebblemq.ErrClosed.Error())
	}
}
